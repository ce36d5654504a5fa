package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// failure is why a launch made no runner. What is nil or false in it is not so.
type failure struct {
	cause    error
	limited  *run.LimitedError // room or budget is lacking until then
	obstacle *places.Obstacle  // it must wait for a place
	modal    *modalError       // Modal was asked for a sandbox
	// refused and permanent are a run.RefusedError's and a run.PermanentError's.
	refused, permanent bool
}

func failureOf(cause error) failure {
	f := failure{cause: cause}
	f.limited, _ = errors.AsType[*run.LimitedError](cause)
	f.obstacle, _ = errors.AsType[*places.Obstacle](cause)
	f.modal, _ = errors.AsType[*modalError](cause)
	_, f.refused = errors.AsType[*run.RefusedError](cause)
	_, f.permanent = errors.AsType[*run.PermanentError](cause)
	return f
}

// inLine reports whether the job stands in line: for a place, for Modal's room, or for somebody who mends what is refused.
func (f failure) inLine() bool {
	return f.refused || f.obstacle != nil || f.modal != nil && f.limited != nil && !errors.Is(f.cause, run.ErrNoImage)
}

// createFailed records why there is no runner, and when to try again.
func (h *handling) createFailed(ctx context.Context, r run.Runner, cause error) error {
	f := failureOf(cause)
	h.Observer.Launched(r.Job.Pool, f.outcome())
	h.Log.LogAttrs(ctx, f.level(), "runner not launched", append(runnerAttrs(r),
		slog.String("outcome", f.outcome()), slog.Any("err", cause))...)
	if over, err := h.takenOver(ctx, r); over || err != nil {
		return err
	}
	if err := h.unmade(ctx, r, f); err != nil {
		return err
	}
	failed := run.Failed{Reason: cause.Error(), Limited: f.limited != nil || f.refused, Permanent: f.permanent, InLine: f.inLine()}
	if f.limited != nil && !failed.InLine { // It waits for its turn at GitHub.
		failed.Until = f.limited.Until
	}
	switch {
	case f.permanent: // The job first: what made the launch impossible may make tidying up after it impossible too.
		if _, err := h.decide(ctx, r.For, failed); err != nil {
			return err
		}
		_, err := h.decideRunner(ctx, r.Name, run.Gone{Reason: cause.Error()})
		return err
	case errors.Is(cause, errStray) || errors.Is(cause, errUsed): // The name is used up; who still waits gets the next.
		_, err := h.decideRunner(ctx, r.Name, run.Gone{Reason: cause.Error()})
		return err
	}
	_, nothing := errors.AsType[*unaskedError](cause)
	now, err := h.decideRunner(ctx, r.Name, run.GivenUp{Until: r.Until, Reason: cause.Error(), Unasked: r.Unasked && nothing})
	if err != nil {
		return err
	}
	if now.State != run.Launching || now.For == 0 {
		_, err := h.decideRunner(ctx, r.Name, run.Released{Name: r.Name})
		return err
	}
	waiting, err := h.decide(ctx, now.For, failed) // Who counts on it now need not be whom it was launched for.
	if err != nil {
		return err
	}
	if waiting.State != run.Waiting { // It is held, or has a runner: what tells of it again is on its way.
		return nil
	}
	h.at(h.nextTry(waiting.Failures, failed.InLine && (f.obstacle == nil || !r.MayComeLate()), f.limited))
	return nil
}

// nextTry is when a launch is tried again that has failed so often, of one that is called in its turn if inLine is set; limited is nil if
// nothing is said to be over then.
func (h *handling) nextTry(failures int, inLine bool, limited *run.LimitedError) time.Time {
	switch {
	case inLine:
		return h.Now().Add(h.comeBack())
	case limited != nil: // Not all at once.
		return limited.Until.Add(h.backoff(1))
	}
	return h.Now().Add(h.backoff(failures))
}

// takenOver reports whether another worker has the launch, or has made the runner: this one has stood still for longer than its time. Then
// what it has to say of the launch is old, and the job is looked at again as after the other's.
func (h *handling) takenOver(ctx context.Context, r run.Runner) (bool, error) {
	known, _, err := h.Ledger.LoadRunner(ctx, r.Name)
	if err != nil {
		return false, fmt.Errorf("load runner %v: %w", r.Name, err)
	}
	switch known.State {
	case run.Launching:
		if known.Until.Equal(r.Until) {
			return false, nil
		}
		h.at(known.Until)
	case run.Launched:
		h.at(known.LaunchedAt.Add(run.LookAfter))
	case run.Busy:
	case run.Unknown, run.Ended:
		return false, nil
	}
	return true, nil
}

// level is how much it matters to an operator.
func (f failure) level() slog.Level {
	switch {
	case errors.Is(f.cause, errUnwanted), f.obstacle != nil: // Nothing went wrong: the job was cancelled, another runner took it, or it must wait.
		return slog.LevelInfo
	case errors.Is(f.cause, run.ErrNoImage): // Whoever keeps the image tells of that, once for all the jobs that wait for it.
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// unmade does what follows from a launch that made nothing: all know what that says of the pool, and its place goes to another, unless
// it may have made something after all.
func (h *handling) unmade(ctx context.Context, r run.Runner, f failure) error {
	if lesson := h.lesson(r, f); lesson != nil {
		if err := h.tell(ctx, lesson); err != nil {
			return err
		}
	}
	modalUnasked := f.obstacle != nil || errors.Is(f.cause, errUnwanted)
	if f.modal != nil && f.modal.none || modalUnasked && !r.MayComeLate() { // Its registration was never used: it is as if there were none.
		if _, err := h.decideRunner(ctx, r.Name, run.Registered{}); err != nil {
			return err
		}
	}
	known, _, err := h.Ledger.LoadRunner(ctx, r.Name)
	if err != nil {
		return fmt.Errorf("load runner %v: %w", r.Name, err)
	}
	if known.MayComeLate() || known.SandboxID != "" {
		return nil
	}
	return h.free(ctx, known)
}

// lesson is what the failure of a launch says of others, nil if nothing: a pool that Modal has no room for is launched more slowly, one
// that is refused not at all until somebody has mended it, and one whose calls fail not until they work again. What a job alone has
// asked for in vain says nothing of others.
func (h *handling) lesson(r run.Runner, f failure) func(places.Record) places.Record {
	kind, runner, why := places.KindOf(r.Job, h.Rules), places.Key(r.Name), f.cause.Error()
	switch {
	case errors.Is(f.cause, run.ErrBadImage):
		return func(record places.Record) places.Record { return record.Unready(kind, why, h.Now()) }
	case errors.Is(f.cause, run.ErrNoImage) || f.permanent || f.modal == nil:
		return nil
	case f.refused:
		return func(record places.Record) places.Record { return record.Failed(kind, runner, why, true, h.Now()) }
	case f.limited != nil:
		return func(record places.Record) places.Record { return record.Exhausted(kind, h.Now()) }
	default:
		return func(record places.Record) places.Record { return record.Errored(kind, runner, why, h.Now()) }
	}
}

// outcome is the value of the outcome label.
func (f failure) outcome() string {
	switch {
	case f.obstacle != nil:
		return string(f.obstacle.Kind)
	case errors.Is(f.cause, run.ErrNoImage):
		return "no_image"
	case f.modal != nil && f.limited != nil:
		return string(places.Pace)
	case f.limited != nil:
		return "rate_limited"
	case errors.Is(f.cause, errUnwanted):
		return "unwanted"
	case errors.Is(f.cause, context.DeadlineExceeded):
		return "timeout"
	case f.refused:
		return "refused"
	case f.permanent:
		return "invalid"
	default:
		return "error"
	}
}
