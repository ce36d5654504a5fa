package launch

import (
	"context"
	"log/slog"

	"modal-github-runner/services/worker/internal/run"
)

// observe reports a change of a job's record: one line and one measurement each time its state changes.
func (h *handling) observe(ctx context.Context, before, after run.Run) {
	if before.State == after.State {
		return
	}
	attrs := append(jobAttrs(after.Job), slog.String("state", string(after.State)))
	if !after.RanOn.IsZero() {
		attrs = append(attrs, slog.Int64("runner_job", after.RanOn.Job), slog.Int("runner_attempt", after.RanOn.Attempt))
	}
	if after.State == run.Running && !after.QueuedAt.IsZero() {
		waited := h.Now().Sub(after.QueuedAt)
		h.Observer.QueueToStart(after.Job.Pool, waited)
		attrs = append(attrs, slog.Duration("queued_for", waited))
	}
	if after.State == run.Done {
		attrs = append(attrs, slog.String("conclusion", after.Conclusion))
	}
	level := slog.LevelInfo
	if after.State == run.Dead {
		h.Observer.Buried()
		level, attrs = slog.LevelError, append(attrs, slog.String("reason", after.Reason))
	}
	h.Log.LogAttrs(ctx, level, "job changed", attrs...)
}

func jobAttrs(j run.Job) []slog.Attr {
	return []slog.Attr{
		slog.Int64("job_id", j.ID), slog.Int64("run_id", j.RunID), slog.String("repo", j.Owner+"/"+j.Repo), slog.String("pool", j.Pool),
	}
}

func runnerAttrs(r run.Runner) []slog.Attr {
	return append(jobAttrs(r.Job), slog.Int("attempt", r.Name.Attempt), slog.String("sandbox_id", r.SandboxID))
}
