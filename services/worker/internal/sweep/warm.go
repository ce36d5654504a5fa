package sweep

import (
	"context"
	"fmt"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// maxEnds and maxLooks are how many warm sandboxes one run ends, and how many it asks whether they wait by now. Each takes a second or
	// two, and until the next run nobody sees whom they stand in the way of.
	maxEnds, maxLooks = 32, 16
	// deafTime is how long a warm sandbox may give no answer: from when it should wait until it is to end, and from then until it is ended
	// without one. That it is a runner's by now Modal's list has told before.
	deafTime = 5 * time.Minute
	// lateCreate is how long after a warm sandbox was put on record it may still come to exist: as one of a launch.
	lateCreate = run.LaunchTimeout + grace
)

// WarmFleet has the warm sandboxes at Modal.
type WarmFleet interface {
	// Warm starts one of that name. It returns run.ErrExists if one of that name runs; after any other error there may be one, unless it
	// says that there is none; see run.ErrNotMade.
	Warm(ctx context.Context, name string, p run.Pool) (id string, err error)
	// FindWarm returns the id of the running one of that name, or "" if none runs.
	FindWarm(ctx context.Context, name string) (id string, err error)
	Asker
	// Fate tells how the sandbox is or how it ended, with the end of its log if withLog is set.
	Fate(ctx context.Context, id string, withLog bool) (run.Fate, error)
}

// WarmPool is a pool that keeps sandboxes warm: what each asks for and gets, and how many are wanted now.
type WarmPool struct {
	Ask  places.Ask
	Want int
	Pool run.Pool
}

// Warm keeps sandboxes warm: as many as the pools file wishes for. What it decides is a change of the record of places, so that whoever is
// faster, a launch that claims one or another leader, is right; what it does then can be done twice, and left off anywhere.
type Warm struct {
	Fleet WarmFleet
	Book  Book
	// Pools are those of the pools file that say something of warm sandboxes.
	Pools func() []WarmPool
	// Ready returns nil if there is an image for sandboxes of the pool to start from.
	Ready func(p run.Pool) error
	Rules places.Rules
	Now   func() time.Time
	// Each calls do for each of n; nil for all at once, each by a goroutine of its own.
	Each func(n int, do func(i int))

	looked time.Time
	// there says that the last look saw warm sandboxes on record.
	there bool
	// Those that are to end, and those that are on their way.
	ends, ways turn
}

// RunOnce ends the warm sandboxes that are too many or too old, and sees whether those on their way wait by now.
func (w *Warm) RunOnce(ctx context.Context) (Report, error) {
	pools, now := w.Pools(), w.Now()
	if len(pools) == 0 && !w.there && now.Sub(w.looked) < lookAnyway {
		return Report{}, nil
	}
	record, _, err := w.Book.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	trim := func(r places.Record) places.Record { return r.Trim(wishes(pools), w.Rules, w.Now()) }
	if after := trim(record); !after.Same(record) {
		if _, err := w.Book.Change(ctx, func(r places.Record) places.Record {
			record = trim(r)
			return record
		}); err != nil {
			return Report{}, fmt.Errorf("trim warm sandboxes: %w", err)
		}
	}
	w.looked, w.there = now, len(record.Warm) > 0
	t := tally{Report: Report{Warm: ready(pools, record)}}
	ends, ways := map[string]places.Warm{}, map[string]places.Warm{}
	for name, warm := range record.Warm {
		switch {
		case warm.Ends:
			ends[name] = warm
		case warm.SandboxID == "":
			ways[name] = warm
		}
	}
	t.each(w.Each, names(&w.ends, ends, maxEnds), func(name string) (Kind, error) { return "", w.end(ctx, name, ends[name]) })
	t.each(w.Each, names(&w.ways, ways, maxLooks), func(name string) (Kind, error) { return w.look(ctx, name, ways[name]) })
	return t.result()
}

func wishes(pools []WarmPool) []places.Wish {
	wishes := make([]places.Wish, 0, len(pools))
	for _, p := range pools {
		wishes = append(wishes, places.Wish{Ask: p.Ask, Want: p.Want})
	}
	return wishes
}

// ready is how many warm sandboxes of each pool a runner can have.
func ready(pools []WarmPool, record places.Record) map[string]int {
	ready := map[string]int{}
	for _, p := range pools {
		ready[p.Ask.Pool] = 0
	}
	for _, warm := range record.Warm {
		if warm.Ready() {
			ready[warm.Pool]++
		}
	}
	return ready
}

// look sees how far a warm sandbox has come that is on its way.
func (w *Warm) look(ctx context.Context, name string, warm places.Warm) (Kind, error) {
	id, err := w.find(ctx, name, warm)
	if id == "" || err != nil {
		return "", err
	}
	evidence, err := w.Fleet.Ask(ctx, id, false)
	age, why := w.Now().Sub(warm.Since), ""
	switch {
	case err != nil:
		if age < warm.StartLimit+deafTime {
			return "", fmt.Errorf("ask warm sandbox %s: %w", id, err)
		}
		why = "a warm sandbox does not answer: " + err.Error()
	case evidence == run.Warm:
		return "", w.change(ctx, func(r places.Record) places.Record { return r.Waits(name, id) })
	case evidence == run.Over:
		fate, err := w.Fleet.Fate(ctx, id, true)
		if err != nil || fate.Running {
			return "", wrapped("fate of warm sandbox "+id, err)
		}
		if age >= warm.StartLimit+grace { // It has had its time, of which a record that was restored from a backup does not know.
			return "", w.over(ctx, name)
		}
		why = fate.How
	case evidence == run.Idle || evidence == run.HasJob: // It is a runner's, of which a record that was restored from a backup does not know.
		return "", w.over(ctx, name)
	case age < warm.StartLimit:
		return "", nil
	default:
		why = fmt.Sprintf("a warm sandbox did not come to wait for a runner within %v: it is %s", warm.StartLimit, evidence)
	}
	return Spoilt, w.change(ctx, func(r places.Record) places.Record { return r.Spoilt(name, why, w.Now()) })
}

// find is the id of a warm sandbox; empty if there is none, or not yet.
func (w *Warm) find(ctx context.Context, name string, warm places.Warm) (string, error) {
	if id := warm.ID(); id != "" {
		return id, nil
	}
	id, err := w.Fleet.FindWarm(ctx, name)
	if err != nil {
		return "", fmt.Errorf("find warm sandbox %s: %w", name, err)
	}
	if id == "" && w.Now().Sub(warm.Since) >= lateCreate {
		return "", w.change(ctx, func(r places.Record) places.Record { return r.Unmade(name) })
	}
	return id, nil
}

// end ends a warm sandbox that no runner can have any more, and takes it off the record once it has ended.
func (w *Warm) end(ctx context.Context, name string, warm places.Warm) error {
	id, err := w.find(ctx, name, warm)
	if id == "" || err != nil {
		return err
	}
	fate, err := w.Fleet.Fate(ctx, id, false)
	if err == nil && fate.Running {
		switch end, err := endWarm(ctx, w.Fleet, id, warm.SandboxID == "", w.Now().Sub(warm.EndsAt) >= deafTime); {
		case end == kept:
			return w.over(ctx, name)
		case end != ended:
			return err
		}
		fate, err = w.Fleet.Fate(ctx, id, false)
	}
	if err != nil || fate.Running { // Modal takes a moment.
		return wrapped("fate of warm sandbox "+id, err)
	}
	return w.over(ctx, name)
}

func (w *Warm) over(ctx context.Context, name string) error {
	return w.change(ctx, func(r places.Record) places.Record { return r.Over(name, w.Now()) })
}

func (w *Warm) change(ctx context.Context, change func(places.Record) places.Record) error {
	_, err := w.Book.Change(ctx, change)
	return wrapped("change what is known of warm sandboxes", err)
}

func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
