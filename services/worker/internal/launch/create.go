package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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
	act, cancel := context.WithDeadline(ctx, r.Until.Add(-recordTime))
	var made run.Created
	var adopted bool
	err := h.stillWanted(act, r)
	if err == nil {
		made, adopted, err = h.make(act, r)
	}
	cancel()

	// Whatever the outcome, it is recorded: also if the worker is being stopped.
	ctx, cancel = context.WithDeadline(context.WithoutCancel(ctx), h.Now().Add(recordTime))
	defer cancel()
	if err != nil {
		return h.createFailed(ctx, r, err)
	}
	defer h.step("record", h.Now())
	saved, err := h.decideRunner(ctx, r.Name, made)
	if err != nil {
		return err
	}
	if err := h.tell(ctx, func(record places.Record) places.Record { return record.Created(r.Job.Pool) }); err != nil {
		return err
	}
	outcome := "launched"
	if adopted {
		outcome = "adopted"
	}
	placed, err := h.decide(ctx, cmp.Or(saved.For, r.Job.ID), run.Placed{})
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

// make registers the runner and starts its sandbox, or finds that this was done before.
func (h *handling) make(ctx context.Context, r run.Runner) (made run.Created, adopted bool, err error) {
	if err := h.Ready(); err != nil { // A registration without a sandbox is of no use, and costs GitHub's budget.
		return run.Created{}, false, err
	}
	githubID, jit, err := h.register(ctx, r)
	if errors.Is(err, run.ErrExists) {
		var id string
		if id, err = h.Fleet.Find(ctx, r.Name); err != nil {
			return run.Created{}, false, fmt.Errorf("find sandbox: %w", err)
		}
		if id != "" {
			return run.Created{SandboxID: id}, true, nil
		}
		githubID, jit, err = h.replace(ctx, r)
	} else if err == nil && r.GitHubID != 0 {
		err = errUsed
	}
	if err != nil {
		return run.Created{}, false, fmt.Errorf("register runner: %w", err)
	}
	// The last look before money is spent: the job may have been cancelled, or taken by another runner.
	known, err := h.decideRunner(ctx, r.Name, run.Registered{GitHubID: githubID})
	if err != nil {
		return run.Created{}, false, err
	}
	if known.State != run.Launching || known.For == 0 {
		return run.Created{}, false, errUnwanted
	}
	if err := h.alone(ctx, known); err != nil {
		return run.Created{}, false, err
	}
	id, err := h.start(ctx, known, jit)
	if _, refused := errors.AsType[*refusedError](err); refused && r.GitHubID != 0 {
		err = errors.Unwrap(err) // An earlier try may have made one.
	}
	if err != nil {
		return run.Created{}, false, fmt.Errorf("create sandbox: %w", err)
	}
	return run.Created{GitHubID: githubID, SandboxID: id}, false, nil
}

func (h *handling) register(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	defer h.elsewhere("jit", h.Now())
	return h.Forge.Register(ctx, r)
}

// replace makes a new registration in place of one whose JIT configuration is lost.
func (h *handling) replace(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	if err := h.Forge.Deregister(ctx, r); err != nil {
		return 0, config.Secret{}, err
	}
	if _, err := h.decideRunner(ctx, r.Name, run.Registered{}); err != nil { // None is on record now.
		return 0, config.Secret{}, err
	}
	return h.register(ctx, r)
}

// start creates the sandbox. A create call whose answer got lost is made again with the same JIT configuration: if the
// name then exists, it is the sandbox that the lost answer was about.
func (h *handling) start(ctx context.Context, r run.Runner, jit config.Secret) (string, error) {
	defer h.elsewhere("create", h.Now())
	pool, err := h.PoolOf(r.Job)
	if err != nil { // It was taken away after the launch had been decided.
		return "", &refusedError{&run.PermanentError{Err: err, Advice: "the pools file has changed"}}
	}
	for n := 1; ; n++ {
		id, err := h.Fleet.Create(ctx, r, pool, jit)
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
		case n == 1 && certain(err):
			return "", &refusedError{err}
		case n == maxCreates || certain(err) || ctx.Err() != nil:
			return "", err
		}
	}
}

// refusedError says that Modal was asked for a sandbox and made none.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// certain reports whether err says for sure that nothing was created.
func certain(err error) bool {
	_, limited := errors.AsType[*run.LimitedError](err)
	_, permanent := errors.AsType[*run.PermanentError](err)
	return limited || permanent
}

// createFailed records why there is no runner, and when to try again.
func (h *handling) createFailed(ctx context.Context, r run.Runner, cause error) error {
	limited, isLimited := errors.AsType[*run.LimitedError](cause)
	_, isPermanent := errors.AsType[*run.PermanentError](cause)
	h.Observer.Launched(r.Job.Pool, outcomeOf(cause))
	level := slog.LevelWarn
	switch {
	case errors.Is(cause, errUnwanted): // Nothing went wrong: the job was cancelled, or another runner took it.
		level = slog.LevelInfo
	case errors.Is(cause, run.ErrNoImage): // Whoever keeps the image tells of that, once for all the jobs that wait for it.
		level = slog.LevelDebug
	}
	h.Log.LogAttrs(ctx, level, "runner not launched", append(runnerAttrs(r),
		slog.String("outcome", outcomeOf(cause)), slog.Any("err", cause))...)
	if err := h.unmade(ctx, r, cause); err != nil {
		return err
	}
	_, exhausted := errors.AsType[*refusedError](cause)
	exhausted = exhausted && isLimited && !errors.Is(cause, run.ErrNoImage)
	failed := run.Failed{Reason: cause.Error(), Limited: isLimited, Permanent: isPermanent, InLine: exhausted}
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
	now, err := h.decideRunner(ctx, r.Name, run.GivenUp{Reason: cause.Error()})
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
	next := h.Now().Add(h.backoff(waiting.Failures))
	switch {
	case exhausted:
		next = h.Now().Add(h.comeBack())
	case isLimited: // Not all at once.
		next = limited.Until.Add(h.backoff(1))
	}
	h.at(next)
	return nil
}

// unmade does what follows from a launch that made nothing: its place goes to another, and a pool that Modal has no room for is
// launched more slowly, or not at all if it is refused for good.
func (h *handling) unmade(ctx context.Context, r run.Runner, cause error) error {
	refused, atModal := errors.AsType[*refusedError](cause)
	if atModal && !errors.Is(cause, run.ErrNoImage) {
		_, forGood := errors.AsType[*run.PermanentError](refused)
		err := h.tell(ctx, func(record places.Record) places.Record {
			if forGood {
				return record.Failed(r.Job.Pool, places.Key(r.Name), cause.Error(), true, h.Now())
			}
			return record.Exhausted(r.Job.Pool, h.Now())
		})
		if err != nil {
			return err
		}
	}
	if atModal { // Its registration was never used: it is as if there were none.
		if _, err := h.decideRunner(ctx, r.Name, run.Registered{}); err != nil {
			return err
		}
	}
	known, _, err := h.Ledger.LoadRunner(ctx, r.Name)
	if err != nil {
		return fmt.Errorf("load runner %v: %w", r.Name, err)
	}
	if known.GitHubID != 0 || known.SandboxID != "" {
		return nil
	}
	return h.free(ctx, known)
}

// outcomeOf is the value of the outcome label.
func outcomeOf(err error) string {
	_, atModal := errors.AsType[*refusedError](err)
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
	if _, permanent := errors.AsType[*run.PermanentError](err); permanent {
		return "invalid"
	}
	return "error"
}

func (h *handling) step(name string, since time.Time) { h.Observer.Step(name, h.Now().Sub(since)) }

// elsewhere is a step that GitHub or Modal takes.
func (h *handling) elsewhere(name string, since time.Time) {
	h.abroad += h.Now().Sub(since)
	h.step(name, since)
}
