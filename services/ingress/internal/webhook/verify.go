package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"modal-github-runner/services/internal/config"
)

const signaturePrefix = "sha256="

// Why a signature is refused. GitHub documents the header at
// https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
var (
	ErrNoKeys             = errors.New("no webhook secret is set")
	ErrSignatureMalformed = errors.New("signature is missing or malformed")
	ErrSignatureMismatch  = errors.New("signature does not match the body")
)

// Keys are the secrets that a webhook may be signed with: the one in force, and the one before it while a change is under
// way. They are asked for at every use, so that they rotate without a restart.
type Keys struct{ sources []*config.SecretSource }

// NewKeys returns ErrNoKeys unless one of the sources is set: without a secret everybody could send jobs.
func NewKeys(sources ...*config.SecretSource) (*Keys, error) {
	for _, s := range sources {
		if !s.Get().IsZero() {
			return &Keys{sources: sources}, nil
		}
	}
	return nil, ErrNoKeys
}

// Verify returns nil if header is "sha256=" and the lower-case hexadecimal HMAC-SHA256 of body under one of the keys. It
// takes the same time for every well-formed header, whichever key or none matches.
func (k *Keys) Verify(body []byte, header string) error {
	encoded, ok := strings.CutPrefix(header, signaturePrefix)
	if !ok || len(encoded) != hex.EncodedLen(sha256.Size) || strings.ToLower(encoded) != encoded {
		return ErrSignatureMalformed
	}
	given, err := hex.DecodeString(encoded)
	if err != nil {
		return ErrSignatureMalformed
	}
	matched := false
	for _, source := range k.sources {
		secret := source.Get()
		if secret.IsZero() {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		mac.Write(body)
		matched = hmac.Equal(mac.Sum(nil), given) || matched
	}
	if !matched {
		return ErrSignatureMismatch
	}
	return nil
}
