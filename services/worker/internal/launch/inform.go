package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// informTime is how long telling an author may take: two calls to GitHub, which take seconds. Far less than run.NoticeTime, so
// that whoever tries again finds what a call did whose answer got lost.
const informTime = 30 * time.Second

func (h *handling) bury(ctx context.Context, e run.Bury) error {
	if err := h.Queue.Bury(ctx, e.Job, e.Reason); err != nil {
		return fmt.Errorf("bury job %d: %w", e.Job.ID, err)
	}
	return nil
}

// inform tells authors at GitHub what became of their jobs, when all else is done. It is a courtesy: what goes wrong with it is
// logged, and keeps no job from its end.
func (h *handling) inform(ctx context.Context) {
	for _, e := range h.notices {
		act, cancel := context.WithDeadline(ctx, h.Now().Add(informTime))
		err := h.Authors.Inform(act, e.Job, e.Reason)
		cancel()
		_, refused := errors.AsType[*run.PermanentError](err)
		switch {
		case err == nil:
			err = h.amend(ctx, e.Job.ID, func(r run.Run) run.Run { return r.Informed(e.Reason) })
		case refused:
			h.warnOnce(ctx, e.Job, err)
			err = h.amend(ctx, e.Job.ID, run.Run.Uninformable)
		}
		if err == nil {
			continue
		}
		h.Log.LogAttrs(ctx, slog.LevelInfo, "author of a job not told yet", append(jobAttrs(e.Job), slog.Any("err", err))...)
		h.at(e.Until)
	}
}

// warnOnce tells an operator what to change, once for each owner: it is the same for all of an owner's jobs.
func (h *handling) warnOnce(ctx context.Context, j run.Job, cause error) {
	if _, known := h.warned.LoadOrStore(j.Owner, true); !known {
		h.Log.LogAttrs(ctx, slog.LevelWarn, "authors of jobs that are given up can't be told", append(jobAttrs(j), slog.Any("err", cause))...)
	}
}

// amend records the outcome of an act that no event tells of. Also if the worker is being stopped.
func (h *handling) amend(ctx context.Context, job int64, change func(run.Run) run.Run) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), h.Now().Add(recordTime))
	defer cancel()
	for range maxConflicts {
		r, revision, err := h.Ledger.LoadRun(ctx, job)
		if err != nil {
			return fmt.Errorf("load run %d: %w", job, err)
		}
		if _, err = h.Ledger.SaveRun(ctx, change(r), revision); !errors.Is(err, run.ErrConflict) {
			return wrapped("save run", err)
		}
	}
	return fmt.Errorf("run %d: %w, %d times", job, run.ErrConflict, maxConflicts)
}
