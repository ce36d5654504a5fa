package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// recheckAfter bounds how often Get looks at the file: a burst of requests costs one stat a second, and a rotated
	// secret is in use a second later.
	recheckAfter = time.Second
	// maxSecretBytes is far above any key or token, and keeps a wrong path (a log file, a device) from being loaded.
	maxSecretBytes = 64 << 10
)

var (
	errBlankSecret = errors.New("must not be blank")
	errToken       = errors.New("must be printable ASCII without white space")
)

// secretRule returns the rule that the value of a secret breaks.
type secretRule func(value string) error

func notBlank(value string) error {
	if strings.TrimSpace(value) == "" {
		return errBlankSecret
	}
	return nil
}

// isToken: HTTP refuses control characters in the value of a header, and gRPC all but printable ASCII; white space inside is
// legal, but no part of a token.
func isToken(value string) error {
	if err := notBlank(value); err != nil {
		return err
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < '!' || r > '~' }) {
		return errToken
	}
	return nil
}

// SecretSource is a secret that can rotate while the process runs: one that came from a file is read again when the file
// changes. While the file can't be used, the last good value stays in force. A nil SecretSource is an unset secret.
// It is safe for concurrent use.
type SecretSource struct {
	path     string
	rule     secretRule
	onChange func(error)

	mu      sync.Mutex
	value   Secret
	stamp   fileStamp
	checked time.Time
	failing bool
}

// fileStamp tells whether a file is another one than before; symbolic links are followed, as Kubernetes rotates by link.
type fileStamp struct {
	modified time.Time
	size     int64
}

// StaticSecret returns a source whose value never changes.
func StaticSecret(value string) *SecretSource { return &SecretSource{value: NewSecret(value)} }

// FileSecret returns a source backed by the file at path, less one trailing newline. It is an error if the file can't be
// read, is blank, or is larger than 64 KiB.
func FileSecret(path string) (*SecretSource, error) { return fileSecret(path, notBlank) }

// fileSecret is FileSecret for values that keep to a rule, now and whenever the file changes.
func fileSecret(path string, rule secretRule) (*SecretSource, error) {
	s := &SecretSource{path: path, rule: rule, checked: time.Now()}
	if err := s.reload(); err != nil {
		return nil, err
	}

	return s, nil
}

// OnChange makes Get call f once per change of a file: with nil after it took over a new value, with the error when the
// file begins to be unusable. f must not call Get. OnChange is called before the source is used.
func (s *SecretSource) OnChange(f func(error)) {
	if s != nil {
		s.onChange = f
	}
}

// Get returns the value now in force; for a nil source the zero [Secret].
func (s *SecretSource) Get() Secret {
	if s == nil {
		return Secret{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" && time.Since(s.checked) >= recheckAfter {
		s.checked = time.Now()
		s.refresh()
	}

	return s.value
}

// String implements [fmt.Stringer] and never shows the value.
func (s *SecretSource) String() string { return s.Get().String() }

// Format implements [fmt.Formatter], as [Secret.Format] does.
func (s *SecretSource) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s *SecretSource) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText always returns [ErrSecretEncoded].
func (s *SecretSource) MarshalText() ([]byte, error) { return nil, ErrSecretEncoded }

// refresh reloads the file if it changed, and reports changes.
func (s *SecretSource) refresh() {
	info, err := os.Stat(s.path)
	if err == nil && !s.failing && stampOf(info) == s.stamp {
		return
	}
	before := s.value
	if err == nil {
		err = s.reload()
	}
	changed := err != nil && !s.failing || err == nil && (s.failing || !s.value.Equal(before))
	s.failing = err != nil
	if changed && s.onChange != nil {
		s.onChange(err)
	}
}

// reload reads the file; on an error the value stays as it was.
func (s *SecretSource) reload() (err error) {
	file, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("open secret file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("stat secret file: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("read secret file: %w", err)
	case len(raw) > maxSecretBytes:
		return fmt.Errorf("secret file %s: must not be larger than %s", s.path, ByteSize(maxSecretBytes))
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if err := s.rule(value); err != nil {
		return fmt.Errorf("secret file %s: %w", s.path, err)
	}
	s.value, s.stamp = NewSecret(value), stampOf(info)

	return nil
}

func stampOf(info os.FileInfo) fileStamp {
	return fileStamp{modified: info.ModTime(), size: info.Size()}
}
