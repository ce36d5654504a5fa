package sweep

import (
	"context"
	"fmt"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// lookAnyway is how often the line is looked at though nobody is known to wait: what says so may be lost with the record.
const lookAnyway = 10 * time.Second

// Book has the places; see places.Book.
type Book interface {
	Read(ctx context.Context) (places.Record, uint64, error)
	Change(ctx context.Context, change func(places.Record) places.Record) (revision uint64, err error)
}

// Line promises places to those who wait for one, in the order of places.Record.Serve, and has their jobs looked at.
type Line struct {
	Book   Book
	Ledger Ledger
	Queue  Caller
	Rules  places.Rules
	Now    func() time.Time

	looked time.Time
	// called is of whom who were called by this worker the promise was made when.
	called map[int64]time.Time
}

// Caller calls jobs that stand in line.
type Caller interface {
	// Call has the job, queued at queuedAt, looked at now: it is promised a place. The revision is that of the record of places
	// which says so; calling twice with one revision is calling once.
	Call(ctx context.Context, j run.Job, queuedAt time.Time, revision uint64) error
}

// RunOnce looks once.
func (l *Line) RunOnce(ctx context.Context) (Report, error) {
	record, _, err := l.Book.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	now := l.Now()
	if len(record.Short) == 0 && len(record.Promised) == 0 && now.Sub(l.looked) < lookAnyway {
		return Report{}, nil
	}
	runs, err := l.Ledger.Runs(ctx)
	if err != nil {
		return Report{}, err
	}
	l.looked = now
	waiting, jobs := l.waiting(runs, record)
	report := Report{Room: l.room(record, waiting, now)}
	if len(waiting) == 0 && len(record.Short) == 0 && len(record.Promised) == 0 {
		return report, nil
	}
	var after places.Record
	var served []places.Waiting
	revision, err := l.Book.Change(ctx, func(r places.Record) places.Record {
		after, served = r.Serve(waiting, l.Rules, l.Now())
		return after
	})
	if err != nil {
		return report, err
	}
	t := tally{Report: report}
	t.errs = l.call(ctx, append(served, waiting...), jobs, after, revision)
	return t.result()
}

// call has those looked at who are promised a place, in their order, but for those whom this worker has called before: whoever made
// the promise may have died since, or not have reached the queue.
func (l *Line) call(
	ctx context.Context, waiting []places.Waiting, jobs map[int64]*run.Run, record places.Record, revision uint64,
) (errs []error) {
	called, seen := map[int64]time.Time{}, map[int64]bool{}
	for _, w := range waiting {
		p, promised := record.Promised[w.Job]
		if !promised || seen[w.Job] {
			continue
		}
		seen[w.Job] = true
		if r := jobs[w.Job]; !l.called[w.Job].Equal(p.Since) {
			if err := l.Queue.Call(ctx, r.Job, r.LastQueuedAt, revision); err != nil {
				errs = append(errs, fmt.Errorf("call job %d: %w", w.Job, err))
				continue
			}
		}
		called[w.Job] = p.Since
	}
	l.called = called
	return errs
}

// Room is the state of the places, for metrics.
type Room struct {
	// Held and Promised are places by pool.
	Held, Promised map[string]int
	// Waiting is how many jobs stand in line, by pool and by what they wait for.
	Waiting map[WaitingKey]int
	// Cost is what each pool cost today, in US dollars.
	Cost map[string]float64
	// Breakers is the breaker of each pool, the most open one if it has several kinds of sandboxes; Paused, how much an operator has paused.
	Breakers map[string]places.BreakerState
	Paused   int
}

// WaitingKey is a pool and what some of its jobs wait for.
type WaitingKey struct {
	Pool string
	Kind places.Kind
}

func (l *Line) room(record places.Record, waiting []places.Waiting, now time.Time) *Room {
	room := Room{
		Held: map[string]int{}, Promised: map[string]int{}, Waiting: map[WaitingKey]int{}, Cost: map[string]float64{},
		Breakers: map[string]places.BreakerState{}, Paused: len(record.Paused),
	}
	for _, p := range record.Held {
		room.Held[p.Pool]++
	}
	for _, p := range record.Promised {
		room.Promised[p.Pool]++
	}
	why := record.Obstacles(waiting, l.Rules, now)
	for _, w := range waiting {
		room.Waiting[WaitingKey{w.Pool, why[w.Job].Kind}]++
	}
	for kind, p := range record.Pools {
		name := places.PoolOf(kind)
		room.Breakers[name] = max(room.Breakers[name], p.Breaker(now))
		room.Cost[name] = record.Cost(places.PoolScope(name), now)
	}
	return &room
}

// waiting are the jobs that stand in line and have no place.
func (l *Line) waiting(runs []Record[run.Run], record places.Record) ([]places.Waiting, map[int64]*run.Run) {
	var waiting []places.Waiting
	jobs := map[int64]*run.Run{}
	for _, entry := range runs {
		if w, ok := record.Standing(entry.Value, l.Rules); ok {
			waiting = append(waiting, w)
			jobs[w.Job] = entry.Value
		}
	}
	return waiting, jobs
}
