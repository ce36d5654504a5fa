// Package ledger keeps the records of package run in the KV bucket "runs", one key per job and one per runner, and
// changes them by compare-and-set only. It holds no rule, and never sees a secret.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// bucket is the part of jetstream.KeyValue that is used.
type bucket interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// Ledger is the bucket of records. It is safe for concurrent use.
type Ledger struct {
	js jetstream.JetStream

	mu     sync.Mutex
	opened bucket
}

// New makes a Ledger. The bucket need not exist yet.
func New(js jetstream.JetStream) *Ledger { return &Ledger{js: js} }

// LoadRun returns the record of a job and its revision, or zeros if there is none.
func (l *Ledger) LoadRun(ctx context.Context, job int64) (run.Run, uint64, error) {
	return load[run.Run](ctx, l, wire.JobKey(job))
}

// SaveRun writes the record of a job. It returns run.ErrConflict unless the record is at revision.
func (l *Ledger) SaveRun(ctx context.Context, r run.Run, revision uint64) (uint64, error) {
	return save(ctx, l, wire.JobKey(r.Job.ID), r, revision)
}

// LoadRunner returns the record of a runner and its revision, or zeros if there is none.
func (l *Ledger) LoadRunner(ctx context.Context, name run.Name) (run.Runner, uint64, error) {
	return load[run.Runner](ctx, l, wire.RunnerKey(name.Job, name.Attempt))
}

// SaveRunner writes the record of a runner. It returns run.ErrConflict unless the record is at revision.
func (l *Ledger) SaveRunner(ctx context.Context, r run.Runner, revision uint64) (uint64, error) {
	return save(ctx, l, wire.RunnerKey(r.Name.Job, r.Name.Attempt), r, revision)
}

// open looks the bucket up once; the handle goes by its name and outlives a restart of the server.
func (l *Ledger) open(ctx context.Context) (bucket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened == nil {
		kv, err := l.js.KeyValue(ctx, wire.BucketRuns)
		if err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", wire.BucketRuns, err)
		}
		l.opened = kv
	}
	return l.opened, nil
}

func load[T any](ctx context.Context, l *Ledger, key string) (record T, revision uint64, err error) {
	kv, err := l.open(ctx)
	if err != nil {
		return record, 0, err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record, 0, nil
	}
	if err != nil {
		return record, 0, fmt.Errorf("get %s: %w", key, err)
	}
	if record, err = decode[T](key, entry.Value(), entry.Revision()); err != nil {
		return record, 0, err
	}
	return record, entry.Revision(), nil
}

func decode[T any](key string, value []byte, revision uint64) (record T, err error) {
	if err := json.Unmarshal(value, &record); err != nil {
		return record, fmt.Errorf("decode %s at revision %d: %w", key, revision, err)
	}
	return record, nil
}

func save(ctx context.Context, l *Ledger, key string, record any, revision uint64) (uint64, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", key, err)
	}
	kv, err := l.open(ctx)
	if err != nil {
		return 0, err
	}
	var next uint64
	if revision == 0 {
		next, err = kv.Create(ctx, key, value)
	} else {
		next, err = kv.Update(ctx, key, value, revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return 0, fmt.Errorf("save %s at revision %d: %w", key, revision, run.ErrConflict)
	case err != nil:
		return 0, fmt.Errorf("save %s: %w", key, err)
	}
	return next, nil
}
