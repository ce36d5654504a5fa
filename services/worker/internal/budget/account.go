package budget

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// account is what a worker knows about the budget of one caller.
type account struct {
	caller string
	// turn holds one entry while somebody reads or writes the record. It is a channel, so that who waits can give up.
	turn chan struct{}

	mu       sync.Mutex
	wanted   map[Lane]int // points of those who wait for the turn
	inFlight int
	share    int           // how many may be in flight
	freed    chan struct{} // is closed when that changes
	hour     hour

	// What follows belongs to whoever has the turn.
	known    record // as it was read or written last
	revision uint64
	own      record // what is not written down yet
	held     map[Lane]held
	queues   map[Lane]*queue
}

func newAccount(caller string) *account {
	return &account{
		caller: caller, turn: make(chan struct{}, 1), wanted: map[Lane]int{}, share: shareInFlight(1),
		freed: make(chan struct{}), held: map[Lane]held{}, queues: map[Lane]*queue{},
	}
}

// held are points that are written down as taken and not used yet. They are good in their slice only.
type held struct {
	points int
	slice  int64
}

// spend takes points out of what is held.
func (a *account) spend(lane Lane, points int, now time.Time) bool {
	h := a.held[lane]
	if h.points < points || h.slice != sliceOf(now) {
		return false
	}
	h.points -= points
	a.held[lane] = h
	return true
}

// enter waits until one more request may be under way.
func (a *account) enter(ctx context.Context) error {
	for {
		a.mu.Lock()
		freed := a.freed
		if a.inFlight < a.share {
			a.inFlight++
			a.mu.Unlock()
			return nil
		}
		a.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return fmt.Errorf("wait for requests to GitHub to end: %w", context.Cause(ctx))
		}
	}
}

// leave says that a request is no longer under way.
func (a *account) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inFlight--
	a.wake()
}

// wake lets those who wait in enter look again. a.mu is held.
func (a *account) wake() {
	close(a.freed)
	a.freed = make(chan struct{})
}

// want adds to what is wanted in the lane and returns the sum.
func (a *account) want(lane Lane, points int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted[lane] += points
	return a.wanted[lane]
}

// keeps reports whether the rest of the hour is not for the lane, and when it ends.
func (a *account) keeps(lane Lane) (resets time.Time, kept bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hour.resets, a.hour.keeps(lane, time.Now())
}

// learn takes r for what the record says.
func (a *account) learn(r record, revision uint64, now time.Time) {
	a.known, a.revision = r, revision
	a.mu.Lock()
	defer a.mu.Unlock()
	if share := shareInFlight(r.workers(now)); share != a.share {
		a.share = share
		a.wake()
	}
}

func (a *account) queueOf(lane Lane) *queue {
	q, ok := a.queues[lane]
	if !ok {
		q = &queue{}
		a.queues[lane] = q
	}
	return q
}
