package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// inspect looks at a runner that should have taken a job by now, and at the job that waits for it. What can't be found out
// is as it was: the job still wants the runner.
func (h *handling) inspect(ctx context.Context, r run.Runner) error {
	evidence, err := h.ask(ctx, r, false)
	if err == nil && evidence == run.Over {
		return h.over(ctx, r)
	}
	waiting, _, loadErr := h.Ledger.LoadRun(ctx, r.For)
	if loadErr != nil {
		return fmt.Errorf("load run %d: %w", r.For, loadErr)
	}
	if err == nil {
		var heard bool
		if heard, err = h.hear(ctx, waiting); heard {
			return err
		}
	}
	if err != nil {
		h.Log.LogAttrs(ctx, slog.LevelWarn, "runner without a job not looked at", append(runnerAttrs(r), slog.Any("err", err))...)
		again := h.Now().Add(run.LookAfter)
		if limited, ok := errors.AsType[*run.LimitedError](err); ok { // A minute later there may be no room again.
			again = limited.Until.Add(h.backoff(1))
		}
		h.at(again)
		return nil
	}
	if evidence == run.HasJob {
		_, err = h.decideRunner(ctx, r.Name, run.Occupied{})
		return err
	}
	if evidence == run.Hangs {
		return h.gone(ctx, r, "its sandbox hangs: it started no runner, or does not answer any more")
	}
	h.at(h.Now().Add(run.LookAfter))
	return nil
}

// hear asks GitHub about a job, and does what follows if it says what no webhook told. A job that it does not show us may be
// there all the same: permissions differ.
func (h *handling) hear(ctx context.Context, r run.Run) (heard bool, err error) {
	seen, err := h.Forge.Sight(ctx, r.Job)
	if err != nil || seen.Gone {
		return false, err
	}
	ev := r.Unheard(seen, h.Now())
	if ev == nil {
		return false, nil
	}
	_, err = h.decide(ctx, r.Job.ID, ev)
	return true, err
}

// maxIdleLimit is the longest that a pools file has.
const maxIdleLimit = time.Hour

// busyLag is how long GitHub may take to know that a runner has a job.
const busyLag = time.Minute

// ask asks the sandbox of a runner whether the runner has a job; see Fleet.Ask. One that does not start its runner in time
// hangs. So does one that can't be asked, and of which GitHub knows no job, when it is so old that its own watchdog has ended
// it if it was ever idle: it started in time, or never, and GitHub has had its time to know of a job. Whatever such a sandbox
// does, it is none.
func (h *handling) ask(ctx context.Context, r run.Runner, release bool) (run.Evidence, error) {
	evidence, err := h.Fleet.Ask(ctx, r.SandboxID, release)
	pool, unknown := h.PoolOf(r.Job)
	if unknown != nil { // Nobody knows what it was told when it was launched.
		pool.IdleLimit = maxIdleLimit
	}
	switch age := h.age(r); {
	case err == nil && evidence == run.Starting && age >= pool.StartLimit():
		return run.Hangs, nil
	case err == nil || age < pool.StartLimit()+pool.IdleLimit+busyLag:
		return evidence, wrapped("ask sandbox", err)
	}
	busy, busyErr := h.Forge.Busy(ctx, r)
	if busyErr != nil || busy {
		return evidence, wrapped("ask sandbox", errors.Join(err, busyErr))
	}
	return run.Hangs, nil
}

// age is for how long the runner has been there, at least.
func (h *handling) age(r run.Runner) time.Duration {
	for _, at := range []time.Time{r.LaunchedAt, r.EndedAt, r.Until} {
		if !at.IsZero() {
			return h.Now().Sub(at)
		}
	}
	return 0
}

func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// over records how the sandbox of a runner ended that has taken no job.
func (h *handling) over(ctx context.Context, r run.Runner) error {
	fate, err := h.Fleet.Fate(ctx, r.SandboxID, true)
	if err != nil {
		return fmt.Errorf("fate of sandbox %s: %w", r.SandboxID, err)
	}
	if fate.Running { // Modal's answers may be a little old.
		h.at(h.Now().Add(dismissEvery))
		return nil
	}
	return h.gone(ctx, r, fate.How)
}

func (h *handling) gone(ctx context.Context, r run.Runner, reason string) error {
	_, err := h.decideRunner(ctx, r.Name, run.Gone{Reason: reason})
	return err
}

// dismiss ends a spare runner that has no job. If it has one, GitHub's word of that is on its way, or never comes.
func (h *handling) dismiss(ctx context.Context, r run.Runner) error {
	evidence, err := h.ask(ctx, r, true)
	switch {
	case err != nil || evidence == run.Starting:
		h.at(h.Now().Add(dismissEvery))
		if err != nil {
			h.Log.LogAttrs(ctx, slog.LevelWarn, "spare runner not asked", append(runnerAttrs(r), slog.Any("err", err))...)
		}
		return nil
	case evidence == run.HasJob:
		_, err = h.decideRunner(ctx, r.Name, run.Occupied{})
		return err
	}
	return h.gone(ctx, r, "no job needed it any more")
}
