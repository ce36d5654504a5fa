package app

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/obs"
)

// openPools reads the pools file, and shows in log and metrics which one is in force.
func openPools(path string, log *slog.Logger, registry prometheus.Registerer) (*pools.Source, error) {
	source, err := pools.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: POOLS_FILE: %w", cli.ErrConfig, err)
	}
	source.LogTo(log)
	return source, registry.Register(obs.NewConfigInfo(serviceName, source.State))
}
