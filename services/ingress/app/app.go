// Package app puts ingress together: it is the only package that constructs the others.
//
// What may never happen here: a decision about a webhook, and a start that waits for NATS. Without NATS the service
// answers 503 and is not ready.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/ingress/internal/limit"
	"modal-github-runner/services/ingress/internal/publish"
	"modal-github-runner/services/ingress/internal/webhook"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/lifecycle"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/internal/obs"
)

const (
	serviceName = "ingress"
	// publishTimeout is longer than the servers of a cluster take to choose who leads a stream, most times, and leaves time to
	// answer within GitHub's 10 s.
	publishTimeout = 8 * time.Second
	// shutdownTimeout lets requests at work end; each is bounded by the timeouts below.
	shutdownTimeout = 20 * time.Second
	// stopTimeout bounds the whole stop, less the drain delay.
	stopTimeout = shutdownTimeout + 5*time.Second

	// The timeouts of the public listener: a stranger who sends slowly holds a connection that long, and no longer.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 20 * time.Second
	idleTimeout       = time.Minute
	// maxHeaderBytes is many times what GitHub sends; net/http adds 4 KiB to it.
	maxHeaderBytes = 16 << 10
	// bodyRoom is the memory for bodies that are not decided about yet. It has room for 500 of GitHub's at once, of some 30 KiB
	// each; at 0.1 s a body that is 5,000 a second, more than one JetStream stores.
	bodyRoom = 32 << 20
	// connsPerEntry is how many connections there may be, beside those of verified webhooks at work, for each entry that the
	// room for bodies has. Twice the entries is the most that can be inside a request at once, so as many again are free to
	// give way to new ones. With bodyRoom it is 4,096 connections, of some 32 KiB each.
	connsPerEntry = 4
	// largestBodies is how many of the largest bodies have room at least, however large an operator lets them be.
	largestBodies = 4
)

// Options is what an [App] is made of. Config comes from [LoadConfig]; the zero value of everything else is for production.
type Options struct {
	Config Config
	Logger *slog.Logger
	// NATS is applied last to the connection's options.
	NATS []nats.Option
	// Listen opens the two listeners, the public one first; nil means TCP.
	Listen func(ctx context.Context, addr string) (net.Listener, error)
}

// App is one ingress.
type App struct {
	options Options
	public  net.Listener
	admin   net.Listener
	server  *http.Server
	probes  *obs.Admin
	stack   *lifecycle.Stack
	serving bool // Run has handed the listeners to their servers
}

// New returns an App that listens, but does not answer before [App.Run]. After an error nothing is left open.
func New(ctx context.Context, o Options) (_ *App, err error) {
	if o.Listen == nil {
		o.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", addr)
		}
	}
	a := &App{options: o, stack: lifecycle.New(stopTimeout)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stack.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := a.listen(ctx); err != nil {
		return nil, err
	}
	config.LogReloads(&o.Config, o.Logger)
	keys, err := webhook.NewKeys(o.Config.Secret, o.Config.SecretPrevious)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cli.ErrConfig, err)
	}
	if err := a.wire(ctx, keys); err != nil {
		return nil, err
	}
	return a, nil
}

// Addr is where webhooks go to.
func (a *App) Addr() string { return a.public.Addr().String() }

// AdminAddr is where health and metrics are.
func (a *App) AdminAddr() string { return a.admin.Addr().String() }

func (a *App) listen(ctx context.Context) (err error) {
	if a.public, err = a.options.Listen(ctx, a.options.Config.Addr); err != nil {
		return fmt.Errorf("INGRESS_ADDR: %w", err)
	}
	a.stack.Push("public listener", a.closePublic)
	if a.admin, err = a.options.Listen(ctx, a.options.Config.AdminAddr); err != nil {
		return fmt.Errorf("INGRESS_ADMIN_ADDR: %w", err)
	}
	a.stack.Push("admin listener", a.closeAdmin)
	return nil
}

// wire makes everything between the listeners and NATS.
func (a *App) wire(ctx context.Context, keys *webhook.Keys) error {
	o, svc := a.options, obs.ThisService(serviceName)
	registry := obs.NewRegistry(svc)
	tracing, flushTraces, err := obs.NewTracing(ctx, o.Config.Trace, svc, o.Logger)
	if err != nil {
		return err
	}
	a.stack.Push("tracing", flushTraces)
	room := max(bodyRoom, largestBodies*int64(o.Config.MaxBody))
	l := limits{
		conns:    limit.NewConns(connsPerEntry*int(room/limit.EntryCost) + o.Config.MaxInFlight),
		bodies:   limit.NewBodies(room),
		inFlight: limit.NewInFlight(o.Config.MaxInFlight),
	}
	m, err := newMetrics(registry, l)
	if err != nil {
		return err
	}
	source, err := openPools(o.Config.PoolsFile, o.Logger, registry)
	if err != nil {
		return err
	}
	js, checks, err := a.connect(ctx, registry)
	if err != nil {
		return err
	}
	tracer := tracing.Tracer("modal-github-runner/services/ingress")
	a.server = newServer(o.Logger, webhook.NewHandler(webhook.Options{
		Keys: keys,
		Policy: webhook.Policy{
			Route:     func(labels []string) (string, error) { return source.File().Route(labels) },
			LooksLike: func(labels []string) string { return source.File().LooksLike(labels) },
			Repos:     o.Config.AllowedRepos,
		},
		Publisher: publish.New(js, tracer, publishTimeout, m.observePublish),
		Bodies:    l.bodies,
		Sources:   limit.NewSources(o.Config.TrustedProxies, o.Config.source()),
		InFlight:  l.inFlight,
		Tenants:   limit.NewTenants(o.Config.tenant()),
		MaxBody:   int64(o.Config.MaxBody),
		Logger:    o.Logger,
		Tracer:    tracer,
		Observe:   m.observeDelivery,
	}))
	l.conns.Guard(a.server)
	a.probes = obs.NewAdmin(obs.AdminOptions{
		Registry: registry, Logger: o.Logger, Checks: checks, Pprof: o.Config.Pprof,
	})
	return nil
}

// connect begins to connect to NATS and to ensure the topology; both go on until the stack stops.
func (a *App) connect(ctx context.Context, registry prometheus.Registerer) (jetstream.JetStream, []obs.Check, error) {
	log := a.options.Logger
	conn, err := natsx.Connect(a.options.Config.NATS, natsx.Options{
		Name: serviceName, Logger: log, Registry: registry, Extra: a.options.NATS,
	})
	if err != nil {
		return nil, nil, err
	}
	a.stack.Push("nats connection", func(ctx context.Context) error { return natsx.Drain(ctx, conn) })
	js, err := natsx.JetStream(conn)
	if err != nil {
		return nil, nil, err
	}
	guard, err := natsx.NewGuard(natsx.GuardOptions{
		JS: js, Topology: wire.IngestTopology, Replicas: a.options.Config.NATS.Replicas, Log: log, Registry: registry,
	})
	if err != nil {
		return nil, nil, err
	}
	guarding, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { guard.Run(guarding) })
	a.stack.Push("topology guard", func(context.Context) error {
		stop()
		wg.Wait()
		return nil
	})
	return js, []obs.Check{
		{Name: "nats", Run: natsx.Connected(conn)},
		{Name: "topology", Run: guard.Check},
	}, nil
}

func newServer(log *slog.Logger, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// What strangers do wrong in TLS and HTTP is not worth a line each.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
