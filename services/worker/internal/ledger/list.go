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

const (
	// listTimeout bounds a list: a week's records, some hundred thousand, are read within seconds.
	listTimeout = time.Minute
	// jobKeys and runnerKeys match the keys that wire.JobKey and wire.RunnerKey make.
	jobKeys    = "job.*"
	runnerKeys = "runner.*.*"
	// A bucket is the stream KV_<bucket> with the subjects $KV.<bucket>.<key> (NATS ADR-8).
	streamName    = "KV_" + wire.BucketRuns
	subjectPrefix = "$KV." + wire.BucketRuns + "."
)

var errCutShort = errors.New("the connection ended before all records were read")

// Entry is a record with what compare-and-set needs to change it.
type Entry[T any] struct {
	Record   *T // Never nil.
	Revision uint64
	// ChangedAt is when the server stored the revision, by the server's clock.
	ChangedAt time.Time
}

// Runs lists the records of all jobs, in no order. Each that existed throughout the call is in it, as it was at some moment
// of the call, or there is an error; so is one that can't be decoded.
func (l *Ledger) Runs(ctx context.Context) ([]Entry[run.Run], error) {
	return entries[run.Run](ctx, l, jobKeys)
}

// Runners lists the records of all runners, as Runs does those of jobs.
func (l *Ledger) Runners(ctx context.Context) ([]Entry[run.Runner], error) {
	return entries[run.Runner](ctx, l, runnerKeys)
}

func entries[T any](ctx context.Context, l *Ledger, pattern string) ([]Entry[T], error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	kv, err := l.js.KeyValue(ctx, wire.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", wire.BucketRuns, err)
	}
	found, err := snapshot(ctx, kv, pattern)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", pattern, err)
	}
	if err := l.complete(ctx, kv, pattern, found); err != nil {
		return nil, fmt.Errorf("list %s: %w", pattern, err)
	}
	list := make([]Entry[T], 0, len(found))
	for key, entry := range found {
		record, err := records.Decode[T](key, entry.Value(), entry.Revision())
		if err != nil {
			return nil, err
		}
		list = append(list, Entry[T]{Record: &record, Revision: entry.Revision(), ChangedAt: entry.Created()})
	}
	return list, nil
}

// snapshot reads the newest revision of each key, all in one go.
func snapshot(ctx context.Context, kv jetstream.KeyValue, pattern string) (map[string]jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithCancel(ctx) // Ends what the watch keeps at the client and the server.
	defer cancel()
	watch, err := kv.Watch(ctx, pattern, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	found := map[string]jetstream.KeyValueEntry{}
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case entry, open := <-watch.Updates():
			switch {
			case !open:
				return nil, errCutShort
			case entry == nil: // All that there was when the watch began.
				return found, nil
			}
			found[entry.Key()] = entry
		}
	}
}

// complete adds the keys that found lacks. The client counts how many records a watch is to begin with; one that changes
// while they are on their way can take the place of another in that count.
func (l *Ledger) complete(ctx context.Context, kv jetstream.KeyValue, pattern string, found map[string]jetstream.KeyValueEntry) error {
	stream, err := l.js.Stream(ctx, streamName)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subjectPrefix+pattern))
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		key := subject[len(subjectPrefix):]
		if _, ok := found[key]; ok {
			continue
		}
		entry, err := kv.Get(ctx, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound): // Deleted, or too old since.
		case err != nil:
			return fmt.Errorf("get %s: %w", key, err)
		default:
			found[key] = entry
		}
	}
	return nil
}
