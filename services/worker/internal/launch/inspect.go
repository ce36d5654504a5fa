package launch

import (
	"context"
	"fmt"
	"log/slog"

	"modal-github-runner/services/worker/internal/run"
)

// inspect looks at a runner that should have taken a job by now. What can't be found out is as it was: the job still wants
// it.
func (h *handling) inspect(ctx context.Context, r run.Runner) error {
	evidence, err := h.Fleet.Ask(ctx, r.SandboxID, false)
	switch {
	case err != nil:
		h.Log.LogAttrs(ctx, slog.LevelWarn, "runner not asked", append(runnerAttrs(r), slog.Any("err", err))...)
	case evidence == run.HasJob:
		return h.hasJob(ctx, r)
	case evidence == run.Over:
		return h.over(ctx, r)
	case evidence == run.Starting && h.Now().Sub(r.LaunchedAt) >= h.pools[r.Job.Pool].StartLimit():
		return h.gone(ctx, r, fmt.Sprintf("its sandbox did not start the runner within %v", h.pools[r.Job.Pool].StartLimit()))
	}
	h.at(h.Now().Add(run.LookAfter))
	return nil
}

// hasJob asks GitHub whether the job of a runner is the one that waits for it.
func (h *handling) hasJob(ctx context.Context, r run.Runner) error {
	waiting, _, err := h.Ledger.LoadRun(ctx, r.For)
	if err != nil {
		return fmt.Errorf("load run %d: %w", r.For, err)
	}
	seen, err := h.Forge.Sight(ctx, waiting.Job)
	if err != nil {
		h.Log.LogAttrs(ctx, slog.LevelWarn, "job not asked about", append(jobAttrs(waiting.Job), slog.Any("err", err))...)
		h.at(h.Now().Add(run.LookAfter))
		return nil
	}
	if ev := waiting.Unheard(seen, h.Now()); ev != nil {
		_, err = h.decide(ctx, r.For, ev)
		return err
	}
	_, err = h.decideRunner(ctx, r.Name, run.Occupied{})
	return err
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
	evidence, err := h.Fleet.Ask(ctx, r.SandboxID, true)
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
