package budget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// callTimeout bounds one call to NATS, which answers within milliseconds when it is well. It is a part of slack.
	callTimeout = 500 * time.Millisecond
	// clockEvery is how often the server's clock is read. No clock drifts by more than milliseconds in that time.
	clockEvery = time.Minute
	// keyPrefix is what the keys of the records begin with.
	keyPrefix = "budget."
)

// store keeps records in the bucket, and knows the time by the server's clock: workers share the records, so they must agree
// on what time it is. It is safe for concurrent use.
type store struct {
	js jetstream.JetStream

	mu    sync.Mutex
	kv    jetstream.KeyValue
	ahead time.Duration // of the server's clock, before ours
	asked time.Time     // when the server's clock was read
}

// now is the time by the server's clock, or by ours as long as that one is not known.
func (s *store) now() time.Time { return time.Now().Add(s.lead()) }

// lead is how far the server's clock is ahead of ours.
func (s *store) lead() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ahead
}

// load returns the record of a caller and its revision; zero if there is none. One that can't be read is as if it were empty.
func (s *store) load(ctx context.Context, caller string) (record, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kv, err := s.open(ctx)
	if err != nil {
		return record{}, 0, err
	}
	entry, err := kv.Get(ctx, keyPrefix+caller)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, 0, nil
	}
	if err != nil {
		return record{}, 0, fmt.Errorf("get budget of %s: %w", caller, err)
	}
	var r record
	if json.Unmarshal(entry.Value(), &r) != nil {
		return record{}, entry.Revision(), nil
	}
	return r, entry.Revision(), nil
}

// save writes the record if it is still at the revision, and returns the new one. It returns run.ErrConflict if it is not.
func (s *store) save(ctx context.Context, caller string, r record, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kv, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	value, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode budget of %s: %w", caller, err)
	}
	if revision == 0 {
		revision, err = kv.Create(ctx, keyPrefix+caller, value)
	} else {
		revision, err = kv.Update(ctx, keyPrefix+caller, value, revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return 0, fmt.Errorf("budget of %s: %w", caller, run.ErrConflict)
	case err != nil:
		return 0, fmt.Errorf("write budget of %s: %w", caller, err)
	}
	return revision, nil
}

// open returns the bucket once the server's clock is known, and reads that from time to time.
func (s *store) open(ctx context.Context) (jetstream.KeyValue, error) {
	s.mu.Lock()
	kv, asked := s.kv, s.asked
	s.mu.Unlock()
	if kv != nil && time.Since(asked) < clockEvery {
		return kv, nil
	}
	if kv == nil {
		var err error
		if kv, err = s.js.KeyValue(ctx, wire.BucketControl); err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", wire.BucketControl, err)
		}
	}
	began := time.Now()
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the clock of NATS: %w", err)
	}
	took := time.Since(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kv, s.asked = kv, began
	if b, ok := status.(*jetstream.KeyValueBucketStatus); ok && !b.StreamInfo().TimeStamp.IsZero() {
		s.ahead = b.StreamInfo().TimeStamp.Sub(began.Add(took / 2))
	}
	return kv, nil
}
