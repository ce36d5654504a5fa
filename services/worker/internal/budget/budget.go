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

// Take takes the points of one request of a caller, and waits if too many requests are under way. The request is to be sent at
// once, and done to be called when it was answered, within maxFlight. If there is no room, Take returns a run.LimitedError with the
// time to come back. A caller is letters, digits and dashes.
func (b *Budget) Take(ctx context.Context, caller string, r Request) (done func(), err error) {
	a := b.account(caller)
	for {
		_, freed := a.underWay()
		if err = b.take(ctx, a, r); !errors.Is(err, errBusy) {
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
	b.Metrics.took(r.Lane, r.Points)
	return func() { a.end(); b.hasNews() }, nil
}

// Room returns what Take would if, by what this worker knows, there is no room, and else nil. It asks nobody and takes nothing.
func (b *Budget) Room(caller string, r Request) error {
	a := b.account(caller)
	select {
	case a.turn <- struct{}{}:
	default: // Somebody is finding out.
		return nil
	}
	defer func() { <-a.turn }()
	now := b.store.now()
	if a.holds(r.Lane, r.Points, now) {
		return nil
	}
	return b.lack(a, a.known.with(a.own, now), r, now)
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

// take takes points out of what this worker holds, or else of the record: what all who wait for the turn want, by one write.
// More is never held, since points that are not used are lost to the minute. It returns errBusy if a request of this worker must end
// before there can be another.
func (b *Budget) take(ctx context.Context, a *account, r Request) error {
	a.want(r.Lane, r.Points)
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		a.wantNoMore(r.Lane, r.Points)
		return fmt.Errorf("wait for points: %w", context.Cause(ctx))
	}
	defer func() { <-a.turn }()
	others, theirs := a.wantNoMore(r.Lane, r.Points)
	if inFlight, _ := a.underWay(); inFlight >= a.slots || !a.spend(r.Lane, r.Points, b.store.now()) {
		if err := b.draw(ctx, a, wanted{r, 1 + others, r.Points + theirs}); err != nil {
			return err
		}
	}
	a.begin()
	return nil
}

// wanted is what one who has the turn wants, and with those who wait for it.
type wanted struct {
	Request

	requests, points int
}

// draw writes down that at least so many points are taken, and at most as many as are wanted, of which this worker holds the
// rest, and how many requests it has under way with those.
func (b *Budget) draw(ctx context.Context, a *account, want wanted) error {
	if err := b.readClock(ctx); err != nil { // Nothing that this worker wrote down would be true, and it has no work in hand yet.
		return b.refuse(a, want.Request, b.store.now().Add(early+aloneFor), reasonMinute, errNoTime)
	}
	for range maxConflicts {
		now := b.store.now()
		all := a.known.with(a.own, now)
		if err := b.lack(a, all, want.Request, now); err != nil {
			return err
		}
		inFlight, _ := a.underWay()
		requests := min(all.slots(b.Worker, now)-inFlight, want.requests)
		if requests <= 0 && inFlight > 0 {
			return errBusy
		}
		n := max(0, min(all.room(want.Lane, now), want.points, want.Points*requests))
		err := b.save(ctx, a, all.granted(b.Worker, n, now).flying(b.Worker, inFlight+max(0, requests), now))
		switch {
		case errors.Is(err, run.ErrConflict):
			continue
		case requests <= 0: // The others know of this worker now, and leave it its share.
			return b.refuse(a, want.Request, now.Add(early+tellEvery), reasonInFlight, errOthers)
		case err != nil:
			return b.drawAlone(a, want.Request, now)
		}
		a.held[want.Lane] = held{points: n - want.Points, slice: sliceOf(now)}
		return nil
	}
	return b.refuse(a, want.Request, b.store.now(), reasonMinute, errCrowded)
}

// lack is why there is no room for so many points; nil if there is.
func (b *Budget) lack(a *account, all record, r Request, now time.Time) error {
	resets, kept := a.keeps(r.Lane)
	switch {
	case kept:
		return b.refuse(a, r, resets.Add(b.store.lead()), reasonHour, errHour)
	case all.room(r.Lane, now) >= r.Points:
		return nil
	case all.stopped(r.Lane, now):
		return b.refuse(a, r, all.freeAt(r.Lane, r.Points, now), reasonStopped, errStopped)
	default:
		return b.refuse(a, r, all.freeAt(r.Lane, r.Points, now), reasonMinute, errMinute)
	}
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
	a.own = a.own.granted(b.Worker, r.Points, now)
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
