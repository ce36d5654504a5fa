package placestest

import (
	"context"
	"sync"

	"modal-github-runner/services/worker/internal/places"
)

// Memory is a book in memory. The zero value is empty. It is safe for concurrent use.
type Memory struct {
	mu       sync.Mutex
	record   places.Record
	revision uint64
}

// Read returns the record and its revision.
func (m *Memory) Read(context.Context) (places.Record, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.record, m.revision, nil
}

// Change makes the record what change makes of it.
func (m *Memory) Change(_ context.Context, change func(places.Record) places.Record) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.record = change(m.record)
	m.revision++
	return m.revision, nil
}
