package budget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/worker/internal/run"
)

// maxConflicts is how often the record is written anew because another worker was faster. Each time one of them gets on,
// and then has nothing to write until more is wanted.
const maxConflicts = 20

// Why there is no room.
var (
	errMinute  = errors.New("GitHub's points of this minute are used up, or left to what is more urgent")
	errHour    = errors.New("GitHub's requests of this hour are left to what is more urgent")
	errStopped = errors.New("GitHub wants to be left alone")
	errCrowded = errors.New("too many workers write down their requests to GitHub at once")
	errOthers  = errors.New("other workers have as many requests to GitHub under way as it allows")
	errNoTime  = errors.New("NATS, by whose clock requests to GitHub are written down, has not told the time yet")
	errBusy    = errors.New("this worker has as many requests to GitHub under way as it may")
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

// Budget is one worker's part in the budgets. It is safe for concurrent use. What the others could not be told at once, they are told
// while Run runs.
type Budget struct {
	Options

	store *store
	news  chan struct{} // for Run: the others are to be told something

	mu       sync.Mutex
	accounts map[string]*account
	alone    time.Time // until when NATS is not asked
	reason   string    // why
}

// New makes a Budget. It calls nobody.
func New(o Options) *Budget {
	return &Budget{Options: o, store: newStore(o.JS), news: make(chan struct{}, 1), accounts: map[string]*account{}}
}

// Take takes the points of one request of a caller, and waits if too many requests are under way, and with a launch if its points are
// free within early. The request is to be sent at once, and done to be called when it was answered, within maxFlight. If there is no
// room, Take returns a run.LimitedError with the time to come back. A caller is letters, digits and dashes.
func (b *Budget) Take(ctx context.Context, caller string, r Request) (done func(), err error) {
	a := b.account(caller)
	var from time.Time
	for {
		_, freed := a.underWay()
		if from, err = b.take(ctx, a, r); !errors.Is(err, errBusy) {
			break
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for requests to GitHub to end: %w", context.Cause(ctx))
		}
	}
	if err != nil {
		return nil, err
	}
	done = func() { a.end(); b.hasNews() }
	if err := b.await(ctx, a, r, from); err != nil {
		done()
		return nil, err
	}
	b.Metrics.took(r.Lane, r.Points)
	return done, nil
}

// await waits until the points of a request that were taken may be used. GitHub may have said to stop meanwhile, to any worker. Nor may
// the request be sent later than the write of the record would let one be: see slack.
func (b *Budget) await(ctx context.Context, a *account, r Request, from time.Time) error {
	wait := from.Sub(b.store.now())
	if wait <= 0 {
		return nil
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return fmt.Errorf("wait for points to be free: %w", context.Cause(ctx))
	}
	if err := a.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { <-a.turn }()
	b.look(ctx, a)
	now := b.store.now()
	all := a.known.with(a.own, now)
	switch free := all.freeAt(r.Lane, r.Points, now); {
	case all.stopped(r.Lane, now):
		return b.refuse(a, r, free, reasonStopped, errStopped)
	case now.Sub(from) > slice+callTimeout:
		return b.refuse(a, r, free, reasonMinute, errMinute)
	}
	return nil
}

// Room returns what Take would if, by what this worker knows, there is no room for the request beside those that were let pass by Room
// and have yet to come to Take; else nil. Once ctx is done the request is not waited for any more. It asks nobody and takes nothing, and
// waits while the record is written.
func (b *Budget) Room(ctx context.Context, caller string, r Request) error {
	a := b.account(caller)
	if err := a.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { <-a.turn }()
	now := b.store.now()
	all := a.known.with(a.own, now)
	// Each worker lets as many pass as this one.
	points := r.Points + all.workers(now)*a.passing(r.Lane, now)
	if !a.holds(r.Lane, points, now) {
		if _, err := b.free(a, all, r, points, now); err != nil {
			return err
		}
	}
	a.passed[r.Lane] = append(a.passed[r.Lane], pass{r.Points, now, ctx.Done()})
	return nil
}

// Left tells what remains of the requests that GitHub grants the caller until reset, as its answer said.
func (b *Budget) Left(caller string, limit, remaining int, reset time.Time) {
	a := b.account(caller)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hour = hour{limit, remaining, reset}
}

// all are the accounts so far.
func (b *Budget) all() []*account {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.accounts))
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

// take takes points out of what this worker holds, or else of the record: what all who wait for the turn want, by one write. It
// returns from when they may be used. More is never held, since points that are not used are lost to the minute. It returns errBusy
// if a request of this worker must end before there can be another.
func (b *Budget) take(ctx context.Context, a *account, r Request) (from time.Time, err error) {
	a.want(r.Lane, r.Points)
	if err := a.takeTurn(ctx); err != nil {
		a.wantNoMore(r.Lane, r.Points)
		return time.Time{}, err
	}
	defer func() { <-a.turn }()
	others, theirs := a.wantNoMore(r.Lane, r.Points)
	inFlight, _ := a.underWay()
	held := false
	if inFlight < a.slots {
		from, held = a.spend(r.Lane, r.Points, b.store.now())
	}
	if !held {
		from, err = b.draw(ctx, a, wanted{r, 1 + others, r.Points + theirs})
	}
	if !errors.Is(err, errBusy) { // Else it has yet to take its points.
		a.arrived(r)
	}
	if err != nil {
		return time.Time{}, err
	}
	a.begin()
	return from, nil
}

// wanted is what one who has the turn wants, and with those who wait for it.
type wanted struct {
	Request

	requests, points int
}

// draw writes down that at least so many points are taken, and at most as many as are wanted, of which this worker holds the
// rest, and how many requests it has under way with those. It returns from when the points may be used.
func (b *Budget) draw(ctx context.Context, a *account, want wanted) (from time.Time, err error) {
	if err := b.readClock(ctx); err != nil { // Nothing that this worker wrote down would be true, and it has no work in hand yet.
		return time.Time{}, b.refuse(a, want.Request, b.store.now().Add(early+aloneFor), reasonMinute, errNoTime)
	}
	for range maxConflicts {
		now := b.store.now()
		all := a.known.with(a.own, now)
		from, err := b.free(a, all, want.Request, want.Points, now)
		if err != nil {
			return time.Time{}, err
		}
		inFlight, _ := a.underWay()
		requests := min(all.slots(b.Worker, now)-inFlight, want.requests)
		if requests <= 0 && inFlight > 0 {
			return time.Time{}, errBusy
		}
		n := max(0, min(all.room(want.Lane, from), want.points, want.Points*requests))
		err = b.save(ctx, a, all.granted(b.Worker, n, from, now).flying(b.Worker, inFlight+max(0, requests), now))
		switch {
		case errors.Is(err, run.ErrConflict):
			continue
		case requests <= 0: // The others know of this worker now, and leave it its share.
			return time.Time{}, b.refuse(a, want.Request, now.Add(early+tellEvery), reasonInFlight, errOthers)
		case err != nil && ctx.Err() != nil:
			return time.Time{}, fmt.Errorf("write down points: %w", context.Cause(ctx))
		case err != nil:
			return now, b.drawAlone(a, want.Request, now)
		}
		a.held[want.Lane] = held{points: n - want.Points, slice: sliceOf(from)}
		return from, nil
	}
	return time.Time{}, b.refuse(a, want.Request, b.store.now(), reasonMinute, errCrowded)
}

// free is when so many points are free, of which r wants a part: now, or soon enough for a launch to wait for them. It returns a
// run.LimitedError if they are not. After a stop nobody waits, so that not all go on at once.
func (b *Budget) free(a *account, all record, r Request, points int, now time.Time) (time.Time, error) {
	at := all.freeAt(r.Lane, points, now)
	resets, kept := a.keeps(r.Lane)
	switch {
	case kept:
		return time.Time{}, b.refuse(a, r, resets.Add(b.store.lead()), reasonHour, errHour)
	case all.stopped(r.Lane, now):
		return time.Time{}, b.refuse(a, r, all.freeAt(r.Lane, r.Points, now), reasonStopped, errStopped)
	case all.room(r.Lane, at) < points || at.Sub(now) > r.Lane.patience():
		return time.Time{}, b.refuse(a, r, all.freeAt(r.Lane, r.Points, now), reasonMinute, errMinute)
	}
	return at, nil
}

// drawAlone takes points without telling the others, since NATS is away. Launches need NATS before they need GitHub, so that
// this is for those in hand, and for a moment: the fair share neither fails them nor exceeds the limit by much, should
// somebody have taken points that this worker has not seen yet. Afterwards they are written down.
func (b *Budget) drawAlone(a *account, r Request, now time.Time) error {
	slots := 1
	if time.Since(a.written) < freshFor {
		slots = max(slots, a.slots)
	}
	if inFlight, _ := a.underWay(); inFlight >= slots {
		return errBusy
	}
	if a.known.fair(a.own, r.Lane, now) < r.Points {
		return b.refuse(a, r, now.Add(aloneFor), reasonMinute, errMinute)
	}
	a.own = a.own.granted(b.Worker, r.Points, now, now)
	return nil
}

// refuse says when to come back: not all at the moment when there is room, but in turn.
func (b *Budget) refuse(a *account, r Request, free time.Time, reason string, err error) error {
	b.Metrics.heldBack(r.Lane, reason)
	b.mu.Lock()
	rnd := b.Rand.Float64()
	b.mu.Unlock()
	now := b.store.now()
	at := a.queueOf(r.Lane).next(now, free, r, a.known.workers(now), rnd)
	return &run.LimitedError{Until: at.Add(-b.store.lead()), Err: err}
}
