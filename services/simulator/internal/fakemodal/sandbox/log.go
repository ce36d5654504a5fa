package sandbox

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// Stream is one of a program's two outputs.
type Stream int

// The two streams.
const (
	Stdout Stream = iota
	Stderr
)

// entryCost is what an entry counts against the limit besides its bytes, so that a program that writes byte by byte
// cannot fill the memory.
const entryCost = 64

// Entry is a line that a program wrote, or the part of one that came in one write.
type Entry struct {
	Seq    int // counts from 1 over both streams
	At     time.Time
	Stream Stream
	Offset int64 // of the first byte in its stream
	Data   []byte
}

// Log keeps the most recent output of a program. It is safe for concurrent use.
type Log struct {
	limit int // bytes

	mu      sync.Mutex
	entries []Entry
	cost    int
	seq     int
	offsets [2]int64 // by Stream
	changed chan struct{}
	closed  bool
}

func newLog(limit int) *Log { return &Log{limit: limit, changed: make(chan struct{})} }

// Writer returns a writer to the stream. Its writes never fail.
func (l *Log) Writer(s Stream) io.Writer { return streamWriter{l, s} }

// After returns the entries kept that are newer than the one numbered seq, and a channel that is closed when there
// are more. It is nil when the program has ended and nothing more can come.
func (l *Log) After(seq int) (entries []Entry, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.seq - len(l.entries); seq > first {
		entries = l.entries[min(seq-first, len(l.entries)):]
	} else {
		entries = l.entries
	}
	if l.closed {
		return entries, nil
	}
	return entries, l.changed
}

func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.changed)
}

type streamWriter struct {
	log    *Log
	stream Stream
}

func (w streamWriter) Write(p []byte) (int, error) {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(p) == 0 {
		return len(p), nil
	}
	for line := range bytes.Lines(bytes.Clone(p)) {
		l.seq++
		l.entries = append(l.entries, Entry{Seq: l.seq, At: time.Now(), Stream: w.stream, Offset: l.offsets[w.stream], Data: line})
		l.offsets[w.stream] += int64(len(line))
		l.cost += len(line) + entryCost
	}
	for l.cost > l.limit && len(l.entries) > 1 {
		l.cost -= len(l.entries[0].Data) + entryCost
		l.entries = l.entries[1:]
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}
