package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/obs"
)

// watchPools is how often it is looked whether there are other pools than before.
const watchPools = 2 * time.Second

// openPools reads the pools file, and shows in log and metrics which one is in force.
func openPools(path string, log *slog.Logger, registry prometheus.Registerer) (*pools.Source, error) {
	source, err := pools.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: POOLS_FILE: %w", cli.ErrConfig, err)
	}
	source.LogTo(log)
	return source, registry.Register(obs.NewConfigInfo(serviceName, source.State))
}

// sayWhoHasNoCache warns of pools whose cache the runners of organizations and enterprises do not have; see package fleet.
func (a *App) sayWhoHasNoCache() {
	for _, p := range a.rules.File().Pools {
		if a.cfg.sharesRunners() && p.Cache.SizeMiB > 0 {
			a.log.Warn("runners of organizations and enterprises have no cache", slog.String("pool", p.Name))
		}
	}
}

// lookForRetired is how often NATS is asked for pools that the pools file has no more.
const lookForRetired = 30 * time.Second

// servePools pulls the queued jobs of all pools until pulling ends. Those of a pool that the pools file has no more are pulled, too:
// ingress may have read the file later, and jobs may wait from before. They go to the pool that their labels ask for now, or are
// refused, so that nobody waits for what will never come.
func (a *App) servePools(pulling, working context.Context) {
	var serving sync.WaitGroup
	defer serving.Wait()
	served, retired, looked := map[string]bool{}, []string{}, time.Time{}
	for begun := false; pulling.Err() == nil; begun = true {
		if time.Since(looked) >= lookForRetired {
			looked = time.Now()
			retired = a.consumed(pulling)
		}
		for _, name := range append(a.rules.names(), retired...) {
			if served[name] {
				continue
			}
			if begun {
				a.log.LogAttrs(pulling, slog.LevelInfo, "serving a new pool", slog.String("pool", name))
				a.guard.Recheck(pulling) // There is nothing to pull from yet.
			}
			served[name] = true
			serving.Go(func() { a.queued(name).Run(pulling, working) })
		}
		select {
		case <-pulling.Done():
		case <-time.After(watchPools):
		}
	}
}

// consumed are the pools of whose jobs NATS has a consumer. While it can't be asked there are none.
func (a *App) consumed(ctx context.Context) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, lookForRetired)
	defer cancel()
	stream, err := a.js.Stream(ctx, wire.StreamJobs)
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelDebug, "pools not listed", slog.Any("err", err))
		return nil
	}
	list := stream.ConsumerNames(ctx)
	for consumer := range list.Name() {
		if name, ok := wire.PoolOfConsumer(consumer); ok {
			names = append(names, name)
		}
	}
	return names
}
