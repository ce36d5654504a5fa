package fleet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

// Create starts the sandbox of the runner under the runner's name. It returns run.ErrExists if one of that name runs, a
// run.LimitedError if Modal has no room, and one around run.ErrNoImage with the reason for as long as the image of the pool is not built,
// or Modal has lost it or its App; a run.RefusedError or a run.PermanentError as in errors.go. With these, and with run.ErrNotMade,
// there is none; after any other error there may be one.
func (f *Fleet) Create(ctx context.Context, r run.Runner, p run.Pool, jit config.Secret) (id string, err error) {
	im := f.imageOf(p.Image)
	from := im.built.Load()
	if from == nil {
		return "", im.noImage(p)
	}
	if p.Timeout < time.Second { // Modal takes none for its default, which is five minutes.
		return "", &run.RefusedError{
			Err: fmt.Errorf("pool %s: timeout: must be at least 1s (got %v)", p.Name, p.Timeout), Advice: "the pool's definition is to be mended",
		}
	}
	deployment, err := f.Deployment(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: deployment: %w", run.ErrNotMade, err)
	}
	im, from, err = f.tries(ctx, r, im, from)
	if err != nil {
		return "", fmt.Errorf("%w: %w", run.ErrNotMade, err)
	}
	id, err = f.start(ctx, r, p, im, from, deployment, jit)
	if im.candidate && errors.Is(err, run.ErrExists) { // It may have been created before the trial began.
		if _, voidErr := f.Trials.Try(context.WithoutCancel(ctx), r.Name, ""); voidErr != nil {
			return "", fmt.Errorf("trial of a runner version, by a sandbox that exists already (%w): %w", err, voidErr)
		}
	}
	return id, err
}

// start creates the sandbox from the image that it is to have, and finds out what it means if that fails.
func (f *Fleet) start(
	ctx context.Context, r run.Runner, p run.Pool, im *image, from *built, deployment string, jit config.Secret,
) (id string, err error) {
	asked := &asked{}
	within, cancel := context.WithTimeout(asked.watch(ctx), createTimeout)
	defer cancel()
	id, err = f.create(within, r, p, from, deployment, jit)
	if err == nil {
		return id, nil
	}
	if asked.maybe() { // Whatever was answered to a later try.
		return "", retryable(err)
	}
	if asked.unplaced() {
		err = &run.LimitedError{Until: time.Now().Add(roomWait), Err: fmt.Errorf("no machine was found within %v: %w", createTimeout, err)}
	} else if mayBeLoss(err) {
		err = f.lost(ctx, im, from, err)
	}
	err = outcome(err, p)
	if asked.failed() { // Modal has answered, so that what there is shows itself. It may be of another try.
		if there, findErr := f.Find(ctx, r.Name); findErr != nil || there != "" || errors.Is(err, run.ErrExists) {
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
func (f *Fleet) create(
	ctx context.Context, r run.Runner, p run.Pool, from *built, deployment string, jit config.Secret,
) (id string, err error) {
	client, err := f.client()
	if err != nil {
		return "", err
	}
	params, err := paramsFor(ctx, client, p)
	if err != nil {
		return "", err
	}
	if p.OnlyPrivate && !ofRepository(r) { // One that serves a repository has none of another's jobs.
		params.Env["RUNNER_TRUSTED"] = "private"
	}
	if p.Cache != nil && ofRepository(r) {
		if err := f.mountCache(ctx, client, params, p, r.Job); err != nil {
			return "", err
		}
	}
	params.Name = wire.RunnerName(r.Name.Job, r.Name.Attempt)
	params.Tags = map[string]string{
		tagManaged: managedBy, tagRepo: r.Job.Owner + "/" + r.Job.Repo, tagJob: strconv.FormatInt(r.Job.ID, 10), tagPool: p.Name,
		tagDeployment: deployment,
	}
	params.Env["ACTIONS_RUNNER_INPUT_JITCONFIG"] = jit.Reveal()
	sandbox, err := client.Sandboxes.Create(ctx, from.app, from.image, params)
	if err != nil {
		return "", fmt.Errorf("modal: %w", err)
	}
	return sandbox.SandboxID, nil
}
