package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// dismissEvery is how often a spare runner's sandbox that does not answer is asked: a sandbox takes seconds to start.
	dismissEvery = 3 * time.Second
	// goodbye is how long a runner that was released may take to end by itself. It says goodbye to GitHub, which takes a second or two: to
	// one that was cut off, GitHub may give a job for minutes, which then waits.
	goodbye = 5 * time.Second
	// dismissPauses is how many times longer than a question without an answer the pause before the next one is.
	dismissPauses = 4
)

// leftover is the registration of a runner, and why it is there still.
type leftover struct {
	runner run.Name
	err    error
}

// dismiss ends a spare runner that has no job. If it has one, GitHub's word of that is on its way, or never comes.
func (h *handling) dismiss(ctx context.Context, r run.Runner) error {
	began := h.Now()
	evidence, err := h.ask(ctx, r, true)
	switch {
	case err != nil: // To wait for an answer that does not come must take little of the time that others wait for.
		h.at(h.Now().Add(max(dismissEvery, dismissPauses*h.Now().Sub(began))))
		h.Log.LogAttrs(ctx, slog.LevelWarn, "spare runner not asked", append(runnerAttrs(r), slog.Any("err", err))...)
		return nil
	case evidence == run.Starting:
		h.at(h.Now().Add(dismissEvery))
		return nil
	case evidence == run.HasJob:
		_, err = h.decideRunner(ctx, r.Name, run.Occupied{})
		return err
	case evidence == run.Over: // By itself, and maybe after a job of which no webhook has told: its log is nobody's to show.
		return h.ended(ctx, r, false)
	}
	return h.gone(ctx, r, "no job needed it any more")
}

// end removes what is left of a runner. Unless its job is over it is asked first: it may be working, on a job of which we
// know nothing yet. Then it is left alone until that job has ended, or the sandbox by itself. So is the sandbox of
// a runner of which only the name is on record: it may be a later one's, if the ledger was restored from a backup.
func (h *handling) end(ctx context.Context, r run.Runner) error {
	if r.Unasked {
		return h.free(ctx, r)
	}
	id := r.SandboxID
	if id == "" {
		var err error
		if id, err = h.Fleet.Find(ctx, r.Name); err != nil {
			return fmt.Errorf("find sandbox: %w", err)
		}
	}
	if id != "" && id != h.done && (!r.JobOver || r.Job.ID == 0) {
		r.SandboxID = id
		mayWork, err := h.mayWork(ctx, r)
		if err != nil {
			return err
		}
		if mayWork {
			h.at(h.Now().Add(run.LookAfter))
			return nil
		}
	}
	if id != "" && (id != h.released || h.Now().Sub(r.EndedAt) >= goodbye) {
		if err := h.Fleet.Terminate(ctx, id); err != nil {
			return fmt.Errorf("terminate sandbox: %w", err)
		}
	}
	over, err := h.vacate(ctx, r, id) // First: the place is wanted, though GitHub may have no room for more calls.
	if !registered(r) {
		return err
	}
	refused := wrapped("deregister runner", h.Forge.Deregister(ctx, r))
	if over && refused != nil { // No sandbox can use the registration: nobody need wait until GitHub removes it.
		h.left = append(h.left, leftover{r.Name, refused})
		refused = nil
	}
	return errors.Join(err, refused)
}

// mayWork reports whether the runner has a job, or may yet get one, though it was asked to end. One that is about to start can't be asked:
// what keeps it from getting a job is that its registration is removed. One that GitHub lets nobody remove has a job.
func (h *handling) mayWork(ctx context.Context, r run.Runner) (bool, error) {
	evidence, err := h.ask(ctx, r, true)
	if err != nil || evidence != run.Starting {
		return evidence == run.HasJob, err
	}
	if !registered(r) {
		return true, nil
	}
	if err := h.Forge.Deregister(ctx, r); err != nil {
		return true, fmt.Errorf("deregister runner that starts: %w", err)
	}
	evidence, err = h.ask(ctx, r, true) // It may have begun before.
	return evidence == run.HasJob, err
}

// registered reports whether GitHub may have a registration of the runner. It removes that of a runner with its job.
func registered(r run.Runner) bool { return r.Took == 0 && r.Job.ID != 0 }
