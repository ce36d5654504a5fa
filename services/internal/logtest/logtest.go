// Package logtest keeps what is logged, or what a process says, while a test goes on. Only tests may import it.
package logtest

import (
	"bytes"
	"sync"
)

// Buffer is a [bytes.Buffer] that can be read while it is written.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String implements [fmt.Stringer].
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
