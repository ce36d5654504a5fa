// Package fleet runs sandboxes at Modal. It is the only package that imports Modal's SDK, and maps what the SDK returns
// to the few outcomes that the rules of package run know, once, in errors.go. It decides nothing.
package fleet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	// tagWarm is warmValue on a sandbox that was to wait for a runner. Once it is one's, tagRunner has the runner's name and tagGivenAt
	// since when, as RFC 3339 says.
	tagWarm    = "warm"
	tagRunner  = "runner"
	tagGivenAt = "given-at"

	managedBy = "modal-github-runner"
	warmValue = "1"
)

//go:embed entrypoint.sh
var entrypoint string

// Entrypoint is what each sandbox runs first.
func Entrypoint() string { return entrypoint }

// Options is what a Fleet works with.
type Options struct {
	TokenID, TokenSecret *config.SecretSource
	// Environment is Modal's; empty for the workspace's default.
	Environment string
	// App is the name of the Modal App that holds the sandboxes. It is created if it does not exist.
	App string
	// Deployment is the id of all workers that share one ledger.
	Deployment func(context.Context) (string, error)
	// Images are those to be kept; nil for the default one only.
	Images func() []run.Image
	// Builds is nil if nobody else builds the same images.
	Builds Builds
	// Trials is nil if a newer release of the runner is not to be tried before all sandboxes get it.
	Trials  Trials
	Metrics *Metrics
	Log     *slog.Logger
}

// Fleet calls Modal. It is safe for concurrent use.
type Fleet struct {
	Options

	imagesMu sync.Mutex
	images   map[string]*image // by their keys

	mu         sync.Mutex
	id, secret config.Secret
	// clients holds the one for the token in force last. Those before it are kept, since calls may still be in them.
	clients []*modal.Client
}

// New makes a Fleet. It calls nobody. The address of Modal comes from MODAL_SERVER_URL, which the SDK reads itself.
func New(o Options) *Fleet {
	if o.Images == nil {
		o.Images = func() []run.Image { return []run.Image{{}} }
	}
	f := &Fleet{Options: o, images: map[string]*image{}}
	f.showLack()
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
		GRPCUnaryInterceptors: []grpc.UnaryClientInterceptor{f.Metrics.intercept, refuseUnscheduled},
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

// Find returns the id of the running sandbox of the runner, or "" if none runs: the one of its name, or else a warm one that it was to be
// given.
func (f *Fleet) Find(ctx context.Context, name run.Name) (id string, err error) {
	runner := wire.RunnerName(name.Job, name.Attempt)
	if id, err = f.find(ctx, runner); err != nil || id != "" {
		return id, err
	}
	ids, err := f.tagged(ctx, map[string]string{tagRunner: runner})
	if err != nil || len(ids) == 0 {
		return "", err
	}
	return ids[0], nil
}

// find returns the id of the running sandbox of that name at Modal, or "" if none runs.
func (f *Fleet) find(ctx context.Context, name string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client, err := f.client()
	if err != nil {
		return "", err
	}
	sandbox, err := client.Sandboxes.FromName(ctx, f.App, name, nil)
	if _, ok := errors.AsType[modal.NotFoundError](err); ok {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return sandbox.SandboxID, nil
}

// handle is the SDK's for the sandbox of that id. Whether there is one, its calls tell.
func (f *Fleet) handle(ctx context.Context, id string) (*modal.Sandbox, error) {
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	sandbox, err := client.Sandboxes.FromID(ctx, id, nil)
	if err != nil {
		return nil, fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return sandbox, nil
}

// Terminate ends a sandbox. Nil if it has ended or is not known.
func (f *Fleet) Terminate(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sandbox, err := f.handle(ctx, id)
	if err != nil {
		return err
	}
	if _, err = sandbox.Terminate(ctx, nil); err != nil && !isNotFound(err) {
		return fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return nil
}
