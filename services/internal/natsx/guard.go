package natsx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
)

const (
	// retryEvery is how soon a service is ready after NATS has come.
	retryEvery = time.Second
	// recheckEvery is how soon an edit by hand is noticed; each check is a handful of small requests.
	recheckEvery = time.Minute
	// ensureTimeout bounds one round.
	ensureTimeout = 20 * time.Second
)

var errNotChecked = errors.New("topology not checked yet")

// GuardOptions is what a [Guard] works with. All of it is required.
type GuardOptions struct {
	JS jetstream.JetStream
	// Topology is asked for anew for each round.
	Topology func() wire.Topology
	// Replicas is what Topology's are.
	Replicas int
	// AddReplicas says that what lies on fewer servers is put on more of them. It takes the right to update streams, and whoever has
	// that may ask about the account, too.
	AddReplicas bool
	Log         *slog.Logger
	Registry    prometheus.Registerer // gets nats_at_risk, nats_storage_used_ratio and nats_topology_verified
}

// Guard ensures a topology in the background, for as long as a service runs, and knows how that went last. It warns of what does
// not keep a service from its work but could lose what is acknowledged.
type Guard struct {
	GuardOptions

	risks    *risks
	last     atomic.Pointer[error]
	once     sync.Once
	verified chan struct{} // closed by the first round that went well
}

// NewGuard returns a guard that has not checked anything yet.
func NewGuard(o GuardOptions) (*Guard, error) {
	risks, err := newRisks(o)
	if err != nil {
		return nil, err
	}
	g := &Guard{GuardOptions: o, risks: risks, verified: make(chan struct{})}
	g.last.Store(&errNotChecked)
	verified := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nats_topology_verified",
		Help: "Whether streams, consumers and buckets were as this service needs them (1) when it last looked, or not (0).",
	}, func() float64 {
		if *g.last.Load() != nil {
			return 0
		}
		return 1
	})
	if err := o.Registry.Register(verified); err != nil {
		return nil, fmt.Errorf("register metrics of the topology: %w", err)
	}
	return g, nil
}

// Check returns how the last round went: nil, or what is wrong. It asks nobody, so it suits a readiness check.
func (g *Guard) Check(context.Context) error { return *g.last.Load() }

// Verified is closed once a round has gone well: before that, there may be nothing to pull from.
func (g *Guard) Verified() <-chan struct{} { return g.verified }

// Run ensures the topology at once, then every minute, and every second while it can't; it returns when ctx ends. It
// logs when the result changes.
func (g *Guard) Run(ctx context.Context) {
	for {
		err := g.round(ctx)
		wait := recheckEvery
		if err != nil {
			wait = retryEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Recheck ensures the topology now, which is to be done when another one is wanted than before. [Guard.Check] says how it went.
func (g *Guard) Recheck(ctx context.Context) { _ = g.round(ctx) }

func (g *Guard) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	topology := g.Topology()
	topology.Replicas = g.Replicas
	created, err := Ensure(ctx, g.JS, topology)
	if len(created) > 0 {
		g.Log.InfoContext(ctx, "topology created", slog.String("created", strings.Join(created, ", ")))
	}
	before := *g.last.Swap(&err)
	if err == nil {
		g.once.Do(func() { close(g.verified) })
	}
	switch {
	case err == nil && before != nil:
		g.Log.InfoContext(ctx, "topology verified")
	case err != nil && (before == nil || err.Error() != before.Error()):
		g.Log.WarnContext(ctx, "topology not verified", slog.Any("err", err))
	}
	if err == nil {
		g.risks.look(ctx, topology)
	}
	return err
}
