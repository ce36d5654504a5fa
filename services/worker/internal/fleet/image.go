package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// baseImage has the release of Ubuntu that GitHub calls ubuntu-latest.
	baseImage = "ubuntu:24.04"
	// runnerHome is where the image keeps the runner.
	runnerHome = "/opt/actions-runner"
	// buildTimeout bounds a build; one from nothing takes minutes.
	buildTimeout = 20 * time.Minute
	// lackShare and maxLackWait say how soon launches look again for an image: after a part of the time that it has been lacking,
	// so that none waits much longer for it than it took, and a long lack costs few tries.
	lackShare   = 10
	maxLackWait = 15 * time.Second
	// firstRetry and lastRetry bound the pause after a build that failed.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// rollEvery is how often the newest runner is looked for: GitHub refuses runners about a month after a newer one.
	rollEvery = 24 * time.Hour
)

// Releases finds the release of the runner that images are to hold.
type Releases func(context.Context) (run.RunnerRelease, error)

// KeepImage builds the image at once, and again whenever there is a newer runner or Modal has lost what sandboxes start
// from, until ctx ends. Sandboxes start from the last one that was built. Only one call may be at work.
func (f *Fleet) KeepImage(ctx context.Context, releases Releases) {
	wait, reason := firstRetry, ""
	for {
		err := f.buildImage(ctx, releases)
		if err == nil {
			built := time.Now()
			err = f.untilStale(ctx)
			// An image that is lost as soon as it is built counts as one that can't be built.
			if time.Since(built) > lastRetry {
				wait, reason = firstRetry, ""
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		cause := tidy(err.Error(), maxTailLines)
		f.lack.Store(&lack{since: f.lack.Load().since, cause: "its build is tried again within a minute: " + cause})
		if cause != reason {
			f.Log.LogAttrs(ctx, slog.LevelError, "image not built", slog.String("err", cause))
			reason = cause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait = min(2*wait, lastRetry)
		}
	}
}

// Ready returns nil if there is an image that sandboxes can start from, else what Create would. It asks nobody.
func (f *Fleet) Ready() error {
	if f.image.Load() == nil {
		return f.noImage()
	}
	return nil
}

// noImage is what a launch gets while there is no image. The cause is text only: a launch must wait for the next try of
// KeepImage, whatever it was that failed there.
func (f *Fleet) noImage() error {
	now, lack := time.Now(), f.lack.Load()
	wait := min(now.Sub(lack.since)/lackShare, maxLackWait)
	return &run.LimitedError{Until: now.Add(wait), Err: fmt.Errorf("%w: %s", run.ErrNoImage, lack.cause)}
}

// untilStale returns nil when a newer runner is to be looked for, and an error once the image is lost or ctx ends.
func (f *Fleet) untilStale(ctx context.Context) error {
	roll := time.After(rollEvery)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-roll:
			return nil
		case err := <-f.lost:
			// Otherwise it is the loss of an image before the present one.
			if f.image.Load() == nil {
				return err
			}
		}
	}
}

// createError maps the error of a call that was to create a sandbox. If it says that there is nothing to start from, the
// image is forgotten, KeepImage builds another, and launches wait for it as they do for the first one.
func (f *Fleet) createError(from *built, err error) error {
	if !isLoss(err) {
		return classify(err, time.Now())
	}
	err = fmt.Errorf("image %s of app %s is lost: %w", from.image.ImageID, from.app.AppID, err)
	if f.image.CompareAndSwap(from, nil) {
		f.lack.Store(&lack{since: time.Now(), cause: "another one is to be built"})
		f.Metrics.paused.Set(1)
		select {
		case f.lost <- err:
		default: // KeepImage has a loss to look at already.
		}
	}
	return &run.LimitedError{Until: time.Now(), Err: fmt.Errorf("%w: %w", run.ErrNoImage, err)}
}

func (f *Fleet) buildImage(ctx context.Context, releases Releases) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	release, err := releases(ctx)
	if err != nil {
		return err
	}
	f.Metrics.runner(release)
	if last := f.image.Load(); last != nil && last.version == release.Version {
		return nil
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	app, err := client.Apps.FromName(ctx, f.App, &modal.AppFromNameParams{CreateIfMissing: true})
	if err != nil {
		return fmt.Errorf("modal app %s: %w", f.App, err)
	}
	began := time.Now()
	f.Log.LogAttrs(ctx, slog.LevelInfo, "image is being built", slog.String("runner_version", release.Version))
	image := client.Images.FromRegistry(baseImage, nil)
	for _, layer := range recipe(release) {
		image = image.DockerfileCommands(layer, nil)
	}
	image, err = image.Build(ctx, app, nil)
	if err != nil {
		return fmt.Errorf("build image with runner %s: %w", release.Version, err)
	}
	f.image.Store(&built{app: app, image: image, version: release.Version})
	f.Metrics.paused.Set(0)
	f.Log.LogAttrs(ctx, slog.LevelInfo, "image built", slog.String("image_id", image.ImageID),
		slog.String("runner_version", release.Version), slog.Duration("dur", time.Since(began)))
	return nil
}

// recipe is the layers of the image above its base: what workflows expect of an Ubuntu runner, then the runner itself, so
// that a new runner rebuilds the last layer only.
func recipe(r run.RunnerRelease) [][]string {
	return [][]string{
		{
			"ENV DEBIAN_FRONTEND=noninteractive",
			"RUN apt-get update && apt-get install -y --no-install-recommends" +
				" build-essential ca-certificates curl git jq nodejs openssh-client python3 sudo tar unzip xz-utils zip zstd" +
				" && rm -rf /var/lib/apt/lists/*",
		},
		{
			"ENV ACTIONS_RUNNER_HOME=" + runnerHome,
			fmt.Sprintf("RUN mkdir -p %[1]s && cd %[1]s && curl -fsSL --retry 3 -o runner.tar.gz '%[2]s'"+
				" && echo '%[3]s  runner.tar.gz' | sha256sum -c - && tar xzf runner.tar.gz && rm runner.tar.gz"+
				" && ./bin/installdependencies.sh && rm -rf /var/lib/apt/lists/*", runnerHome, r.URL, r.SHA256),
		},
	}
}
