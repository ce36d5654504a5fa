package sweep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// maxWarming is how many warm sandboxes are asked for at the same time.
	maxWarming = 5
	// warmRecord is what is left of run.LaunchTimeout for recording what came of asking for a warm sandbox.
	warmRecord = 10 * time.Second
)

// Fill asks Modal for the warm sandboxes that are lacking. It is a loop of its own, as Modal may take its time.
func (w *Warm) Fill(ctx context.Context) (Report, error) {
	var pools []WarmPool
	for _, p := range w.Pools() {
		if p.Want > 0 {
			pools = append(pools, p)
		}
	}
	if len(pools) == 0 {
		return Report{}, nil
	}
	record, _, err := w.Book.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	var t tally
	pools = slices.DeleteFunc(pools, func(p WarmPool) bool { return !w.ready(ctx, p, record, &t) })
	fill := func(r places.Record) (places.Record, map[string]places.Wish) {
		return r.Fill(wishes(pools), maxWarming, w.Rules, w.Now())
	}
	_, added := fill(record)
	if len(added) == 0 {
		return t.result()
	}
	began := w.Now()
	if _, err := w.Book.Change(ctx, func(r places.Record) places.Record {
		r, added = fill(r)
		return r
	}); err != nil { // They may be on record now: who looks for them finds none.
		return t.Report, fmt.Errorf("put warm sandboxes on record: %w", err)
	}
	byPool := map[string]run.Pool{}
	for _, p := range pools {
		byPool[p.Ask.Pool] = p.Pool
	}
	ctx, cancel := context.WithDeadline(ctx, began.Add(run.LaunchTimeout-warmRecord))
	defer cancel()
	t.each(w.Each, slices.Sorted(maps.Keys(added)), func(name string) (Kind, error) {
		return "", w.warm(ctx, name, byPool[added[name].Ask.Pool])
	})
	return t.result()
}

// ready reports whether sandboxes of the pool could start, as far as its image goes. That of a pool that can't be built all are told of.
func (w *Warm) ready(ctx context.Context, p WarmPool, record places.Record, t *tally) bool {
	err := w.Ready(p.Pool)
	if errors.Is(err, run.ErrBadImage) && record.Pools[p.Ask.Pool].Breaker(w.Now()) == places.Closed {
		t.found("", w.change(ctx, func(r places.Record) places.Record { return r.Unready(p.Ask.Pool, err.Error(), w.Now()) }))
	}
	return err == nil
}

// warm asks for one warm sandbox that is on record.
func (w *Warm) warm(ctx context.Context, name string, pool run.Pool) error {
	id, err := w.Fleet.Warm(ctx, name, pool)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) { // It is this worker that ends, or leads no more.
		return nil
	}
	recording, cancel := context.WithDeadline(context.WithoutCancel(ctx), w.Now().Add(warmRecord))
	defer cancel()
	if err == nil {
		return w.change(recording, func(r places.Record) places.Record { return r.Made(name, id) })
	}
	_, limited := errors.AsType[*run.LimitedError](err)
	_, refused := errors.AsType[*run.RefusedError](err)
	_, permanent := errors.AsType[*run.PermanentError](err)
	failed := w.change(recording, func(r places.Record) places.Record {
		kind, now := r.Warm[name].Pool, w.Now()
		switch {
		case kind == "" || errors.Is(err, run.ErrExists): // Whose it is, it says when it is asked.
			return r
		case refused || permanent:
			r = r.Failed(kind, name, err.Error(), true, now)
		case limited && !errors.Is(err, run.ErrNoImage):
			r = r.Crowded(kind, now)
		case !limited:
			r = r.Errored(kind, name, err.Error(), now)
		}
		if limited || refused || permanent || errors.Is(err, run.ErrNotMade) {
			r = r.Unmade(name)
		}
		return r
	})
	if limited { // No failure: there will be room, sooner or later.
		return failed
	}
	return errors.Join(fmt.Errorf("start warm sandbox %s: %w", name, err), failed)
}
