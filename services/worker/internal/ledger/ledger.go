// Package ledger keeps the records of package run in the KV bucket "runs", one key per job and one per runner, and
// changes them by compare-and-set only. It holds no rule, and never sees a secret.
package ledger

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

// Ledger is the bucket of records. It is safe for concurrent use.
type Ledger struct {
	js     jetstream.JetStream
	bucket *records.Bucket
}

// New makes a Ledger. The bucket need not exist yet.
func New(js jetstream.JetStream) *Ledger { return &Ledger{js, records.Named(js, wire.BucketRuns, 0)} }

// nowTimeout bounds the question for the time.
const nowTimeout = 5 * time.Second

var errNoTime = errors.New("NATS tells no time with the state of a stream: it is older than 2.10")

// Now asks the server for the time, by whose clock Entry.ChangedAt goes.
func (l *Ledger) Now(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, nowTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, streamName)
	if err != nil {
		return time.Time{}, fmt.Errorf("state of stream %s: %w", streamName, err)
	}
	now := stream.CachedInfo().TimeStamp
	if now.IsZero() {
		return time.Time{}, errNoTime
	}
	return now, nil
}

// LoadRun returns the record of a job and its revision, or zeros if there is none.
func (l *Ledger) LoadRun(ctx context.Context, job int64) (run.Run, uint64, error) {
	return records.Load[run.Run](ctx, l.bucket, wire.JobKey(job))
}

// SaveRun writes the record of a job. It returns run.ErrConflict unless the record is at revision.
func (l *Ledger) SaveRun(ctx context.Context, r run.Run, revision uint64) (uint64, error) {
	return records.Save(ctx, l.bucket, wire.JobKey(r.Job.ID), r, revision)
}

// LoadRunner returns the record of a runner and its revision, or zeros if there is none.
func (l *Ledger) LoadRunner(ctx context.Context, name run.Name) (run.Runner, uint64, error) {
	return records.Load[run.Runner](ctx, l.bucket, wire.RunnerKey(name.Job, name.Attempt))
}

// SaveRunner writes the record of a runner. It returns run.ErrConflict unless the record is at revision.
func (l *Ledger) SaveRunner(ctx context.Context, r run.Runner, revision uint64) (uint64, error) {
	return records.Save(ctx, l.bucket, wire.RunnerKey(r.Name.Job, r.Name.Attempt), r, revision)
}
