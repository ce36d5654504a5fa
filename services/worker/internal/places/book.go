package places

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/records"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// key of the record in the bucket.
	key = "places"
	// maxConflicts is how often a change is made anew because another worker was faster. Each time one of them gets on.
	maxConflicts = 30
	// callTimeout bounds one call to NATS, which answers within milliseconds when it is well.
	callTimeout = 5 * time.Second
)

// Book keeps the record. It is safe for concurrent use.
type Book struct {
	bucket *records.Bucket
	// turn holds one entry while a change is made: a worker's own changes do not race each other.
	turn chan struct{}
}

// NewBook makes a Book. The bucket need not exist yet. It calls nobody.
func NewBook(js jetstream.JetStream) *Book {
	return &Book{records.Named(js, wire.BucketControl, callTimeout), make(chan struct{}, 1)}
}

// Read returns the record and its revision, which is 0 if there is none yet.
func (b *Book) Read(ctx context.Context) (Record, uint64, error) {
	value, revision, err := b.bucket.Get(ctx, key)
	if err != nil || revision == 0 {
		return Record{}, 0, err
	}
	r, err := decode(value)
	if err != nil {
		return Record{}, 0, fmt.Errorf("decode %s at revision %d: %w", key, revision, err)
	}
	return r, revision, nil
}

// Change makes the record what change makes of it, which may be asked more than once and must not keep what it is given. It
// returns the revision at which that is so. After an error that may or may not have happened.
func (b *Book) Change(ctx context.Context, change func(Record) Record) (uint64, error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("wait to change %s: %w", key, context.Cause(ctx))
	}
	for range maxConflicts {
		before, revision, err := b.Read(ctx)
		if err != nil {
			return 0, err
		}
		after := change(before)
		if after.Same(before) {
			return revision, nil
		}
		saved, err := b.save(ctx, after, revision)
		if !errors.Is(err, run.ErrConflict) {
			return saved, err
		}
	}
	return 0, fmt.Errorf("%s: %w, %d times", key, run.ErrConflict, maxConflicts)
}

func (b *Book) save(ctx context.Context, r Record, revision uint64) (uint64, error) {
	value, err := encode(r)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", key, err)
	}
	return b.bucket.Put(ctx, key, value, revision)
}
