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
	Queue  Requeuer
	Rules  places.Rules
	Now    func() time.Time

	looked time.Time
}

// Requeuer has a job looked at again; see launch.Queue.
type Requeuer interface {
	Requeue(ctx context.Context, j run.Job, queuedAt time.Time, revision uint64) error
}

// RunOnce looks once.
func (l *Line) RunOnce(ctx context.Context) (Report, error) {
	record, _, err := l.Book.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	now := l.Now()
	if len(record.Short) == 0 && now.Sub(l.looked) < lookAnyway {
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
	var served []places.Waiting
	revision, err := l.Book.Change(ctx, func(r places.Record) (after places.Record) {
		after, served = r.Serve(waiting, l.Rules, l.Now())
		return after
	})
	if err != nil {
		return report, err
	}
	t := tally{Report: report}
	for _, w := range served {
		r := jobs[w.Job]
		if err := l.Queue.Requeue(ctx, r.Job, r.LastQueuedAt, revision); err != nil { // The promise runs out, and is made again.
			t.errs = append(t.errs, fmt.Errorf("requeue job %d: %w", w.Job, err))
		}
	}
	return t.result()
}

// Room is the state of the places, for metrics.
type Room struct {
	// Held and Promised are places by pool.
	Held, Promised map[string]int
	// Waiting is how many jobs stand in line, by pool and by what they wait for.
	Waiting map[WaitingKey]int
	// Cost is what each pool cost today, in US dollars.
	Cost map[string]float64
	// Breakers is each pool's breaker; Paused, how much an operator has paused.
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
	for name, p := range record.Pools {
		room.Breakers[name] = p.Breaker(now)
		room.Cost[name] = record.Cost(places.PoolScope(name), now)
	}
	return &room
}

// waiting are the jobs that stand in line and have no place.
func (l *Line) waiting(runs []Record[run.Run], record places.Record) ([]places.Waiting, map[int64]run.Run) {
	var waiting []places.Waiting
	jobs := map[int64]run.Run{}
	for _, entry := range runs {
		if w, ok := record.Standing(entry.Value, l.Rules); ok {
			waiting = append(waiting, w)
			jobs[w.Job] = entry.Value
		}
	}
	return waiting, jobs
}
