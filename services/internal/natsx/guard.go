package natsx

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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

// Guard ensures a topology in the background, for as long as a service runs, and knows how that went last.
type Guard struct {
	js       jetstream.JetStream
	topology func() wire.Topology
	log      *slog.Logger
	last     atomic.Pointer[error]
	once     sync.Once
	verified chan struct{} // closed by the first round that went well
}

// NewGuard returns a guard that has not checked anything yet. Each round asks for the topology anew.
func NewGuard(js jetstream.JetStream, topology func() wire.Topology, log *slog.Logger) *Guard {
	g := &Guard{js: js, topology: topology, log: log, verified: make(chan struct{})}
	g.last.Store(&errNotChecked)
	return g
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
	created, err := Ensure(ctx, g.js, g.topology())
	if len(created) > 0 {
		g.log.InfoContext(ctx, "topology created", slog.String("created", strings.Join(created, ", ")))
	}
	before := *g.last.Swap(&err)
	if err == nil {
		g.once.Do(func() { close(g.verified) })
	}
	switch {
	case err == nil && before != nil:
		g.log.InfoContext(ctx, "topology verified")
	case err != nil && (before == nil || err.Error() != before.Error()):
		g.log.WarnContext(ctx, "topology not verified", slog.Any("err", err))
	}
	return err
}
