package exact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// errAway is why somebody can't be reached.
var errAway = errors.New("can't be reached")

// shelf is a bucket of records with revisions, in the order in which they were made. It remembers what it had before its last
// changes, for as long as there is a backup of then.
type shelf[K comparable, T any] struct {
	at        map[K]int
	records   []sweep.Record[T]
	before    []change[K, T] // oldest first
	forgotten int            // how many changes came before those
}

// change is what there was of key. Its revision is 0 if there was nothing.
type change[K comparable, T any] struct {
	key    K
	record sweep.Record[T]
}

func newShelf[K comparable, T any]() *shelf[K, T] { return &shelf[K, T]{at: map[K]int{}} }

func (h *shelf[K, T]) load(key K) sweep.Record[T] {
	if n, ok := h.at[key]; ok {
		return h.records[n]
	}
	return sweep.Record[T]{Value: new(T)}
}

func (h *shelf[K, T]) save(key K, next sweep.Record[T]) {
	h.before = append(h.before, change[K, T]{key, h.load(key)})
	if n, ok := h.at[key]; ok {
		h.records[n] = next
		return
	}
	h.at[key] = len(h.records)
	h.records = append(h.records, next)
}

// changes is how many there were.
func (h *shelf[K, T]) changes() int { return h.forgotten + len(h.before) }

// keep forgets what there was before so many changes.
func (h *shelf[K, T]) keep(changes int) {
	h.before = slices.Delete(h.before, 0, changes-h.forgotten)
	h.forgotten = changes
}

// restore undoes all but so many changes.
func (h *shelf[K, T]) restore(changes int) {
	for ; h.changes() > changes; h.before = h.before[:len(h.before)-1] {
		last := h.before[len(h.before)-1]
		if last.record.Revision == 0 { // It was the last that was made.
			h.records = h.records[:h.at[last.key]]
			delete(h.at, last.key)
			continue
		}
		h.records[h.at[last.key]] = last.record
	}
}

func (t *task) nats(what string) call {
	return call{what: what, from: 500 * time.Microsecond, to: 3 * time.Millisecond, up: t.natsUp}
}

func (t *task) natsUp() error {
	if t.s.now < t.s.brokerDown || t.s.now < t.w.cutOff {
		return fmt.Errorf("nats: %w", errAway)
	}
	return nil
}

func (t *task) write(what string) call {
	c := t.nats(what)
	c.lost = LedgerAnswerLost
	c.up = func() error {
		if t.s.now < t.w.mute {
			return errors.New("nats: no permission to write")
		}
		return t.natsUp()
	}
	return c
}

func (t *task) LoadRun(ctx context.Context, job int64) (r run.Run, revision uint64, err error) {
	err = t.do(ctx, t.nats("load run"), func() error {
		known := t.s.runs.load(job)
		r, revision = *known.Value, known.Revision
		return nil
	})
	return r, revision, err
}

func (t *task) LoadRunner(ctx context.Context, name run.Name) (r run.Runner, revision uint64, err error) {
	err = t.do(ctx, t.nats("load runner"), func() error {
		known := t.s.runners.load(name)
		r, revision = *known.Value, known.Revision
		return nil
	})
	return r, revision, err
}

func (t *task) SaveRun(ctx context.Context, r run.Run, revision uint64) (next uint64, err error) {
	err = t.do(ctx, t.write("save run"), func() error {
		known := t.s.runs.load(r.Job.ID)
		if known.Revision != revision {
			return run.ErrConflict
		}
		t.s.check.runSaved(t.about, *known.Value, r)
		t.s.revision++
		next = t.s.revision
		t.s.runs.save(r.Job.ID, sweep.Record[run.Run]{Value: &r, Revision: next, ChangedAt: t.s.time()})
		t.tellf("run %d is %s, counts on %v, ran on %v (%s)", r.Job.ID, r.State, r.Runner, r.RanOn, r.Reason)
		return nil
	})
	return next, err
}

func (t *task) SaveRunner(ctx context.Context, r run.Runner, revision uint64) (next uint64, err error) {
	err = t.do(ctx, t.write("save runner"), func() error {
		if t.s.runners.load(r.Name).Revision != revision {
			return run.ErrConflict
		}
		t.s.check.secret(r.Name.Job, r.Reason)
		t.s.revision++
		next = t.s.revision
		t.s.runners.save(r.Name, sweep.Record[run.Runner]{Value: &r, Revision: next, ChangedAt: t.s.time()})
		t.tellf("runner %v is %s, for %d, took %d (%s)", r.Name, r.State, r.For, r.Took, r.Reason)
		return nil
	})
	return next, err
}

// Runs lists all records of jobs.
func (t *task) Runs(ctx context.Context) (records []sweep.Record[run.Run], err error) {
	c := t.nats("list runs")
	c.fails, c.to = ListFails, 50*time.Millisecond // Of a mirror; see ledger.Mirror.
	err = t.do(ctx, c, func() error { records = append(records, t.s.runs.records...); return nil })
	return records, err
}

// Runners lists all records of runners.
func (t *task) Runners(ctx context.Context) (records []sweep.Record[run.Runner], err error) {
	c := t.nats("list runners")
	c.fails, c.to = ListFails, 50*time.Millisecond // Of a mirror; see ledger.Mirror.
	err = t.do(ctx, c, func() error { records = append(records, t.s.runners.records...); return nil })
	return records, err
}
