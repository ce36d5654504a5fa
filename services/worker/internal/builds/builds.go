// Package builds has each image built once for all workers. What is built, is being built, or could not be built is on record in the
// KV bucket "control", one key for each image.
//
// Who builds holds a lease, which spares time and money; it is no lock. Should two build, since one was frozen for example, both
// images are good, and the record names one of them. No clock is compared with another: whoever waits builds itself once it has seen
// a lease unchanged for as long as one lasts, by its own clock.
//
// Nothing may live here that knows how an image is built, and no secret.
package builds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/records"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// leaseTime is after how long without a renewal others build. renewEvery leaves room for two lost renewals and a pause.
	leaseTime  = 30 * time.Second
	renewEvery = 8 * time.Second
	// firstLook and lastLook bound how often those who wait look: at first often, as most of a build may be done already.
	firstLook = 250 * time.Millisecond
	lastLook  = 2 * time.Second
	// callTimeout bounds one call to NATS, which answers within milliseconds when it is well.
	callTimeout = 5 * time.Second
	// maxConflicts is how often a change is made anew because another worker was faster.
	maxConflicts = 10
)

// Record is what is known about an image.
type Record struct {
	// Recipe is that of ID, Builder or Failure, whichever there is. Name and Runner are for people.
	Recipe string `json:"recipe"`
	Name   string `json:"name,omitempty"`
	Runner string `json:"runner"`
	// ID is the image's at Modal.
	ID string `json:"id,omitempty"`
	// Builder is the worker that builds it.
	Builder string `json:"builder,omitempty"`
	// Failure is why the last build ended without; Bad, that the definition is at fault.
	Failure string `json:"failure,omitempty"`
	Bad     bool   `json:"bad,omitempty"`
	// Since is when that came to be, by the clock of the worker that wrote it. It is for people.
	Since time.Time `json:"since"`
}

// Book keeps the records. It is safe for concurrent use.
type Book struct {
	worker string
	log    *slog.Logger
	bucket *records.Bucket
}

// New makes the Book of a worker whose id is no other process's, now or in the past. The bucket need not exist yet. New calls nobody.
func New(js jetstream.JetStream, worker string, log *slog.Logger) *Book {
	return &Book{worker, log, records.Named(js, wire.BucketControl, callTimeout)}
}

// Once returns the id of the image: that on record if it is of the same recipe; otherwise what build returns, which is put on record.
// build is called at most once. If another worker builds it, that is waited for, and its failure is a *run.BuildError here, too. A
// failure from before Once was called does not count: it is built again.
func (b *Book) Once(ctx context.Context, want run.Build, build func(context.Context) (id string, err error)) (id string, err error) {
	lease := sight{}
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		now, revision, err := b.read(ctx, want.Key)
		if err != nil {
			return "", err
		}
		same := now.Recipe == want.Recipe
		switch {
		case same && now.ID != "":
			return now.ID, nil
		case same && now.Builder != "" && now.Builder != b.worker && !lease.forsaken(revision):
		case same && now.Failure != "" && lease.seen():
			return "", &run.BuildError{Text: now.Failure, Bad: now.Bad}
		default:
			claimed, err := b.write(ctx, want, Record{Builder: b.worker}, revision)
			if err == nil {
				return b.build(ctx, want, claimed, build)
			}
			if !errors.Is(err, run.ErrConflict) {
				return "", err
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the build of another worker: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// sight is the lease of another worker as it was seen last, and since when.
type sight struct {
	revision uint64
	since    time.Time
}

func (s *sight) seen() bool { return s.revision != 0 }

// forsaken reports whether the lease has not changed for as long as it lasts.
func (s *sight) forsaken(revision uint64) bool {
	if revision != s.revision {
		s.revision, s.since = revision, time.Now()
	}
	return time.Since(s.since) >= leaseTime
}

// build builds under the lease of that revision, and records how it went. A worker that is stopped gives the lease back.
func (b *Book) build(ctx context.Context, want run.Build, revision uint64, build func(context.Context) (string, error)) (string, error) {
	renewing, stop := context.WithCancel(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() { revision = b.renew(renewing, want, revision) })
	id, failed := build(ctx)
	stop()
	renewal.Wait()
	outcome := Record{ID: id}
	if failed != nil && ctx.Err() == nil {
		outcome = Record{Failure: failed.Error()}
		if e, ok := errors.AsType[*run.BuildError](failed); ok {
			outcome.Bad = e.Bad
		}
	}
	_, err := b.write(context.WithoutCancel(ctx), want, outcome, revision)
	if err != nil { // Others build it once more, and find that most of it is there.
		b.log.LogAttrs(ctx, slog.LevelWarn, "outcome of a build not recorded", slog.String("image", want.Name), slog.Any("err", err))
	}
	return id, failed
}

// renew renews the lease until ctx ends or the lease is another worker's, and returns its revision.
func (b *Book) renew(ctx context.Context, want run.Build, revision uint64) uint64 {
	for {
		select {
		case <-ctx.Done():
			return revision
		case <-time.After(renewEvery):
		}
		// A renewal is not broken off: the revision that it makes is needed at the end.
		renewed, err := b.write(context.WithoutCancel(ctx), want, Record{Builder: b.worker}, revision)
		switch {
		case err == nil:
			revision = renewed
		case errors.Is(err, run.ErrConflict): // Or a renewal whose answer got lost.
			now, at, err := b.read(context.WithoutCancel(ctx), want.Key)
			if err == nil && now.Builder != b.worker {
				return revision
			}
			if err == nil {
				revision = at
			}
		}
	}
}

// Drop takes the image off the record, if it is the one there: Modal has it no more.
func (b *Book) Drop(ctx context.Context, key, id string) error {
	for range maxConflicts {
		now, revision, err := b.read(ctx, key)
		if err != nil || now.ID != id {
			return err
		}
		_, err = b.write(ctx, run.Build{Key: key, Recipe: now.Recipe, Name: now.Name, Runner: now.Runner}, Record{}, revision)
		if !errors.Is(err, run.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("%s: %w, %d times", keyOf(key), run.ErrConflict, maxConflicts)
}

// Failed puts on record why there is no image, of which no build need have begun, unless there is one or it is being built.
func (b *Book) Failed(ctx context.Context, key, name string, why *run.BuildError) {
	now, revision, err := b.read(ctx, key)
	if err == nil && now.ID == "" && now.Builder == "" && now.Failure != why.Error() {
		of := run.Build{Key: key, Recipe: now.Recipe, Name: name, Runner: now.Runner}
		_, err = b.write(ctx, of, Record{Failure: why.Error(), Bad: why.Bad}, revision)
	}
	if err != nil && !errors.Is(err, run.ErrConflict) { // Another worker knows more by then.
		b.log.LogAttrs(ctx, slog.LevelWarn, "outcome of a build not recorded", slog.String("image", name), slog.Any("err", err))
	}
}

// Read returns the record of an image; zero if there is none.
func (b *Book) Read(ctx context.Context, key string) (Record, error) {
	r, _, err := b.read(ctx, key)
	return r, err
}

func (b *Book) read(ctx context.Context, key string) (r Record, revision uint64, err error) {
	return records.Load[Record](ctx, b.bucket, keyOf(key))
}

// write puts what there is of the build on record, in place of that of the revision, 0 for none. It returns run.ErrConflict if there
// is another one.
func (b *Book) write(ctx context.Context, of run.Build, r Record, revision uint64) (uint64, error) {
	r.Recipe, r.Name, r.Runner, r.Since = of.Recipe, of.Name, of.Runner, time.Now().UTC()
	return records.Save(ctx, b.bucket, keyOf(of.Key), r, revision)
}

func keyOf(image string) string { return "image." + image }
