package budget

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// account is what a worker knows about the budget of one caller.
type account struct {
	caller string
	// turn holds one entry while somebody reads or writes the record. It is a channel, so that who waits can give up.
	turn chan struct{}

	mu       sync.Mutex
	wanted   map[Lane]int  // points of those who wait for the turn
	waiting  int           // how many those are
	inFlight int           // requests under way
	freed    chan struct{} // is closed when one has ended
	hour     hour

	// What follows belongs to whoever has the turn.
	known    record // as it was read or written last
	revision uint64
	slots    int       // how many requests this worker may have under way, as it has written down
	written  time.Time // when it did so, by this worker's clock
	own      record    // what is not written down yet
	held     map[Lane]held
	passed   map[Lane][]pass
	queues   map[Lane]*queue
}

// takeTurn waits for the turn. Without an error, it is to be given back: <-a.turn.
func (a *account) takeTurn(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the record of points: %w", context.Cause(ctx))
	}
}

// passFor is how long who was let pass by Room may take to come to Take: a launch writes down a few things in between.
const passFor = 2 * time.Second

// pass is a request that Room let pass.
type pass struct {
	points int
	at     time.Time
	over   <-chan struct{} // is closed when it comes no more
}

// passing is how many points those want that were let pass and have yet to come.
func (a *account) passing(lane Lane, now time.Time) (points int) {
	a.passed[lane] = slices.DeleteFunc(a.passed[lane], func(p pass) bool {
		select {
		case <-p.over:
			return true
		default:
			return now.Sub(p.at) >= passFor
		}
	})
	for _, p := range a.passed[lane] {
		points += p.points
	}
	return points
}

// arrived says that one of those that were let pass has come, if r may be one.
func (a *account) arrived(r Request) {
	waiting := a.passed[r.Lane]
	if n := slices.IndexFunc(waiting, func(p pass) bool { return p.points == r.Points }); n >= 0 {
		a.passed[r.Lane] = slices.Delete(waiting, n, n+1)
	}
}

func newAccount(caller string) *account {
	return &account{
		caller: caller, turn: make(chan struct{}, 1), wanted: map[Lane]int{}, freed: make(chan struct{}),
		held: map[Lane]held{}, passed: map[Lane][]pass{}, queues: map[Lane]*queue{},
	}
}

// held are points that are written down as taken and not used yet. They are good in their slice only, which may be to come.
type held struct {
	points int
	slice  int64
}

// holds reports whether so many points are held.
func (a *account) holds(lane Lane, points int, now time.Time) bool {
	h := a.held[lane]
	return h.points >= points && h.slice >= sliceOf(now)
}

// spend takes points out of what is held, and returns from when they may be used.
func (a *account) spend(lane Lane, points int, now time.Time) (from time.Time, ok bool) {
	if !a.holds(lane, points, now) {
		return time.Time{}, false
	}
	h := a.held[lane]
	h.points -= points
	a.held[lane] = h
	return startOf(h.slice), true
}

// underWay is how many requests are, and freed is closed when one of them has ended.
func (a *account) underWay() (requests int, freed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inFlight, a.freed
}

// begin says that a request is under way. Whoever calls it has the turn.
func (a *account) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inFlight++
}

// end says that a request is no longer under way.
func (a *account) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inFlight--
	close(a.freed)
	a.freed = make(chan struct{})
}

// want adds a request to those who wait for the turn.
func (a *account) want(lane Lane, points int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted[lane] += points
	a.waiting++
}

// wantNoMore takes it away again, and returns how many requests there are besides, and how many points those of the lane want.
func (a *account) wantNoMore(lane Lane, points int) (others, theirs int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted[lane] -= points
	a.waiting--
	return a.waiting, a.wanted[lane]
}

// keeps reports whether the rest of the hour is not for the lane, and when it ends.
func (a *account) keeps(lane Lane) (resets time.Time, kept bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hour.resets, a.hour.keeps(lane, time.Now())
}

func (a *account) queueOf(lane Lane) *queue {
	q, ok := a.queues[lane]
	if !ok {
		q = &queue{last: map[string]time.Time{}}
		a.queues[lane] = q
	}
	return q
}
