package rollout

import (
	"bytes"
	"context"
	"encoding/json"
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
	key = "runner-release"
	// maxConflicts is how often a change is made anew because another worker was faster. Each time one of them gets on.
	maxConflicts = 30
	// callTimeout bounds one call to NATS, which answers within milliseconds when it is well.
	callTimeout = 5 * time.Second
)

// book keeps the record.
type book struct{ bucket *records.Bucket }

func newBook(js jetstream.JetStream) *book {
	return &book{records.Named(js, wire.BucketControl, callTimeout)}
}

// read returns the record and its revision; zeros if there is none.
func (b *book) read(ctx context.Context) (s State, revision uint64, err error) {
	return records.Load[State](ctx, b.bucket, key)
}

// change makes the record what change makes of it, which may be asked more than once, and returns what it was and is. After an error
// that may or may not have happened.
func (b *book) change(ctx context.Context, change func(State) State) (before, after State, err error) {
	for range maxConflicts {
		before, revision, err := b.read(ctx)
		if err != nil {
			return State{}, State{}, err
		}
		after := change(before)
		if err := b.write(ctx, before, after, revision); !errors.Is(err, run.ErrConflict) {
			return before, after, err
		}
	}
	return State{}, State{}, fmt.Errorf("%s: %w, %d times", key, run.ErrConflict, maxConflicts)
}

// write puts after in the place of before, which is at the revision. It returns run.ErrConflict if that is not so any more.
func (b *book) write(ctx context.Context, before, after State, revision uint64) error {
	was, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	value, err := json.Marshal(after)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	if bytes.Equal(was, value) {
		return nil
	}
	_, err = b.bucket.Put(ctx, key, value, revision)
	return err
}
