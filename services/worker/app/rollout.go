package app

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/rollout"
	"modal-github-runner/services/worker/internal/run"
)

func (a *App) newRollout(registry prometheus.Registerer) (*rollout.Rollout, error) {
	metrics, err := rollout.NewMetrics(registry)
	if err != nil {
		return nil, err
	}
	return rollout.New(rollout.Options{
		JS: a.js, Pinned: a.pinned() != "", Metrics: metrics, Log: a.log, Now: a.options.Now,
		Latest: fleet.Remembered(func(ctx context.Context) (run.RunnerRelease, error) { return a.forge.Release(ctx, forge.Latest) }),
		Runner: func(ctx context.Context, name run.Name) (run.Runner, error) {
			r, _, err := a.records.LoadRunner(ctx, name)
			return r, err
		},
		Well: a.poolIsWell,
	}), nil
}

// poolIsWell reports whether no other runner of the runner's kind has failed to start since the last one that did not.
func (a *App) poolIsWell(ctx context.Context, r run.Runner) (well bool, err error) {
	record, _, err := a.places.Read(ctx)
	p := record.Pools[places.KindOf(r.Job, a.rules)]
	failed := slices.ContainsFunc(p.Failed, func(key string) bool { return key != places.Key(r.Name) })
	return !failed && p.Breaker(a.options.Now()) == places.Closed, err
}

// pinned is the version that an operator has chosen; empty for the newest.
func (a *App) pinned() string {
	if a.cfg.RunnerVersion == forge.Latest {
		return ""
	}
	return a.cfg.RunnerVersion
}

// releases finds the runner that images are to hold.
func (a *App) releases() fleet.Releases {
	if !a.rollout.Pinned {
		return a.rollout.Release
	}
	return fleet.Remembered(func(ctx context.Context) (run.RunnerRelease, error) { return a.forge.Release(ctx, a.cfg.RunnerVersion) })
}
