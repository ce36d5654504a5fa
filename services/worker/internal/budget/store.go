package budget

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/records"
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
	js     jetstream.JetStream
	bucket *records.Bucket

	mu    sync.Mutex
	kv    jetstream.KeyValue
	ahead time.Duration // of the server's clock, before ours
	asked time.Time     // when the server's clock was read
}

func newStore(js jetstream.JetStream) *store {
	s := &store{js: js}
	s.bucket = records.New(callTimeout, func(ctx context.Context) (records.KV, error) { return s.open(ctx) })
	return s
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
	value, revision, err := s.bucket.Get(ctx, keyPrefix+caller)
	if err != nil {
		return record{}, 0, err
	}
	r := record{}
	if json.Unmarshal(value, &r) != nil {
		r = record{}
	}
	return r, revision, nil
}

// save writes the record if it is still at the revision, and returns the new one. It returns run.ErrConflict if it is not.
func (s *store) save(ctx context.Context, caller string, r record, revision uint64) (uint64, error) {
	return records.Save(ctx, s.bucket, keyPrefix+caller, r, revision)
}

// isOpen reports whether the bucket is open and the server's clock known.
func (s *store) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kv != nil
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
