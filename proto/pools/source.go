package pools

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheckAfter bounds how often File looks at the file: a burst of jobs costs one stat a second, and a change is in force a
// second later.
const recheckAfter = time.Second

// hashBytes is how much of a file's SHA-256 tells it from others.
const hashBytes = 6

// Source is a pools file that is read again when it changes. While it has mistakes or can't be read, what was good last stays in
// force. It is safe for concurrent use.
type Source struct {
	path string
	log  *slog.Logger // nil for none

	mu      sync.Mutex
	file    *File
	hash    string
	stamp   stamp
	checked time.Time
	err     error
}

// stamp tells whether a file is another one than before; symbolic links are followed, as Kubernetes changes files by link.
type stamp struct {
	modified time.Time
	size     int64
}

// Open reads the file at path; without a path, the source is [Default] for good. Its errors are those of [Load].
func Open(path string) (*Source, error) {
	s := &Source{path: path, file: Default(), hash: "default", checked: time.Now()}
	if path == "" {
		return s, nil
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// LogTo has log told of each change of the file: that another one is in force, or why it can't be. It is called before the source
// is used.
func (s *Source) LogTo(log *slog.Logger) { s.log = log }

// File returns what is in force now.
func (s *Source) File() *File {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.file
}

// State returns the first 12 hexadecimal digits of the SHA-256 of the file that is in force ("default" without one), and what is
// wrong with the file that should be, if anything.
func (s *Source) State() (hash string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.hash, s.err
}

func (s *Source) refresh() {
	if s.path == "" || time.Since(s.checked) < recheckAfter {
		return
	}
	s.checked = time.Now()
	before, hash := s.err, s.hash
	s.err = s.load()
	switch {
	case s.log == nil:
	case s.err != nil && (before == nil || s.err.Error() != before.Error()):
		s.log.Error("pools file not usable, keeping the last good one", slog.Any("err", s.err))
	case s.err == nil && (before != nil || s.hash != hash):
		s.log.Info("pools file reloaded", slog.String("hash", s.hash))
	}
}

// load reads the file unless it is the one that was read last.
func (s *Source) load() error {
	info, err := os.Stat(s.path)
	if err != nil {
		s.stamp = stamp{} // Whatever comes back is to be read.
		return fmt.Errorf("look at pools file: %w", err)
	}
	if now := (stamp{info.ModTime(), info.Size()}); now == s.stamp {
		return s.err
	}
	data, err := read(s.path)
	if err != nil {
		s.stamp = stamp{}
		return err
	}
	s.stamp = stamp{info.ModTime(), info.Size()}
	f, err := Parse(data)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	s.file, s.hash = f, hex.EncodeToString(sum[:hashBytes])
	return nil
}
