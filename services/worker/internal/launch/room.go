package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// comeBack is when a launch that waits for a place looks again by itself, give or take half of it. As soon as there is a place,
// the job is told (sweep.Line); this is for when nobody does.
const comeBack = 10 * time.Minute

// enter gives a runner that is to be launched a place, or returns the places.Obstacle in a run.LimitedError. The place comes
// before the intent: a runner that waits for one is nothing yet, and nobody need tidy up after it. The look for room at GitHub comes
// before both (admitted), so that of thousands that wait for GitHub none has a place. Where there is room for no other sandbox it has a
// warm one with the place, unless one of its own may come late.
//
// A runner that has its place of an earlier try, which may have made a sandbox, waits here, too: as long as nothing more is tried, its
// record grows old, and once there is no sandbox its place goes to another. Without a sandbox the place is given back by whoever has the
// launch to themselves (proceed).
func (h *handling) enter(ctx context.Context, e run.Launch, known run.Runner) error {
	take := places.Record.TakeWarm
	if known.MayComeLate() {
		take = places.Record.Take
	}
	held, err := h.place(ctx, e.Runner, e.Job, take)
	if held && err == nil {
		r, _, loadErr := h.Ledger.LoadRunner(ctx, e.Runner)
		if loadErr != nil {
			return fmt.Errorf("load runner %v: %w", e.Runner, loadErr)
		}
		if r.MayComeLate() {
			_, err = h.place(ctx, e.Runner, e.Job, places.Record.Proceed)
		}
	}
	if obstacle, waits := errors.AsType[*places.Obstacle](err); waits {
		h.Observer.Launched(e.Job.Pool, string(obstacle.Kind))
	}
	return err
}

// proceed returns nil if the launch may have its sandbox by now, or the places.Obstacle in a run.LimitedError: its place may have
// been given to it a while ago, for an earlier try. Whoever gives it back has the launch to themselves, as here. warm is the warm sandbox
// that it is to have, if it has claimed one; it does so now if claim is set and there is one.
func (h *handling) proceed(ctx context.Context, r run.Runner, claim bool) (warm string, err error) {
	_, err = h.place(ctx, r.Name, r.Job, func(
		record places.Record, a places.Ask, rules places.Rules, now time.Time,
	) (places.Record, *places.Obstacle) {
		record, obstacle := record.Proceed(a, rules, now)
		if obstacle == nil && claim {
			record = record.Claim(a, now)
		}
		warm = record.WarmOf(a.Runner)
		return record, obstacle
	})
	return warm, err
}

// place asks the record for the runner's place, by Take or Proceed, and reports whether it had it already.
func (h *handling) place(
	ctx context.Context, name run.Name, j run.Job, by func(places.Record, places.Ask, places.Rules, time.Time) (places.Record, *places.Obstacle),
) (held bool, err error) {
	var obstacle *places.Obstacle
	_, err = h.Places.Change(ctx, func(r places.Record) (after places.Record) {
		_, held = r.Held[places.Key(name)]
		after, obstacle = by(r, places.AskFor(name, j, h.Rules), h.Rules, h.Now())
		return after
	})
	if err != nil || obstacle == nil {
		return held, wrapped("take a place", err)
	}
	until := h.Now().Add(h.comeBack())
	if held && !obstacle.Until.IsZero() && obstacle.Until.Before(until) { // Nobody will tell it: it does not wait for a place.
		until = obstacle.Until
	}
	return held, &run.LimitedError{Until: until, Err: obstacle}
}

func (h *handling) comeBack() time.Duration {
	return comeBack/2 + time.Duration(h.random()*float64(comeBack))
}

// awaits records what the job must wait for, if that is what cause says. For a place it stands in line.
func (h *handling) awaits(ctx context.Context, j run.Job, cause error) error {
	limited, ok := errors.AsType[*run.LimitedError](cause)
	if !ok {
		return cause
	}
	again := limited.Until.Add(h.backoff(1))
	failed := run.Failed{Reason: cause.Error(), Limited: true}
	if _, failed.InLine = errors.AsType[*places.Obstacle](cause); !failed.InLine {
		failed.Until = again
	}
	if _, err := h.decide(ctx, j.ID, failed); err != nil {
		return err
	}
	h.at(again)
	return nil
}

// settle ends what is left of a runner whose job is over, once its sandbox has ended by itself.
func (h *handling) settle(ctx context.Context, e run.Settle) error {
	r, _, err := h.Ledger.LoadRunner(ctx, e.Runner)
	if err != nil {
		return fmt.Errorf("load runner %v: %w", e.Runner, err)
	}
	if r.SandboxID != "" && r.GitHubID == e.GitHubID {
		fate, err := h.Fleet.Fate(ctx, r.SandboxID, false)
		if err != nil {
			return fmt.Errorf("fate of sandbox %s: %w", r.SandboxID, err)
		}
		if !fate.Running {
			_, err := h.decideRunner(ctx, e.Runner, run.Gone{Reason: "its job was completed", JobOver: true, GitHubID: e.GitHubID})
			return err
		}
	}
	h.at(e.Again)
	return nil
}

// vacate gives the place of a runner that has ended back, once its sandbox is known to be gone, and reports whether it is. A create call
// whose answer was lost may work late: what never showed itself is left to the sweep, which asks Modal for all there is.
func (h *handling) vacate(ctx context.Context, r run.Runner, sandbox string) (over bool, err error) {
	if sandbox == "" && r.MayComeLate() {
		return false, nil
	}
	if sandbox != "" {
		fate, err := h.Fleet.Fate(ctx, sandbox, false)
		if err != nil {
			return false, fmt.Errorf("fate of sandbox %s: %w", sandbox, err)
		}
		if fate.Running { // Modal takes a moment.
			h.at(h.Now().Add(dismissEvery))
			return false, nil
		}
	}
	err = h.free(ctx, r)
	return err == nil, err
}

// free gives the place of a runner back: its sandbox has ended, or was never asked for.
func (h *handling) free(ctx context.Context, r run.Runner) error {
	_, err := h.Places.Change(ctx, func(record places.Record) places.Record {
		after, _ := record.Free(places.Key(r.Name), h.Now())
		return after
	})
	return wrapped("give a place back", err)
}

// blame counts a runner that did not start against its pool. One that tried a version is excused: its pool and its job have done what
// they were asked to. So is the pool if the job was held meanwhile, and the job if others' runners did not start either.
func (h *handling) blame(ctx context.Context, e run.Lose) (run.Lose, error) {
	if e.Blameless {
		return e, nil
	}
	r, _, err := h.Ledger.LoadRunner(ctx, e.Runner)
	if err != nil {
		return e, fmt.Errorf("load runner %v: %w", e.Runner, err)
	}
	if r.Job.ID == 0 {
		return e, nil
	}
	waiting, _, err := h.Ledger.LoadRun(ctx, e.Job)
	if err != nil {
		return e, fmt.Errorf("load run %d: %w", e.Job, err)
	}
	if waiting.HeldWith(r) {
		return e, nil
	}
	if h.Tried != nil {
		version, err := h.Tried(ctx, r)
		if err != nil {
			return e, fmt.Errorf("trial of a runner version: %w", err)
		}
		if version != "" {
			e.Blameless, e.Reason = true, fmt.Sprintf("it was to try version %s of the runner, and %s", version, e.Reason)
			return e, nil
		}
	}
	kind, name := places.KindOf(r.Job, h.Rules), places.Key(r.Name)
	err = h.tell(ctx, func(record places.Record) places.Record {
		e.Blameless = record.Pools[kind].Excuses(name)
		return record.Failed(kind, name, e.Reason, false, h.Now())
	})
	return e, err
}

// tell changes what is known about a pool.
func (h *handling) tell(ctx context.Context, change func(places.Record) places.Record) error {
	_, err := h.Places.Change(ctx, change)
	return wrapped("tell of a pool", err)
}
