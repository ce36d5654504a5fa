package app

import (
	"context"
	crand "crypto/rand"
	"log/slog"
	"math/rand/v2"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/worker/internal/budget"
	"modal-github-runner/services/worker/internal/forge"
)

// limits gives the budget the port of package forge.
type limits struct{ *budget.Budget }

func newLimits(js jetstream.JetStream, registry *prometheus.Registry, log *slog.Logger) (limits, error) {
	metrics, err := budget.NewMetrics(registry)
	if err != nil {
		return limits{}, err
	}
	return limits{budget.New(budget.Options{
		JS: js, Worker: crand.Text(), Metrics: metrics, Log: log,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), //nolint:gosec // who waits how long is no secret
	})}, nil
}

// Room implements forge.Budget.
func (l limits) Room(ctx context.Context, caller string, r forge.Request) error {
	return l.Budget.Room(ctx, caller, requestOf(r))
}

// Take implements forge.Budget.
func (l limits) Take(ctx context.Context, caller string, r forge.Request) (done func(), err error) {
	return l.Budget.Take(ctx, caller, requestOf(r))
}

// requestOf is r as the budget knows it. The lanes have the same names on both sides.
func requestOf(r forge.Request) budget.Request {
	return budget.Request{Lane: budget.Lane(r.Lane), Points: r.Points, Of: r.Of}
}
