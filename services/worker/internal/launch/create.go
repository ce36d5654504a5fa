package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// recordTime is what is left of run.LaunchTimeout for recording the outcome once the last call has ended.
	recordTime = 10 * time.Second
	// freshFor is how long after its creation GitHub need not be asked whether a job still waits: its webhooks are on their way,
	// and GitHub's API may lag behind.
	freshFor = 2 * time.Minute
	// maxCreates is how often a create call whose outcome is not known is made with one JIT configuration.
	maxCreates = 2
)

// errStray says that a sandbox of the runner's name runs that can't be the one just registered.
var errStray = errors.New("a sandbox of this name runs whose registration is gone")

// errUsed says that the registration that is on record is gone: its runner took a job of which we know nothing, or somebody
// removed it. What GitHub says of a runner of this name may be about that one.
var errUsed = errors.New("the registration of this name was used or removed")

// errUnwanted says that nobody counts on the runner any more, or that another worker has made it.
var errUnwanted = errors.New("no job waits for this launch any more")

// create makes the runner whose intent is on record, and records how that went.
func (h *handling) create(ctx context.Context, r run.Runner) error {
	h.step("intent", h.began)
	ctx, span := h.span(ctx, "launch runner", trace.SpanKindInternal, r)
	defer span.End()
	act, cancel := context.WithDeadline(ctx, r.Until.Add(-recordTime))
	var made run.Created
	outcome := ""
	err := unasked(h.stillWanted(act, r))
	if err == nil {
		made, outcome, err = h.make(act, r)
	}
	cancel()

	// Whatever the outcome, it is recorded: also if the worker is being stopped.
	ctx, cancel = context.WithDeadline(context.WithoutCancel(ctx), h.Now().Add(recordTime))
	defer cancel()
	if err != nil {
		span.SetAttributes(attribute.String("outcome", failureOf(err).outcome()))
		if !errors.Is(err, errUnwanted) {
			span.SetStatus(codes.Error, err.Error())
		}
		return h.createFailed(ctx, r, err)
	}
	defer h.step("record", h.Now())
	saved, err := h.decideRunner(ctx, r.Name, made)
	if err != nil {
		return err
	}
	if err := h.tell(ctx, func(record places.Record) places.Record {
		return record.Created(places.KindOf(r.Job, h.Rules)).Discard(places.Key(r.Name)) // Whose the sandbox is, is on record by now.
	}); err != nil {
		return err
	}
	span.SetAttributes(attribute.String("outcome", outcome), attribute.String("sandbox_id", made.SandboxID))
	placed, err := h.decide(ctx, cmp.Or(saved.For, r.Job.ID), run.Placed{Runner: r.Name})
	if err != nil {
		return err
	}
	waited := h.Now().Sub(placed.QueuedAt)
	h.Observer.Launched(r.Job.Pool, outcome)
	h.Observer.QueueToLaunch(r.Job.Pool, waited)
	h.Log.LogAttrs(ctx, slog.LevelInfo, "runner launched", append(runnerAttrs(saved),
		slog.String("outcome", outcome), slog.Duration("queued_for", waited), slog.Duration("own_time", waited-h.abroad))...)
	h.at(saved.LaunchedAt.Add(run.LookAfter))
	return nil
}

// stillWanted asks GitHub about a job that was created a while ago: it may be over, and no webhook have told of that. It
// returns errUnwanted if so; what can't be found out is as it was.
func (h *handling) stillWanted(ctx context.Context, r run.Runner) error {
	if r.For == r.Job.ID && h.fresh(r.Job) {
		return nil
	}
	waiting, _, err := h.Ledger.LoadRun(ctx, r.For)
	if err != nil {
		return fmt.Errorf("load run %d: %w", r.For, err)
	}
	if h.fresh(waiting.Job) {
		return nil
	}
	heard, err := h.hear(ctx, waiting)
	if !heard { // Whatever is wrong, the launch itself will tell.
		return nil
	}
	return cmp.Or(err, errUnwanted)
}

func (h *handling) fresh(j run.Job) bool { return h.Now().Sub(j.CreatedAt) < freshFor }

// make registers the runner and starts its sandbox, or gives it a warm one, or finds that this was done before: outcome says which.
func (h *handling) make(ctx context.Context, r run.Runner) (made run.Created, outcome string, err error) {
	if err := h.Ready(r.Job); err != nil { // A registration without a sandbox is of no use, and costs GitHub's budget.
		return run.Created{}, "", unasked(err)
	}
	githubID, jit, err := h.register(ctx, r)
	if _, limited := errors.AsType[*run.LimitedError](err); limited { // It was not sent, or GitHub did nothing about it.
		err = unasked(err)
	}
	if errors.Is(err, run.ErrExists) {
		if made, err = h.existing(ctx, r); err != nil || made.SandboxID != "" {
			return made, "adopted", err
		}
		githubID, jit, err = h.replace(ctx, r)
	} else if err == nil && r.GitHubID != 0 {
		err = errUsed
	}
	if err != nil {
		return run.Created{}, "", fmt.Errorf("register runner: %w", err)
	}
	// The last look before money is spent: the job may have been cancelled, or taken by another runner.
	known, err := h.decideRunner(ctx, r.Name, run.Registered{GitHubID: githubID})
	if err != nil {
		return run.Created{}, "", err
	}
	if known.State != run.Launching || known.For == 0 {
		return run.Created{}, "", errUnwanted
	}
	if err := h.alone(ctx, known); err != nil {
		return run.Created{}, "", err
	}
	id, outcome, err := h.house(ctx, known, r.MayComeLate(), jit)
	return run.Created{GitHubID: githubID, SandboxID: id, Warm: outcome == asWarm}, outcome, err
}

// house gives the runner the warm sandbox that it has claimed, or creates one. An earlier try may have asked for one, as late says: then this
// one must bear the same name.
func (h *handling) house(ctx context.Context, r run.Runner, late bool, jit config.Secret) (id, outcome string, err error) {
	warm, err := h.proceed(ctx, r, !late)
	if err != nil {
		return "", "", err
	}
	if warm != "" {
		given, err := h.give(ctx, r, warm, jit)
		if err != nil {
			return "", "", fmt.Errorf("give warm sandbox: %w", err)
		}
		if given {
			return warm, asWarm, nil
		}
	}
	id, err = h.start(ctx, r, jit)
	if e, ok := errors.AsType[*modalError](err); ok && late {
		e.none = false // An earlier try may have made one.
	}
	if err != nil {
		return "", "", fmt.Errorf("create sandbox: %w", err)
	}
	return id, "launched", nil
}

func (h *handling) register(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	defer h.elsewhere("jit", h.Now())
	ctx, span := h.span(ctx, "register runner", trace.SpanKindClient, r)
	defer func() { endSpan(span, err) }()
	return h.Forge.Register(ctx, r)
}

// replace makes a new registration in place of one whose JIT configuration is lost.
func (h *handling) replace(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	if err := h.Forge.Deregister(ctx, r); err != nil {
		return 0, config.Secret{}, err
	}
	if _, err := h.decideRunner(ctx, r.Name, run.Registered{Replaced: true}); err != nil { // None is on record now.
		return 0, config.Secret{}, err
	}
	return h.register(ctx, r)
}

// start creates the sandbox. A create call whose answer got lost is made again with the same JIT configuration: if the
// name then exists, it is the sandbox that the lost answer was about. One that was not answered in time is not made again: it may work
// late, and if the second sandbox has ended by then, its runner would have a registration that we take for the second's.
func (h *handling) start(ctx context.Context, r run.Runner, jit config.Secret) (id string, err error) {
	defer h.elsewhere("create", h.Now())
	ctx, span := h.span(ctx, "create sandbox", trace.SpanKindClient, r)
	defer func() {
		span.SetAttributes(attribute.String("sandbox_id", id))
		endSpan(span, err)
	}()
	pool, err := h.PoolOf(r.Job)
	if err != nil { // It was taken away after the launch had been decided.
		return "", &run.PermanentError{Err: err, Advice: "the pools file has changed"}
	}
	none := true
	for n := 1; ; n++ {
		id, err := h.Fleet.Create(ctx, r, pool, jit)
		none = none && (certain(err) || errors.Is(err, run.ErrNotMade))
		switch {
		case err == nil:
			return id, nil
		case errors.Is(err, run.ErrExists) && n == 1:
			return "", errStray
		case errors.Is(err, run.ErrExists):
			id, err := h.Fleet.Find(ctx, r.Name)
			if err == nil && id == "" {
				err = errors.New("it ended at once")
			}
			return id, err
		case errors.Is(ctx.Err(), context.Canceled): // It is this worker that ends.
			return "", err
		case n == maxCreates || certain(err) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
			return "", &modalError{err, none}
		}
	}
}

// unaskedError is why neither GitHub nor Modal was asked to make anything in a launch.
type unaskedError struct{ error }

func unasked(err error) error {
	if err == nil {
		return nil
	}
	return &unaskedError{err}
}

func (e *unaskedError) Unwrap() error { return e.error }

// modalError is why Modal did not say that it has made a sandbox. none says that it made none, for sure.
type modalError struct {
	error

	none bool
}

func (e *modalError) Unwrap() error { return e.error }

// certain reports whether err says for sure that nothing was created.
func certain(err error) bool {
	_, limited := errors.AsType[*run.LimitedError](err)
	_, refused := errors.AsType[*run.RefusedError](err)
	_, permanent := errors.AsType[*run.PermanentError](err)
	return limited || refused || permanent
}

func (h *handling) step(name string, since time.Time) { h.Observer.Step(name, h.Now().Sub(since)) }

// elsewhere is a step that GitHub or Modal takes.
func (h *handling) elsewhere(name string, since time.Time) {
	h.abroad += h.Now().Sub(since)
	h.step(name, since)
}
