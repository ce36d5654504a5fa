package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// silence is how long GitHub may fail to answer before what a sandbox says has to do.
const silence = 5 * time.Minute

// inspect looks at a runner that should have taken a job by now, and at the job that waits for it. What can't be found out
// is as it was: the job still wants the runner.
func (h *handling) inspect(ctx context.Context, r run.Runner) error {
	evidence, err := h.ask(ctx, r, false)
	waiting, _, loadErr := h.Ledger.LoadRun(ctx, r.For)
	if loadErr != nil {
		return fmt.Errorf("load run %d: %w", r.For, loadErr)
	}
	if err == nil {
		var heard bool
		if heard, err = h.hear(h.pressing(ctx, r, evidence), waiting); heard {
			return err
		}
		// Not before GitHub was asked: it may have done its job, of which no webhook has told yet.
		if evidence == run.Over && (err == nil || certain(err) || h.age(r) >= silence) {
			return h.ended(ctx, r, true)
		}
	}
	if err != nil {
		h.Log.LogAttrs(ctx, slog.LevelWarn, "runner without a job not looked at", append(runnerAttrs(r), slog.Any("err", err))...)
		h.at(h.nextLook(err))
		return nil
	}
	if evidence == run.HasJob {
		_, err = h.decideRunner(ctx, r.Name, run.Occupied{})
		return err
	}
	if evidence == run.Hangs {
		reason := "its sandbox hangs: it started no runner, or does not answer any more"
		if fate, err := h.Fleet.Fate(ctx, r.SandboxID, true); err == nil {
			reason += "; " + fate.How
		}
		return h.gone(ctx, r, reason)
	}
	if evidence == run.ReleasedNow { // By whom is on no record, as after a backup was restored.
		return h.gone(ctx, r, "it was asked to end, and takes no job any more")
	}
	if limit := h.poolOf(r).StartLimit(); evidence == run.Unscheduled && h.age(r) >= limit {
		return h.gone(ctx, r, fmt.Sprintf("Modal has not scheduled its sandbox within %v", limit))
	}
	h.at(h.Now().Add(run.LookAfter))
	return nil
}

// nextLook is when a runner is looked at again that could not be looked at, for cause.
func (h *handling) nextLook(cause error) time.Time {
	limited, ok := errors.AsType[*run.LimitedError](cause)
	if !ok {
		return h.Now().Add(run.LookAfter)
	}
	again, latest := limited.Until.Add(h.backoff(1)), h.Now().Add(silence) // A minute later there may be no room again.
	if again.After(latest) {                                               // By then the sandbox may say what can't wait.
		return latest
	}
	return again
}

// pressing is ctx for the question that follows from what a sandbox says: whether the job that counts on its runner needs another one can't
// wait for when there is room for looks, which may be an hour later.
func (h *handling) pressing(ctx context.Context, r run.Runner, evidence run.Evidence) context.Context {
	switch evidence {
	case run.Unscheduled:
		if h.age(r) < h.poolOf(r).StartLimit() {
			return ctx
		}
	case run.Starting, run.Warm, run.Idle, run.Over:
		return ctx
	case run.HasJob, run.Hangs, run.ReleasedNow:
	}
	return h.Forge.Urgent(ctx)
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

// promptHold is how long after a job was queued GitHub may say that it is held: it says both in one breath.
const promptHold = 10 * time.Second

// heldStill is what to make of a hold of a job that waits; nil for nothing. One that comes late may be over: it was delivered again
// after the approval, of which nothing would tell once more. So GitHub is asked, and what it can't say is as it was told.
func (h *handling) heldStill(ctx context.Context, job int64, told run.Held) (run.Event, error) {
	r, _, err := h.Ledger.LoadRun(ctx, job)
	if err != nil {
		return nil, fmt.Errorf("load run %d: %w", job, err)
	}
	if r.State != run.Waiting || told.Event == run.AskedGitHub || told.At.Sub(r.LastQueuedAt) < promptHold {
		return told, nil
	}
	seen, err := h.Forge.Sight(h.Forge.Urgent(ctx), r.Job)
	if err != nil || seen.Gone {
		return told, nil //nolint:nilerr // see above
	}
	return r.Unheard(seen, h.Now()), nil
}

// maxIdleLimit is the longest that a pools file has.
const maxIdleLimit = time.Hour

// busyLag is how long GitHub may take to know that a runner has a job.
const busyLag = time.Minute

// ask asks the sandbox of a runner whether the runner has a job; see Fleet.Ask. One that does not start its runner in time
// hangs. So does one that can't be asked when it is so old that its own watchdog has ended it if it was ever idle: it started in
// time, or never. Of neither may GitHub know a job, which it has had its time to do: a job can spoil what its sandbox answers with.
func (h *handling) ask(ctx context.Context, r run.Runner, release bool) (run.Evidence, error) {
	evidence, err := h.Fleet.Ask(ctx, r.SandboxID, release)
	if err == nil && (evidence == run.ReleasedNow || evidence == run.Over) {
		h.done = r.SandboxID
	}
	if err == nil && evidence == run.ReleasedNow {
		h.released = r.SandboxID
	}
	pool := h.poolOf(r)
	switch age := h.age(r); {
	case err == nil && evidence == run.Starting && age >= pool.StartLimit():
	case err == nil && evidence == run.Warm: // It was never given, though somebody took it for the runner's.
	case err == nil || age < pool.StartLimit()+pool.IdleLimit+busyLag:
		return evidence, wrapped("ask sandbox", err)
	}
	busy, busyErr := h.Forge.Busy(h.Forge.Urgent(ctx), r)
	if busyErr != nil || busy {
		return evidence, wrapped("ask sandbox", errors.Join(err, busyErr))
	}
	return run.Hangs, nil
}

// poolOf is the runner's pool, or one with the longest limits that there are: nobody knows what the runner was told when it was launched, if
// its pool was taken away.
func (h *handling) poolOf(r run.Runner) run.Pool {
	pool, err := h.PoolOf(r.Job)
	if err != nil {
		pool.IdleLimit = maxIdleLimit
	}
	return pool
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

// ended records how the sandbox of a runner ended, withLog with the end of its log, which is that of its job if it had one.
func (h *handling) ended(ctx context.Context, r run.Runner, withLog bool) error {
	fate, err := h.Fleet.Fate(ctx, r.SandboxID, withLog)
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
