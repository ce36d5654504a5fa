package budget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// maxConflicts is how often the record is written anew because another worker was faster. Each time one of them gets on,
	// and then has nothing to write until more is wanted.
	maxConflicts = 20
	// aloneFor is how long a worker does without NATS before it asks again. Each time it asks costs callTimeout.
	aloneFor = 2 * time.Second
	// sameStop is how much two answers of GitHub may differ that mean the same stop.
	sameStop = 2 * time.Second
)

// Why there is no room.
var (
	errMinute  = errors.New("GitHub's points of this minute are used up, or left to what is more urgent")
	errHour    = errors.New("GitHub's requests of this hour are left to what is more urgent")
	errStopped = errors.New("GitHub wants to be left alone")
	errCrowded = errors.New("too many workers write down their requests to GitHub at once")
)

// Options is what a Budget works with. All of it is required.
type Options struct {
	// JS has the bucket, which need not exist yet.
	JS jetstream.JetStream
	// Worker is no other process's, now or in the past.
	Worker  string
	Metrics *Metrics
	Log     *slog.Logger
	// Rand spreads those who must wait.
	Rand *rand.Rand
}

// Budget is one worker's part in the budgets. It is safe for concurrent use.
type Budget struct {
	Options

	store store

	mu       sync.Mutex
	accounts map[string]*account
	alone    time.Time // until when NATS is not asked
	reason   string    // why
}

// New makes a Budget. It calls nobody.
func New(o Options) *Budget {
	return &Budget{Options: o, store: store{js: o.JS}, accounts: map[string]*account{}}
}

// Take takes the points of one request of a caller, and waits if too many requests are under way. The request is to be sent at
// once, and done to be called when it was answered. If there is no room, Take returns a run.LimitedError with the time to
// come back. A caller is letters, digits and dashes.
func (b *Budget) Take(ctx context.Context, caller string, lane Lane, points int) (done func(), err error) {
	a := b.account(caller)
	if err := a.enter(ctx); err != nil {
		return nil, err
	}
	if err := b.take(ctx, a, lane, points); err != nil {
		a.leave()
		return nil, err
	}
	b.Metrics.took(lane, points)
	return a.leave, nil
}

// Stop has all workers leave GitHub alone until then, as far as the caller goes. It is at most maxStop from now.
func (b *Budget) Stop(ctx context.Context, caller string, until time.Time) {
	a := b.account(caller)
	ctx = context.WithoutCancel(ctx) // Others are to know even if nobody waits for this request any more.
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	now := b.store.now()
	until = until.Add(b.store.lead())
	clear(a.held)
	if all := a.known.with(a.own, now); all.stopped(Launch, now) && all.Stop.After(until.Add(-sameStop)) {
		return
	}
	b.Metrics.stop(until)
	b.Log.LogAttrs(ctx, slog.LevelWarn, "github is left alone", slog.String("caller", caller), slog.Time("until", until))
	a.own = a.own.halted(until, now)
	for range maxConflicts {
		if err := b.save(ctx, a, a.known.with(a.own, now)); !errors.Is(err, run.ErrConflict) {
			return // Written, or to be written with the next points that are taken.
		}
	}
}

// Left tells what remains of the requests that GitHub grants the caller until reset, as its answer said.
func (b *Budget) Left(caller string, limit, remaining int, reset time.Time) {
	a := b.account(caller)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hour = hour{limit, remaining, reset}
}

func (b *Budget) account(caller string) *account {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.accounts[caller]
	if !ok {
		a = newAccount(caller)
		b.accounts[caller] = a
	}
	return a
}

// take takes points out of what this worker holds, or else of the record: what all who wait for the turn want, by one write.
// More is never held, since points that are not used are lost to the minute.
func (b *Budget) take(ctx context.Context, a *account, lane Lane, points int) error {
	a.want(lane, points)
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		a.want(lane, -points)
		return fmt.Errorf("wait for points: %w", context.Cause(ctx))
	}
	defer func() { <-a.turn }()
	others := a.want(lane, -points)
	if a.spend(lane, points, b.store.now()) {
		return nil
	}
	if resets, kept := a.keeps(lane); kept {
		return b.refuse(a, lane, points, resets.Add(b.store.lead()), reasonHour, errHour)
	}
	return b.draw(ctx, a, lane, points, points+others)
}

// draw writes down that at least so many points are taken, and at most as many as are wanted, of which this worker holds the
// rest.
func (b *Budget) draw(ctx context.Context, a *account, lane Lane, points, wanted int) error {
	for range maxConflicts {
		now := b.store.now()
		all := a.known.with(a.own, now)
		room := all.room(lane, now)
		if room < points {
			reason, err := reasonMinute, errMinute
			if all.stopped(lane, now) {
				reason, err = reasonStopped, errStopped
			}
			return b.refuse(a, lane, points, all.freeAt(lane, points, now), reason, err)
		}
		n := min(room, wanted)
		err := b.save(ctx, a, all.granted(b.Worker, n, now))
		if errors.Is(err, run.ErrConflict) {
			continue
		}
		if err != nil {
			return b.drawAlone(a, lane, points, now)
		}
		a.held[lane] = held{points: n - points, slice: sliceOf(now)}
		return nil
	}
	return b.refuse(a, lane, points, b.store.now(), reasonMinute, errCrowded)
}

// drawAlone takes points without telling the others, since NATS is away. Launches need NATS before they need GitHub, so that
// this is for those in hand, and for a moment: the fair share neither fails them nor exceeds the limit by much, should
// somebody have taken points that this worker has not seen yet. Afterwards they are written down.
func (b *Budget) drawAlone(a *account, lane Lane, points int, now time.Time) error {
	if a.known.fair(a.own, lane, now) < points {
		return b.refuse(a, lane, points, now.Add(aloneFor), reasonMinute, errMinute)
	}
	a.own = a.own.granted(b.Worker, points, now)
	return nil
}

// save writes the record, and on a conflict reads it: what it says then is known. It does not ask NATS again as soon as it
// was away.
func (b *Budget) save(ctx context.Context, a *account, r record) (err error) {
	if b.isAlone() {
		return errors.New("NATS was away a moment ago")
	}
	defer func() {
		if !errors.Is(err, run.ErrConflict) {
			b.report(ctx, err)
		}
	}()
	revision, err := b.store.save(ctx, a.caller, r, a.revision)
	if errors.Is(err, run.ErrConflict) {
		known, revision, loadErr := b.store.load(ctx, a.caller)
		if loadErr != nil {
			return loadErr
		}
		a.learn(known, revision, b.store.now())
		return err
	}
	if err != nil { // It may be written all the same. Then what is ours counts twice, for a minute.
		return err
	}
	a.own = record{}
	a.learn(r, revision, b.store.now())
	return nil
}

// refuse says when to come back: not all at the moment when there is room, but in turn.
func (b *Budget) refuse(a *account, lane Lane, points int, free time.Time, reason string, err error) error {
	b.Metrics.heldBack(lane, reason)
	b.mu.Lock()
	rnd := b.Rand.Float64()
	b.mu.Unlock()
	now := b.store.now()
	at := a.queueOf(lane).next(now, free, points, a.known.workers(now), rnd)
	return &run.LimitedError{Until: at.Add(-b.store.lead()), Err: err}
}

func (b *Budget) isAlone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.alone)
}

// report remembers whether NATS is there, and logs when that changes.
func (b *Budget) report(ctx context.Context, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Metrics.isAlone(err != nil)
	switch {
	case err == nil && b.reason != "":
		b.Log.LogAttrs(ctx, slog.LevelInfo, "github's budget is shared again")
		b.reason = ""
	case err != nil:
		b.alone = time.Now().Add(aloneFor)
		if b.reason == "" {
			b.Log.LogAttrs(ctx, slog.LevelWarn, "github's budget is not shared", slog.Any("err", err))
		}
		b.reason = err.Error()
	}
}
