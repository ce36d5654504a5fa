// Package records keeps values in a KV bucket of NATS, each under its key, and changes them by compare-and-set only. What they mean is
// for others to know; no secret may be among them.
package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/worker/internal/run"
)

// KV is the part of jetstream.KeyValue that is used.
type KV interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error
}

// Bucket is a bucket. It is safe for concurrent use.
type Bucket struct {
	open    func(context.Context) (KV, error)
	timeout time.Duration
}

// New makes the Bucket that open opens, which is asked before each call. Opening and call may take as long as timeout together; zero is
// for as long as the caller waits.
func New(timeout time.Duration, open func(context.Context) (KV, error)) *Bucket {
	return &Bucket{open, timeout}
}

// Named makes the Bucket of that name, which need not exist yet. It is looked up once: the handle goes by the name and outlives a
// restart of the server. Named calls nobody.
func Named(js jetstream.JetStream, name string, timeout time.Duration) *Bucket {
	var mu sync.Mutex
	var opened KV
	return New(timeout, func(ctx context.Context) (KV, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened == nil {
			kv, err := js.KeyValue(ctx, name)
			if err != nil {
				return nil, fmt.Errorf("open bucket %s: %w", name, err)
			}
			opened = kv
		}
		return opened, nil
	})
}

// Get returns the value of the key and its revision, which is 0 if there is none.
func (b *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	kv, err := b.open(ctx)
	if err != nil {
		return nil, 0, err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", key, err)
	}
	return entry.Value(), entry.Revision(), nil
}

// Put puts the value in the place of that of the revision, 0 for none, and returns its own. It returns run.ErrConflict if there is
// another one by now. After any other error it may be there or not.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	kv, err := b.open(ctx)
	if err != nil {
		return 0, err
	}
	var next uint64
	if revision == 0 {
		next, err = kv.Create(ctx, key, value)
	} else {
		next, err = kv.Update(ctx, key, value, revision)
	}
	return next, failure("save", key, revision, err)
}

// Delete takes away the value of the revision. It returns run.ErrConflict if there is another one by now. After any other error it may be
// there or not.
func (b *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	kv, err := b.open(ctx)
	if err != nil {
		return err
	}
	return failure("delete", key, revision, kv.Delete(ctx, key, jetstream.LastRevision(revision)))
}

// failure is what err says of an act upon the value of that revision; nil if all went well.
func failure(act, key string, revision uint64, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return fmt.Errorf("%s %s at revision %d: %w", act, key, revision, run.ErrConflict)
	case err != nil:
		return fmt.Errorf("%s %s: %w", act, key, err)
	}
	return nil
}

func (b *Bucket) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if b.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, b.timeout)
}

// Load returns the record of the key, kept as JSON, and its revision; zeros if there is none.
func Load[T any](ctx context.Context, b *Bucket, key string) (record T, revision uint64, err error) {
	value, revision, err := b.Get(ctx, key)
	if err != nil || revision == 0 {
		return record, 0, err
	}
	if record, err = Decode[T](key, value, revision); err != nil {
		return record, 0, err
	}
	return record, revision, nil
}

// Decode reads the record of the key at the revision.
func Decode[T any](key string, value []byte, revision uint64) (record T, err error) {
	if err := json.Unmarshal(value, &record); err != nil {
		return record, fmt.Errorf("decode %s at revision %d: %w", key, revision, err)
	}
	return record, nil
}

// Save is Put for a record that is kept as JSON.
func Save(ctx context.Context, b *Bucket, key string, record any, revision uint64) (uint64, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", key, err)
	}
	return b.Put(ctx, key, value, revision)
}
