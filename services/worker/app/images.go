package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/lifecycle"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/operator"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// buildsAtOnce is how many images are built at a time: most have a layer in common, which is built once.
	buildsAtOnce = 4
	// answerTimeout bounds how long a command waits for NATS.
	answerTimeout = 15 * time.Second
)

// imagesCommand is about the images of the pools file. Unlike the operator's commands it asks no worker, but has a worker's
// configuration: images are built before a worker runs that needs them.
type imagesCommand struct {
	Build buildImagesCommand `cmd:"" help:"Build each image of the pools file that is not built yet, for all workers. Exit code 1 if one can't be."`
	List  listImagesCommand  `cmd:"" help:"List the images of the pools file, what is on record of them, and of the versions of the runner."`
	Try   tryRunnerCommand   `cmd:"" help:"Have the version of the runner that was refused tried as if it were new: by up to three sandboxes."`
}

type (
	buildImagesCommand struct{}
	listImagesCommand  struct{}
	tryRunnerCommand   struct{}
)

// Run implements the command.
func (buildImagesCommand) Run(load cli.Loader[Config], out io.Writer) error {
	return withImages(load, func(ctx context.Context, a *App) error { return a.buildImages(ctx, out) })
}

// Run implements the command.
func (listImagesCommand) Run(load cli.Loader[Config], out io.Writer) error {
	return withImages(load, func(ctx context.Context, a *App) error { return a.listImages(ctx, out) })
}

// Run implements the command.
func (tryRunnerCommand) Run(load cli.Loader[Config], out io.Writer) error {
	return withImages(load, func(ctx context.Context, a *App) error {
		refused, err := a.rollout.Again(ctx)
		if err != nil {
			return err
		}
		return operator.PrintAgain(out, refused.Version)
	})
}

// withImages does what is to be done with the parts of a worker that has no listener and takes no jobs.
func withImages(load cli.Loader[Config], do func(context.Context, *App) error) (err error) {
	cfg, err := load()
	if err != nil {
		return err
	}
	if err := ignoreModalFile(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.DiscardHandler)
	a := &App{options: Options{Config: cfg, Logger: log, Now: time.Now}, cfg: cfg, log: log, stack: lifecycle.New(releaseAllowance)}
	defer func() { err = errors.Join(err, a.stack.Stop(context.WithoutCancel(ctx))) }()
	if _, err := a.connect(obs.NewRegistry(obs.ThisService(serviceName))); err != nil {
		return err
	}
	asking, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("NATS did not answer within %v", answerTimeout))
	defer cancel()
	if _, err := natsx.Ensure(asking, a.js, wire.Topology{Buckets: wire.JobsTopology(nil).Buckets}); err != nil {
		return cmp.Or(context.Cause(asking), err)
	}
	return do(ctx, a)
}

// buildImages prints each image as soon as it is built, or why it is not.
func (a *App) buildImages(ctx context.Context, out io.Writer) error {
	images := a.rules.images()
	releases := a.releases()
	places := make(chan struct{}, buildsAtOnce)
	var building sync.WaitGroup
	var mu sync.Mutex
	failed, errs := 0, []error{}
	for _, i := range images {
		building.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			id, err := a.fleet.Build(ctx, i, releases)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
			}
			errs = append(errs, operator.PrintBuild(out, nameOf(i), id, err))
		})
	}
	building.Wait()
	if failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d images not built", failed, len(images)))
	}
	return errors.Join(errs...)
}

func (a *App) listImages(ctx context.Context, out io.Writer) error {
	state, err := a.rollout.Read(ctx)
	if err != nil {
		return err
	}
	var images []operator.Image
	add := func(name, key string) error {
		r, err := a.builds.Read(ctx, key)
		images = append(images, operator.Image{
			Name: name, ID: r.ID, Runner: r.Runner, Building: r.Builder != "", Failure: r.Failure, Since: r.Since,
		})
		return err
	}
	for _, i := range a.rules.images() {
		if err := add(nameOf(i), fleet.Key(i)); err != nil {
			return err
		}
		if state.Candidate.Version == "" {
			continue
		}
		if err := add(nameOf(i)+" (next)", fleet.CandidateKey(i)); err != nil {
			return err
		}
	}
	if err := operator.PrintImages(out, images, time.Now()); err != nil {
		return err
	}
	runner := state.Runner
	if failed := len(state.Failed); failed > 0 && !state.Trying { // That of a later trial may have proved nothing.
		runner = state.Failed[failed-1]
	}
	return operator.PrintVersions(out, operator.Versions{
		Pinned: a.pinned(), Good: state.Good, Candidate: state.Candidate, Trying: state.Trying, Runner: runner,
		Failed: len(state.Failed), Why: state.Why, Refused: state.Refused, RefusedAt: state.RefusedAt,
	}, time.Now())
}

func nameOf(i run.Image) string { return cmp.Or(i.Name, pools.DefaultImage) }
