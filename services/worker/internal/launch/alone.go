package launch

import (
	"context"
	"fmt"
	"slices"

	"modal-github-runner/services/worker/internal/run"
)

// alone sees to it that no other runner that was launched for the job can take one. The ledger knows of none, but may have been
// restored from a backup. Nobody restores one within the time for which a job is fresh.
func (h *handling) alone(ctx context.Context, r run.Runner) error {
	if h.fresh(r.Job) {
		return nil
	}
	ids, err := h.Fleet.LaunchedFor(ctx, r.Job.ID)
	if err != nil {
		return fmt.Errorf("list sandboxes of job %d: %w", r.Job.ID, err)
	}
	for n := 1; n < r.Name.Attempt && len(ids) > 0; n++ {
		known, _, err := h.Ledger.LoadRunner(ctx, run.Name{Job: r.Job.ID, Attempt: n})
		if err != nil {
			return fmt.Errorf("load runner: %w", err)
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == known.SandboxID })
	}
	for _, id := range ids {
		switch evidence, err := h.Fleet.Ask(ctx, id, true); {
		case err != nil:
			return fmt.Errorf("ask sandbox %s, which is not on record: %w", id, err)
		case evidence != run.HasJob && evidence != run.ReleasedNow && evidence != run.Over:
			return fmt.Errorf("sandbox %s, which is not on record, may take a job: it says %s", id, evidence)
		}
	}
	return nil
}
