// Package app puts the worker together: it makes every part, starts them, and stops them in reverse. Nobody else makes
// an adapter, and no rule lives here.
package app

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/lifecycle"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/builds"
	"modal-github-runner/services/worker/internal/conditional"
	"modal-github-runner/services/worker/internal/control"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/rollout"
	"modal-github-runner/services/worker/internal/run"
)

// outcomeSlots is how many messages about jobs that started or ended a worker has in hand at once. Each is a few reads
// and writes of the ledger and seldom a call to GitHub and Modal.
const outcomeSlots = 32

const (
	idleConnTimeout = 90 * time.Second
	tlsTimeout      = 10 * time.Second
)

// ErrHard is the cause with which work ends that did not end within the soft stop.
var ErrHard = errors.New("the worker is being stopped")

// Options is what an [App] is made of. Config comes from [LoadConfig]; the zero value of everything but the logger is for
// production.
type Options struct {
	Config Config
	Logger *slog.Logger
	// NATS is applied last to the connection's options.
	NATS []nats.Option
	// Listen opens the admin listener; nil means TCP.
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	// DialGitHub opens the connections to GitHub; nil means TCP.
	DialGitHub func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock by which jobs and runners are judged; nil means time.Now.
	Now func() time.Time
}

// App is a worker that is ready to run.
type App struct {
	options Options

	cfg   Config
	log   *slog.Logger
	stack *lifecycle.Stack
	admin *obs.Admin
	js    jetstream.JetStream
	guard *natsx.Guard
	fleet *fleet.Fleet
	forge *forge.Forge
	// surveyor is the forge of the sweeps, which ask again and again for what seldom changes.
	surveyor *forge.Forge
	control  *control.Control
	builds   *builds.Book
	limits   limits
	records  *ledger.Ledger
	places   *places.Book
	rollout  *rollout.Rollout
	rules    rules
	metrics  *metrics
	sweeps   sweeps
	queued   func(pool string) *intake.Intake
	outcomes *intake.Intake
	addr     net.Addr
}

// New makes every part and begins to listen on the admin address. NATS, GitHub and Modal need not answer yet.
func New(ctx context.Context, o Options) (a *App, err error) {
	if o.Listen == nil {
		o.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", addr)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	cfg, log := o.Config, o.Logger
	config.LogReloads(&cfg, log)
	a = &App{options: o, cfg: cfg, log: log, stack: lifecycle.New(releaseAllowance)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stack.Stop(context.WithoutCancel(ctx)))
		}
	}()
	svc := obs.ThisService(serviceName)
	registry := obs.NewRegistry(svc)
	tracing, flush, err := obs.NewTracing(ctx, cfg.Trace, svc, log)
	if err != nil {
		return nil, err
	}
	a.stack.Push("tracing", flush)
	conn, err := a.connect(registry)
	if err != nil {
		return nil, err
	}
	a.sayWhoHasNoCache()
	a.guard, err = natsx.NewGuard(natsx.GuardOptions{
		JS: a.js, Topology: func() wire.Topology { return wire.JobsTopology(a.rules.names()) },
		Replicas: cfg.NATS.Replicas, AddReplicas: true, Log: log, Registry: registry,
	})
	if err != nil {
		return nil, err
	}
	if a.metrics, err = newMetrics(registry); err != nil {
		return nil, err
	}
	publisher := intake.NewPublisher(a.js)
	launcher := launch.New(launch.Options{
		Ledger: a.records, Forge: a.forge, Authors: a.forge, Fleet: a.fleet, Queue: publisher,
		Places: a.places, Rules: a.rules, Observer: a.metrics, PoolOf: a.rules.sandboxFor, Tracer: tracing.Tracer(serviceName), Log: log,
		Admit: gate{a.cfg.AllowedRepos, a.rules, a.forge.Origin}.admit, Ready: a.ready, Tried: a.rollout.Tried, Now: o.Now,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), //nolint:gosec // jitter is no secret
	})
	options := intake.Options{
		JS: a.js, Publisher: publisher, Observer: a.metrics, Tracer: tracing.Tracer(serviceName), Log: log, Handler: launcher, PoolOf: a.rules.now,
	}
	a.queued = func(pool string) *intake.Intake { return intake.New(options, wire.QueuedConsumer(pool), cfg.Launches) }
	a.outcomes = intake.New(options, wire.ConsumerOutcomes, outcomeSlots)
	a.sweeps = a.newSweeps(launcher, publisher)
	questions := adminapi.New(adminapi.Options{
		Ledger: a.records, Queue: intake.NewReader(a.js), Handler: launcher, Places: a.places, Rules: a.rules, Pools: a.rules.names,
		Capped: a.rules.capped, Sandboxes: a.fleet, Log: log,
	})
	return a, a.listen(ctx, registry, conn, questions)
}

// connect makes what speaks to NATS, GitHub and Modal.
func (a *App) connect(registry *prometheus.Registry) (*nats.Conn, error) {
	conn, err := natsx.Connect(a.cfg.NATS, natsx.Options{Name: serviceName, Logger: a.log, Registry: registry, Extra: a.options.NATS})
	if err != nil {
		return nil, err
	}
	a.stack.Push("nats", func(ctx context.Context) error { return natsx.Drain(ctx, conn) })
	if a.js, err = natsx.JetStream(conn); err != nil {
		return nil, err
	}
	source, err := openPools(a.cfg.PoolsFile, a.log, registry)
	if err != nil {
		return nil, err
	}
	a.rules = rules{source, forge.Reach(a.cfg.apiURL()), func(i run.Image) bool { return a.fleet.TrialDue(i) }}
	a.control, a.builds = control.New(a.js), builds.New(a.js, crand.Text(), a.log)
	a.records, a.places = ledger.New(a.js), places.NewBook(a.js)
	return conn, a.adapters(registry)
}

func (a *App) adapters(registry *prometheus.Registry) error {
	github, err := forge.NewMetrics(registry)
	if err != nil {
		return err
	}
	if a.limits, err = newLimits(a.js, registry, a.log); err != nil {
		return err
	}
	// As http.DefaultTransport, proxies included, with idle connections for a whole burst of launches.
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DialContext: a.options.DialGitHub,
		MaxIdleConnsPerHost: a.cfg.Launches, IdleConnTimeout: idleConnTimeout, TLSHandshakeTimeout: tlsTimeout,
	}
	a.stack.Push("github", func(context.Context) error { transport.CloseIdleConnections(); return nil })
	options := forge.Options{
		APIURL: a.cfg.apiURL(), PublicURL: a.cfg.publicURL(), Apps: a.cfg.apps(), Token: a.cfg.GitHubToken,
		Scope: a.cfg.RunnerScope, Enterprise: a.cfg.Enterprise, Group: a.cfg.RunnerGroup, GroupID: cmp.Or(a.cfg.RunnerGroupID, forge.DefaultGroup),
		Transport: transport, Budget: a.limits, Metrics: github,
	}
	a.forge = forge.New(options)
	options.Transport = conditional.New(transport)
	a.surveyor = forge.New(options)
	modal, err := fleet.NewMetrics(registry)
	if err != nil {
		return err
	}
	if a.rollout, err = a.newRollout(registry); err != nil {
		return err
	}
	a.fleet = fleet.New(fleet.Options{
		TokenID: a.cfg.ModalTokenID, TokenSecret: a.cfg.ModalTokenSecret,
		Environment: a.cfg.ModalEnvironment, App: a.cfg.ModalApp, Deployment: a.control.Deployment,
		Images: a.rules.images, Builds: a.builds, Trials: a.rollout, Metrics: modal, Log: a.log,
	})
	a.stack.Push("modal", func(context.Context) error { a.fleet.Close(); return nil })
	return nil
}

func (a *App) listen(ctx context.Context, registry *prometheus.Registry, conn *nats.Conn, questions *adminapi.API) error {
	listener, err := a.options.Listen(ctx, a.cfg.Admin.Addr)
	if err != nil {
		return fmt.Errorf("WORKER_ADMIN_ADDR: %w", err)
	}
	a.addr = listener.Addr()
	a.admin = obs.NewAdmin(obs.AdminOptions{
		Registry: registry, Logger: a.log, Pprof: a.cfg.Admin.Pprof,
		// Neither GitHub nor Modal: an outage of theirs must not take workers out of service, it shows in the metrics.
		Checks: []obs.Check{{Name: "nats", Run: natsx.Connected(conn)}, {Name: "topology", Run: a.guard.Check}},
	})
	questions.Mount(a.admin.Handle)
	a.admin.Serve(listener)
	a.stack.Push("admin", a.admin.Shutdown)
	return nil
}

// ready returns nil if there is an image that the job's sandbox can start from. Of a job that can have none, launching tells why.
func (a *App) ready(j run.Job) error {
	pool, err := a.rules.sandboxFor(j)
	if err != nil {
		return nil //nolint:nilerr // as said
	}
	return a.fleet.Ready(pool)
}

// Addr is where the admin listener listens.
func (a *App) Addr() net.Addr { return a.addr }

// Run works until ctx ends, then stops: first no new messages, then, after the soft stop, no more work on those in hand.
// What is not done by then is another worker's. It returns an error only if stopping did not go well.
func (a *App) Run(ctx context.Context) error {
	working, hard := context.WithCancelCause(context.WithoutCancel(ctx))
	defer hard(ErrHard)
	background, cancel := context.WithCancel(working)
	defer cancel()

	var keeping, pulling sync.WaitGroup
	keeping.Go(func() { a.guard.Run(background) })
	keeping.Go(func() { a.limits.Run(background) })
	keeping.Go(func() {
		select {
		case <-ctx.Done():
		case <-a.guard.Verified(): // What is built already is on record there.
			keeping.Go(func() { a.rollout.Run(background) })
			a.fleet.KeepImages(background, a.releases())
		}
	})
	keeping.Go(func() {
		select {
		case <-ctx.Done():
		case <-a.guard.Verified():
			a.lead(ctx)
		}
	})
	pulling.Go(func() {
		select {
		case <-ctx.Done():
		case <-a.guard.Verified():
			pulling.Go(func() { a.servePools(ctx, working) })
			a.outcomes.Run(ctx, working)
		}
	})
	a.log.LogAttrs(ctx, slog.LevelInfo, "worker started", slog.String("admin_addr", a.addr.String()), slog.String("github", a.cfg.apiURL().Host))

	<-ctx.Done()
	a.admin.Drain()
	a.log.LogAttrs(ctx, slog.LevelInfo, "worker stopping", slog.Any("cause", context.Cause(ctx)), slog.Duration("soft_stop", a.cfg.SoftStop))
	timer := time.AfterFunc(a.cfg.SoftStop, func() { hard(ErrHard) })
	defer timer.Stop()
	pulling.Wait()
	cancel()
	keeping.Wait()
	err := a.stack.Stop(context.WithoutCancel(ctx)) // Bounded by itself; a hard stop of the work is none of it.
	a.log.LogAttrs(ctx, slog.LevelInfo, "worker stopped", slog.Any("err", err))
	return err
}
