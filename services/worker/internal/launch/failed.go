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

// createFailed records why there is no runner, and when to try again.
func (h *handling) createFailed(ctx context.Context, r run.Runner, cause error) error {
	limited, isLimited := errors.AsType[*run.LimitedError](cause)
	_, isRefused := errors.AsType[*run.RefusedError](cause)
	_, isPermanent := errors.AsType[*run.PermanentError](cause)
	_, held := errors.AsType[*places.Obstacle](cause)
	h.Observer.Launched(r.Job.Pool, outcomeOf(cause))
	h.Log.LogAttrs(ctx, levelOf(cause), "runner not launched", append(runnerAttrs(r),
		slog.String("outcome", outcomeOf(cause)), slog.Any("err", cause))...)
	if over, err := h.takenOver(ctx, r); over || err != nil {
		return err
	}
	if err := h.unmade(ctx, r, cause); err != nil {
		return err
	}
	_, inLine := errors.AsType[*modalError](cause) // It stands in line for Modal's room, or for somebody who mends what is refused.
	inLine = isRefused || held || inLine && isLimited && !errors.Is(cause, run.ErrNoImage)
	failed := run.Failed{Reason: cause.Error(), Limited: isLimited || isRefused, Permanent: isPermanent, InLine: inLine}
	if isLimited && !inLine { // It waits for its turn at GitHub.
		failed.Until = limited.Until
	}
	switch {
	case isPermanent: // The job first: what made the launch impossible may make tidying up after it impossible too.
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
	h.at(h.nextTry(waiting.Failures, inLine && (!held || !r.MayComeLate()), limited))
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

// levelOf is how much what kept a launch from a runner matters to an operator.
func levelOf(cause error) slog.Level {
	_, held := errors.AsType[*places.Obstacle](cause)
	switch {
	case errors.Is(cause, errUnwanted), held: // Nothing went wrong: the job was cancelled, another runner took it, or it must wait.
		return slog.LevelInfo
	case errors.Is(cause, run.ErrNoImage): // Whoever keeps the image tells of that, once for all the jobs that wait for it.
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// unmade does what follows from a launch that made nothing: all know what that says of the pool, and its place goes to another, unless
// it may have made something after all.
func (h *handling) unmade(ctx context.Context, r run.Runner, cause error) error {
	if lesson := h.lesson(r, cause); lesson != nil {
		if err := h.tell(ctx, lesson); err != nil {
			return err
		}
	}
	e, atModal := errors.AsType[*modalError](cause)
	_, held := errors.AsType[*places.Obstacle](cause)
	modalUnasked := held || errors.Is(cause, errUnwanted)
	if atModal && e.none || modalUnasked && !r.MayComeLate() { // Its registration was never used: it is as if there were none.
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
func (h *handling) lesson(r run.Runner, cause error) func(places.Record) places.Record {
	_, atModal := errors.AsType[*modalError](cause)
	_, limited := errors.AsType[*run.LimitedError](cause)
	_, refused := errors.AsType[*run.RefusedError](cause)
	_, permanent := errors.AsType[*run.PermanentError](cause)
	kind, runner, why := places.KindOf(r.Job, h.Rules), places.Key(r.Name), cause.Error()
	switch {
	case errors.Is(cause, run.ErrBadImage):
		return func(record places.Record) places.Record { return record.Unready(kind, why, h.Now()) }
	case errors.Is(cause, run.ErrNoImage) || permanent || !atModal:
		return nil
	case refused:
		return func(record places.Record) places.Record { return record.Failed(kind, runner, why, true, h.Now()) }
	case limited:
		return func(record places.Record) places.Record { return record.Exhausted(kind, h.Now()) }
	default:
		return func(record places.Record) places.Record { return record.Errored(kind, runner, why, h.Now()) }
	}
}

// outcomeOf is the value of the outcome label.
func outcomeOf(err error) string {
	if obstacle, held := errors.AsType[*places.Obstacle](err); held {
		return string(obstacle.Kind)
	}
	_, atModal := errors.AsType[*modalError](err)
	switch _, limited := errors.AsType[*run.LimitedError](err); {
	case errors.Is(err, run.ErrNoImage):
		return "no_image"
	case atModal && limited:
		return string(places.Pace)
	case limited:
		return "rate_limited"
	case errors.Is(err, errUnwanted):
		return "unwanted"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	if _, refused := errors.AsType[*run.RefusedError](err); refused {
		return "refused"
	}
	if _, permanent := errors.AsType[*run.PermanentError](err); permanent {
		return "invalid"
	}
	return "error"
}
