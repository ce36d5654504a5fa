package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/pools"
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

// servePools pulls the queued jobs of all pools that there are, until pulling ends. Of a pool that is taken away no more are
// pulled. What is in hand then is handled as [intake.Intake.Run] says.
func (a *App) servePools(pulling, working context.Context) {
	var serving sync.WaitGroup
	defer serving.Wait()
	stops := map[string]context.CancelFunc{}
	for begun := false; pulling.Err() == nil; begun = true {
		names := a.rules.names()
		for name, stop := range stops {
			if !slices.Contains(names, name) {
				a.log.LogAttrs(pulling, slog.LevelInfo, "pool not served any more", slog.String("pool", name))
				stop()
				delete(stops, name)
			}
		}
		for _, name := range names {
			if stops[name] != nil {
				continue
			}
			if begun {
				a.log.LogAttrs(pulling, slog.LevelInfo, "serving a new pool", slog.String("pool", name))
				a.guard.Recheck(pulling) // There is nothing to pull from yet.
			}
			ctx, stop := context.WithCancel(pulling)
			stops[name] = stop
			serving.Go(func() { a.queued(name).Run(ctx, working) })
		}
		select {
		case <-pulling.Done():
		case <-time.After(watchPools):
		}
	}
}
