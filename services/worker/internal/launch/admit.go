package launch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// spread is within what time a new pools file reaches ingress and all workers, as a Kubernetes ConfigMap does: a job of a pool that
	// this worker does not know waits for that long after it was created. It is looked at again every lookAgain.
	spread    = 10 * time.Minute
	lookAgain = time.Minute
)

// admitted returns the job as it is known to be, and records that, if it may have a runner; and the zero Job if not, once it is
// recorded why. It is asked at each launch: what was found out before may not be so any more.
func (h *handling) admitted(ctx context.Context, said run.Job) (run.Job, error) {
	if said.Untrusted == "" { // Else it is yet to be said where it goes.
		if _, err := h.PoolOf(said); err != nil { // GitHub need not be asked.
			return run.Job{}, h.noPool(ctx, said, err)
		}
	}
	if err := h.Forge.Room(ctx, said); err != nil { // To find out costs GitHub's budget, too.
		h.Observer.Launched(said.Pool, failureOf(err).outcome())
		return run.Job{}, h.awaits(ctx, said, err)
	}
	began := h.Now()
	known, refused := h.Admit(ctx, said)
	h.elsewhere("origin", began)
	if known.ID != 0 && (known.Private != said.Private || known.Untrusted != said.Untrusted || known.Pool != said.Pool) {
		if _, err := h.decide(ctx, said.ID, run.Vetted{Job: known}); err != nil {
			return run.Job{}, err
		}
	}
	if refused != nil {
		return run.Job{}, h.notAdmitted(ctx, said, refused)
	}
	if _, err := h.PoolOf(known); err != nil {
		return run.Job{}, h.noPool(ctx, known, err)
	}
	return known, nil
}

// noPool gives the job up; or has it wait for a pools file that may be on its way.
func (h *handling) noPool(ctx context.Context, j run.Job, cause error) error {
	if errors.Is(cause, run.ErrNoPool) && h.Now().Sub(j.CreatedAt) < spread {
		_, err := h.decide(ctx, j.ID, run.Failed{Reason: cause.Error(), Limited: true})
		h.at(h.Now().Add(lookAgain))
		return err
	}
	return h.refuse(ctx, j, cause)
}

// notAdmitted gives the job up; or has it wait for GitHub, which costs no attempt.
func (h *handling) notAdmitted(ctx context.Context, j run.Job, cause error) error {
	f := failureOf(cause)
	if f.permanent {
		return h.refuse(ctx, j, cause)
	}
	h.Observer.Launched(j.Pool, f.outcome())
	h.Log.LogAttrs(ctx, slog.LevelWarn, "runner not launched", append(jobAttrs(j),
		slog.String("outcome", f.outcome()), slog.Any("err", cause))...)
	if f.limited != nil {
		return h.awaits(ctx, j, cause)
	}
	waiting, err := h.decide(ctx, j.ID, run.Failed{Reason: cause.Error()})
	if err != nil {
		return err
	}
	h.at(h.Now().Add(h.backoff(waiting.Failures)))
	return nil
}

func (h *handling) refuse(ctx context.Context, j run.Job, cause error) error {
	_, err := h.decide(ctx, j.ID, run.Failed{Reason: cause.Error(), Permanent: true})
	return err
}

// strayed tells an operator that GitHub gave a job a runner that was made for others whom it does not trust with it: GitHub goes by labels
// alone. A public repository's job may be trusted in its own pool and not in the runner's.
func (h *handling) strayed(ctx context.Context, r run.Run, on run.Name) {
	if on.IsZero() || r.Job.Untrusted == "" && r.Job.Private {
		return
	}
	runner, _, err := h.Ledger.LoadRunner(ctx, on)
	if err != nil || runner.Job.ID == 0 || runner.Job.Untrusted != "" || runner.Job.Pool == r.Job.Pool && r.State != run.Dead {
		return
	}
	reason := r.Job.Untrusted
	if reason == "" {
		if pool, err := h.PoolOf(runner.Job); err != nil || !pool.OnlyPrivate {
			return
		}
		reason = "its repository is public"
	}
	h.Log.LogAttrs(ctx, slog.LevelError, "untrusted job took a runner for trusted ones", append(jobAttrs(r.Job),
		slog.String("runner_pool", runner.Job.Pool), slog.String("sandbox_id", runner.SandboxID), slog.String("reason", reason))...)
}
