package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for the value of every secret that is set, wherever it is printed.
const redacted = "[redacted]"

// ErrSecretEncoded is returned by every attempt to encode a [Secret].
var ErrSecretEncoded = errors.New("refusing to encode a secret")

// Secret holds a value that must not leave the process by accident. It prints as [redacted] in every format and refuses
// to be encoded as text, JSON or gob. The zero Secret is unset. Compare secrets by Equal, not by ==.
type Secret struct {
	// A pointer, because package fmt reads unexported fields by reflection, where it can't call our methods; of a pointer
	// it then prints the address.
	value *string
}

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value. Call it only where the value is handed to whom it is meant for.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is unset or empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// Equal compares in constant time; not even the lengths can be told from the time it takes.
func (s Secret) Equal(other Secret) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(other.Reveal()))

	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String implements [fmt.Stringer].
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}

	return redacted
}

// GoString implements [fmt.GoStringer].
func (s Secret) GoString() string { return s.String() }

// Format implements [fmt.Formatter], so that no verb (%x, %d, %+v) reaches the value by reflection.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText always returns [ErrSecretEncoded].
func (s Secret) MarshalText() ([]byte, error) { return nil, ErrSecretEncoded }

// MarshalJSON always returns [ErrSecretEncoded].
func (s Secret) MarshalJSON() ([]byte, error) { return nil, ErrSecretEncoded }

// GobEncode always returns [ErrSecretEncoded].
func (s Secret) GobEncode() ([]byte, error) { return nil, ErrSecretEncoded }
