package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

// order is one sandbox that is asked for.
type order struct {
	// name is the sandbox's at Modal.
	name string
	pool run.Pool
	// tags and env are what it has beside what all of its pool have; jit is zero for one that waits for a runner.
	tags, env map[string]string
	jit       config.Secret
	// cacheOf is the job whose repository's cache it has; nil for none.
	cacheOf *run.Job

	// What it starts from, and whose it is; see [Fleet.prepare].
	image      *image
	from       *built
	deployment string
}

// Create starts the sandbox of the runner under the runner's name. It returns run.ErrExists if one of that name runs, a
// run.LimitedError if Modal has no room, and one around run.ErrNoImage with the reason for as long as the image of the pool is not built,
// or Modal has lost it or its App; a run.RefusedError or a run.PermanentError as in errors.go. With these, and with run.ErrNotMade,
// there is none; after any other error there may be one.
func (f *Fleet) Create(ctx context.Context, r run.Runner, p run.Pool, jit config.Secret) (id string, err error) {
	o, err := f.prepare(ctx, order{name: wire.RunnerName(r.Name.Job, r.Name.Attempt), pool: p, tags: tagsOf(r), env: map[string]string{}, jit: jit})
	if err != nil {
		return "", err
	}
	if ofRepository(r) { // It has none of another repository's jobs.
		o.cacheOf = &r.Job
	} else if p.OnlyPrivate {
		o.env["RUNNER_TRUSTED"] = "private"
	}
	o.image, o.from, err = f.tries(ctx, r, o.image, o.from)
	if err != nil {
		return "", fmt.Errorf("%w: %w", run.ErrNotMade, err)
	}
	id, err = f.start(ctx, o)
	if o.image.candidate && errors.Is(err, run.ErrExists) { // It may have been created before the trial began.
		if _, voidErr := f.Trials.Try(context.WithoutCancel(ctx), r.Name, ""); voidErr != nil {
			return "", fmt.Errorf("trial of a runner version, by a sandbox that exists already (%w): %w", err, voidErr)
		}
	}
	return id, err
}

// prepare finds what the sandbox is to start from, and whose it will be. An error says that nothing was created.
func (f *Fleet) prepare(ctx context.Context, o order) (order, error) {
	o.image = f.imageOf(o.pool.Image)
	if o.from = o.image.built.Load(); o.from == nil {
		return order{}, o.image.noImage(o.pool)
	}
	if o.pool.Timeout < time.Second { // Modal takes none for its default, which is five minutes.
		return order{}, &run.RefusedError{
			Err:    fmt.Errorf("pool %s: timeout: must be at least 1s (got %v)", o.pool.Name, o.pool.Timeout),
			Advice: "the pool's definition is to be mended",
		}
	}
	var err error
	if o.deployment, err = f.Deployment(ctx); err != nil {
		return order{}, fmt.Errorf("%w: deployment: %w", run.ErrNotMade, err)
	}
	return o, nil
}

// start creates the sandbox, and finds out what it means if that fails.
func (f *Fleet) start(ctx context.Context, o order) (id string, err error) {
	asked := &asked{}
	within, cancel := context.WithTimeout(asked.watch(ctx), createTimeout)
	defer cancel()
	id, err = f.create(within, o)
	if err == nil {
		return id, nil
	}
	if asked.maybe() { // Whatever was answered to a later try.
		return "", retryable(err)
	}
	if asked.unplaced() {
		err = &run.LimitedError{Until: time.Now().Add(roomWait), Err: fmt.Errorf("no machine was found within %v: %w", createTimeout, err)}
	} else if mayBeLoss(err) {
		err = f.lost(ctx, o.image, o.from, err)
	}
	err = outcome(err, o.pool)
	if asked.failed() { // Modal has answered, so that what there is shows itself. It may be of another try.
		if there, findErr := f.find(ctx, o.name); findErr != nil || there != "" || errors.Is(err, run.ErrExists) {
			return "", retryable(err)
		}
	}
	if errors.Is(err, run.ErrExists) || decided(err) {
		return "", err
	}
	return "", fmt.Errorf("%w: %w", run.ErrNotMade, err)
}

// retryable is err with nothing in it that says that there is no sandbox, or that there is another one of that name.
func retryable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(classify(err, time.Time{}), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s", context.DeadlineExceeded, err.Error())
	}
	return errors.New(err.Error())
}

// create makes the calls that create a sandbox. It returns what the SDK does, or why there was nothing to ask it for.
func (f *Fleet) create(ctx context.Context, o order) (id string, err error) {
	client, err := f.client()
	if err != nil {
		return "", err
	}
	params, err := paramsFor(ctx, client, o.pool)
	if err != nil {
		return "", err
	}
	if o.pool.Cache != nil && o.cacheOf != nil {
		if err := f.mountCache(ctx, client, params, o.pool, *o.cacheOf); err != nil {
			return "", err
		}
	}
	params.Name = o.name
	params.Tags = map[string]string{tagManaged: managedBy, tagPool: o.pool.Name, tagDeployment: o.deployment}
	maps.Copy(params.Tags, o.tags)
	maps.Copy(params.Env, o.env)
	if !o.jit.IsZero() {
		params.Env["ACTIONS_RUNNER_INPUT_JITCONFIG"] = o.jit.Reveal()
	}
	sandbox, err := client.Sandboxes.Create(ctx, o.from.app, o.from.image, params)
	if err != nil {
		return "", fmt.Errorf("modal: %w", err)
	}
	return sandbox.SandboxID, nil
}

// tagsOf are the tags that tell whose the sandbox of a runner is.
func tagsOf(r run.Runner) map[string]string {
	return map[string]string{tagRepo: r.Job.Owner + "/" + r.Job.Repo, tagJob: strconv.FormatInt(r.Job.ID, 10)}
}
