// Package leader has one worker at a time do what needs to be done only once, such as the sweeps. Who leads holds a lease in
// the KV bucket "control" and renews it by compare-and-set.
//
// Leadership spares work and calls; it is no lock. Two workers may lead for a moment, when one was frozen for example, so
// what a leader does must be right even then. Nothing that relies on there being one may ever live here.
//
// No clock is compared with another: whoever waits takes a lease over once it has seen the lease unchanged for as long as
// a lease lasts, by its own clock. A worker that starts therefore waits that long for a dead one's lease.
package leader

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/records"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// leaseTime is after how long without a renewal others take over. With a pause before the last renewal is seen and one
	// before its age is, that is within ten seconds of the leader's death.
	leaseTime = 8 * time.Second
	// stopAfter is after how long without a renewal the leader itself stops. What it does has the rest of leaseTime to end.
	stopAfter = 6 * time.Second
	// renewEvery leaves room for two lost renewals before stopAfter.
	renewEvery = 2 * time.Second
	// lookEvery is how often the others look.
	lookEvery = time.Second
	// callTimeout bounds one look or renewal, so that a lost answer costs one renewal only.
	callTimeout = renewEvery
)

// key of the lease.
const key = "leader"

// lease is the value of the key. What counts is its revision, which each renewal changes.
type lease struct {
	Holder string `json:"holder"`
}

// Election is one worker's part in choosing the leader.
type Election struct {
	id     string
	bucket *records.Bucket
	log    *slog.Logger

	// What follows belongs to Run.
	revision uint64    // Of the lease as it was last seen or made.
	since    time.Time // When that was seen first.
	reason   string    // Why the last look or renewal failed.
}

// New makes the part of the worker id. The id must be no other process's, now or in the past. The bucket need not exist
// yet. New calls nobody.
func New(js jetstream.JetStream, id string, log *slog.Logger) *Election {
	return newElection(id, log, records.Named(js, wire.BucketControl, 0))
}

func newElection(id string, log *slog.Logger, bucket *records.Bucket) *Election {
	return &Election{id: id, bucket: bucket, log: log.With(slog.String("worker", id))}
}

// Run calls lead whenever this worker leads, and ends lead's context when it leads no longer or ctx ends. It waits for
// lead to return, and gives the lease back so that another takes over at once. lead is to return when its context ends;
// if it returns before, this worker stands for election again. Run returns when ctx ends. It is called once.
func (e *Election) Run(ctx context.Context, lead func(context.Context)) {
	for ctx.Err() == nil {
		if e.claimed(ctx) {
			e.serve(ctx, lead)
		}
		pause(ctx, lookEvery)
	}
}

// serve leads until ctx ends, the lease is lost, or lead returns.
func (e *Election) serve(ctx context.Context, lead func(context.Context)) {
	e.log.LogAttrs(ctx, slog.LevelInfo, "leadership taken")
	leading, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lead(leading)
	}()
	held := e.hold(leading, ended)
	stop()
	<-ended
	if held {
		e.release(ctx)
	}
	e.log.LogAttrs(ctx, slog.LevelInfo, "leadership ended", slog.Bool("lost", !held))
}

// hold renews the lease until ctx ends or ended closes, and then returns true; or until the lease is lost.
func (e *Election) hold(ctx context.Context, ended <-chan struct{}) bool {
	renewed := time.Now()
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return true
		case <-ended:
			return true
		case <-renew.C:
		}
		began := time.Now() // What others see of a renewal is no earlier.
		// A renewal is not broken off: the revision that it makes is needed to give the lease back.
		ours, err := e.claim(context.WithoutCancel(ctx))
		e.report(ctx, err)
		switch {
		case err == nil && !ours:
			return false
		case err == nil:
			renewed = began
		case time.Since(renewed) >= stopAfter:
			return false
		}
	}
}

// claimed reports whether this worker now leads.
func (e *Election) claimed(ctx context.Context) bool {
	ours, err := e.claim(ctx)
	e.report(ctx, err)
	return err == nil && ours
}

// claim takes or renews the lease, if it is free, ours already, or forsaken, and reports whether it is ours now. After an
// error it may be.
func (e *Election) claim(ctx context.Context) (ours bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	value, revision, err := e.bucket.Get(ctx, key)
	if err != nil {
		return false, err //nolint:wrapcheck // the bucket names the key
	}
	if revision != 0 && !e.isOurs(value) && !e.isForsaken(revision) {
		return false, nil
	}
	revision, err = records.Save(ctx, e.bucket, key, lease{Holder: e.id}, revision)
	if errors.Is(err, run.ErrConflict) { // Somebody else was first.
		return false, nil
	}
	if err != nil {
		return false, err //nolint:wrapcheck // as above
	}
	e.revision, e.since = revision, time.Now()
	return true, nil
}

// isOurs reports whether the lease names us: also after a write of ours whose answer got lost.
func (e *Election) isOurs(value []byte) bool {
	var l lease
	return json.Unmarshal(value, &l) == nil && l.Holder == e.id // What can't be read is nobody's: it is taken over in time.
}

// isForsaken reports whether the lease has not changed for as long as it lasts.
func (e *Election) isForsaken(revision uint64) bool {
	if revision != e.revision {
		e.revision, e.since = revision, time.Now()
	}
	return time.Since(e.since) >= leaseTime
}

// release gives the lease back, also when ctx has ended. Should that fail, it runs out.
func (e *Election) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	err := e.bucket.Delete(ctx, key, e.revision)
	if err != nil {
		e.log.LogAttrs(ctx, slog.LevelWarn, "leadership not given back", slog.Any("err", err))
	}
}

// report logs why looking or renewing fails, once per reason.
func (e *Election) report(ctx context.Context, err error) {
	reason := ""
	if err != nil && ctx.Err() == nil {
		reason = err.Error()
	}
	if reason != "" && reason != e.reason {
		e.log.LogAttrs(ctx, slog.LevelWarn, "leadership not known", slog.Any("err", err))
	}
	e.reason = reason
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
