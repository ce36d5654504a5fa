package bubble_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lastLines is how much of the story a failing test prints; the files have all of it.
const lastLines = 60

// story is what happened, kept in two files among the test's artifacts: what befell the universe, and what the services
// logged. Both are there for people; nothing is decided by them.
type story struct {
	began time.Time

	mu      sync.Mutex
	events  *bufio.Writer
	logs    *bufio.Writer
	recent  []string
	closers []io.Closer
}

func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{began: time.Now()}
	open := func(name string) *bufio.Writer {
		f, err := os.Create(filepath.Join(t.ArtifactDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		s.closers = append(s.closers, f)
		return bufio.NewWriter(f)
	}
	s.events, s.logs = open("events.log"), open("services.log")
	return s
}

// tellf adds a line with the universe's time.
func (s *story) tellf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%12s  %s", time.Since(s.began).Round(time.Millisecond), fmt.Sprintf(format, args...))
	_, _ = fmt.Fprintln(s.events, line) // the error comes again with the flush
	if s.recent = append(s.recent, line); len(s.recent) > lastLines {
		s.recent = s.recent[1:]
	}
}

// services is where the process of that name logs.
func (s *story) services(name string) io.Writer { return serviceLog{s, name} }

type serviceLog struct {
	story *story
	name  string
}

func (l serviceLog) Write(b []byte) (int, error) {
	l.story.mu.Lock()
	defer l.story.mu.Unlock()
	if _, err := fmt.Fprintf(l.story.logs, "%12s  %-14s ", time.Since(l.story.began).Round(time.Millisecond), l.name); err != nil {
		return 0, err
	}
	return l.story.logs.Write(b)
}

// end is the last that was told.
func (s *story) end() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.recent, "\n")
}

func (s *story) close(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range []*bufio.Writer{s.events, s.logs} {
		if err := w.Flush(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range s.closers {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
