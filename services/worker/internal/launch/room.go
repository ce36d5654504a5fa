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
// before the intent: a runner that waits for one is nothing yet, and nobody need tidy up after it.
func (h *handling) enter(ctx context.Context, e run.Launch) error {
	known, _, err := h.Ledger.LoadRunner(ctx, e.Runner)
	if err != nil {
		return fmt.Errorf("load runner %v: %w", e.Runner, err)
	}
	if known.State != run.Unknown && known.State != run.Launching {
		return nil
	}
	var obstacle *places.Obstacle
	_, err = h.Places.Change(ctx, func(r places.Record) (after places.Record) {
		after, obstacle = r.Take(places.AskFor(e.Runner, e.Job, h.Rules), h.Rules, h.Now())
		return after
	})
	if err != nil || obstacle == nil {
		return wrapped("take a place", err)
	}
	h.Observer.Launched(e.Job.Pool, string(obstacle.Kind))
	return &run.LimitedError{Until: h.Now().Add(h.comeBack()), Err: obstacle}
}

func (h *handling) comeBack() time.Duration {
	return comeBack/2 + time.Duration(h.random()*float64(comeBack))
}

// awaits records that the job stands in line for a place, if that is what cause says.
func (h *handling) awaits(ctx context.Context, j run.Job, cause error) error {
	limited, ok := errors.AsType[*run.LimitedError](cause)
	if !ok {
		return cause
	}
	if _, err := h.decide(ctx, j.ID, run.Failed{Reason: cause.Error(), Limited: true, InLine: true}); err != nil {
		return err
	}
	h.at(limited.Until)
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

// vacate gives the place of a runner that has ended back, once its sandbox is known to be gone. A create call whose answer was
// lost may work late: what never showed itself is left to the sweep, which asks Modal for all there is.
func (h *handling) vacate(ctx context.Context, r run.Runner, sandbox string) error {
	if sandbox == "" && r.GitHubID != 0 {
		return nil
	}
	if sandbox != "" {
		fate, err := h.Fleet.Fate(ctx, sandbox, false)
		if err != nil {
			return fmt.Errorf("fate of sandbox %s: %w", sandbox, err)
		}
		if fate.Running { // Modal takes a moment.
			h.at(h.Now().Add(dismissEvery))
			return nil
		}
	}
	return h.free(ctx, r)
}

// free gives the place of a runner back: its sandbox has ended, or was never asked for.
func (h *handling) free(ctx context.Context, r run.Runner) error {
	_, err := h.Places.Change(ctx, func(record places.Record) places.Record {
		after, _ := record.Free(places.Key(r.Name), h.Now())
		return after
	})
	return wrapped("give a place back", err)
}

// blame counts a runner that did not start against its pool.
func (h *handling) blame(ctx context.Context, e run.Lose) error {
	r, _, err := h.Ledger.LoadRunner(ctx, e.Runner)
	if err != nil {
		return fmt.Errorf("load runner %v: %w", e.Runner, err)
	}
	if r.Job.ID == 0 {
		return nil
	}
	return h.tell(ctx, func(record places.Record) places.Record {
		return record.Failed(r.Job.Pool, places.Key(r.Name), e.Reason, false, h.Now())
	})
}

// tell changes what is known about a pool.
func (h *handling) tell(ctx context.Context, change func(places.Record) places.Record) error {
	_, err := h.Places.Change(ctx, change)
	return wrapped("tell of a pool", err)
}
