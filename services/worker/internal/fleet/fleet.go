// Package fleet runs sandboxes at Modal. It is the only package that imports Modal's SDK, and maps what the SDK returns
// to the few outcomes that the rules of package run know, once, in errors.go. It decides nothing.
package fleet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// callTimeout bounds a call that does not create; the SDK sets no bound of its own.
	callTimeout = 15 * time.Second
	// createTimeout bounds one create call, so that run.LaunchTimeout leaves room for a second.
	createTimeout = 20 * time.Second
)

// Tags of our sandboxes. Their names and values are what the sweeps and a person at Modal's dashboard look for.
const (
	tagManaged = "managed-by"
	tagRepo    = "repository"
	tagJob     = "job-id"
	tagPool    = "pool"
	// tagDeployment tells the sandboxes of one deployment from those of others that share the Modal App.
	tagDeployment = "deployment"

	managedBy = "modal-github-runner"
)

//go:embed entrypoint.sh
var entrypoint string

// Options is what a Fleet works with.
type Options struct {
	TokenID, TokenSecret *config.SecretSource
	// Environment is Modal's; empty for the workspace's default.
	Environment string
	// App is the name of the Modal App that holds the sandboxes. It is created if it does not exist.
	App string
	// Deployment is the id of all workers that share one ledger.
	Deployment func(context.Context) (string, error)
	Metrics    *Metrics
	Log        *slog.Logger
}

// Fleet calls Modal. It is safe for concurrent use.
type Fleet struct {
	Options

	image atomic.Pointer[built]
	lost  chan error           // why image was forgotten; holds one
	lack  atomic.Pointer[lack] // the present one, or the last that there was

	mu         sync.Mutex
	id, secret config.Secret
	// clients holds the one for the token in force last. Those before it are kept, since calls may still be in them.
	clients []*modal.Client
}

// built is the image that sandboxes start from, and the App that it was built for.
type built struct {
	app     *modal.App
	image   *modal.Image
	version string
}

// lack is a time without an image, and why there is none.
type lack struct {
	since time.Time
	cause string // for people
}

// New makes a Fleet. It calls nobody. The address of Modal comes from MODAL_SERVER_URL, which the SDK reads itself.
func New(o Options) *Fleet {
	f := &Fleet{Options: o, lost: make(chan error, 1)}
	f.lack.Store(&lack{since: time.Now(), cause: "it is being built"})
	f.Metrics.paused.Set(1)
	return f
}

// client returns the client for the token in force.
func (f *Fleet) client() (*modal.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, secret := f.TokenID.Get(), f.TokenSecret.Get()
	if len(f.clients) > 0 && id.Equal(f.id) && secret.Equal(f.secret) {
		return f.clients[len(f.clients)-1], nil
	}
	noWait := time.Duration(0) // Throttled calls return, instead of blocking for as long as Modal likes.
	client, err := modal.NewClientWithOptions(&modal.ClientParams{
		TokenID: id.Reveal(), TokenSecret: secret.Reveal(), Environment: f.Environment,
		Logger: f.Log, MaxThrottleWait: &noWait,
		GRPCUnaryInterceptors: []grpc.UnaryClientInterceptor{f.Metrics.intercept},
	})
	if err != nil {
		return nil, fmt.Errorf("modal client: %w", err)
	}
	f.id, f.secret, f.clients = id, secret, append(f.clients, client)
	return client, nil
}

// Close releases the connections to Modal.
func (f *Fleet) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.clients {
		c.Close()
	}
	f.clients = nil
}

// Create starts the sandbox of the runner under the runner's name. It returns run.ErrExists if one of that name runs,
// and a run.LimitedError, around run.ErrNoImage with the reason, for as long as the image is not built, or Modal has lost it
// or its App; after any other error there may be a sandbox.
func (f *Fleet) Create(ctx context.Context, r run.Runner, p run.Pool, jit config.Secret) (id string, err error) {
	from := f.image.Load()
	if from == nil {
		return "", f.noImage()
	}
	if p.Timeout < time.Second { // Modal takes none for its default, which is five minutes.
		return "", &run.PermanentError{
			Err: fmt.Errorf("pool %s: timeout: must be at least 1s (got %v)", p.Name, p.Timeout), Advice: "the pool's definition is to be mended",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	deployment, err := f.Deployment(ctx)
	if err != nil {
		return "", fmt.Errorf("deployment: %w", err)
	}
	client, err := f.client()
	if err != nil {
		return "", err
	}
	params, err := paramsFor(ctx, client, p)
	if err != nil {
		return "", err
	}
	params.Name = wire.RunnerName(r.Name.Job, r.Name.Attempt)
	params.Tags = map[string]string{
		tagManaged: managedBy, tagRepo: r.Job.Owner + "/" + r.Job.Repo, tagJob: strconv.FormatInt(r.Job.ID, 10), tagPool: p.Name,
		tagDeployment: deployment,
	}
	params.Env["ACTIONS_RUNNER_INPUT_JITCONFIG"] = jit.Reveal()
	sandbox, err := client.Sandboxes.Create(ctx, from.app, from.image, params)
	if err != nil {
		return "", fmt.Errorf("modal: %w", f.createError(from, err))
	}
	return sandbox.SandboxID, nil
}

// Find returns the id of the running sandbox of that name, or "" if none runs.
func (f *Fleet) Find(ctx context.Context, name run.Name) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client, err := f.client()
	if err != nil {
		return "", err
	}
	sandbox, err := client.Sandboxes.FromName(ctx, f.App, wire.RunnerName(name.Job, name.Attempt), nil)
	if _, ok := errors.AsType[modal.NotFoundError](err); ok {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return sandbox.SandboxID, nil
}

// Terminate ends a sandbox. Nil if it has ended or is not known.
func (f *Fleet) Terminate(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client, err := f.client()
	if err != nil {
		return err
	}
	sandbox, err := client.Sandboxes.FromID(ctx, id, nil)
	if err != nil {
		return fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	if _, err = sandbox.Terminate(ctx, nil); err != nil && !isNotFound(err) {
		return fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return nil
}
