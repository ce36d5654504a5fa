// Package app puts the simulator together: one GitHub, one Modal, and a side door to both for tests and the demo. It
// makes every part, starts them, and stops them in reverse.
//
// No behaviour of GitHub or Modal lives here, and nothing of the services that are tested against them may be imported.
package app

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/fakedocker"
	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/machine"
	"modal-github-runner/services/simulator/internal/fault"
)

const (
	// ModalControl is below which the paths of Modal's side door lie; GitHub's are below control.Prefix.
	ModalControl = "/control/modal"
	// Started is the log line that says that everything answers; its attributes are the addresses.
	Started = "simulator started"

	// readHeaderTimeout is generous: all clients are on this machine.
	readHeaderTimeout = 10 * time.Second
	// shutdownTimeout cuts requests that are still open at the end; runners hold long polls for up to 50 s.
	shutdownTimeout = time.Second
)

// Options of New.
type Options struct {
	// GitHubAddr, ModalAddr and ControlAddr are where to listen. The side door has no authentication: keep it on loopback.
	GitHubAddr, ModalAddr, ControlAddr string
	// Router is where Modal's command router listens besides; nil for nowhere else.
	Router *Router
	// Seed decides all chance.
	Seed uint64
	// AppID and AppKey identify the GitHub App, Tokens are personal access tokens; one of the two must be given.
	AppID  int64
	AppKey *rsa.PublicKey
	Tokens []string
	// ModalTokenID and ModalTokenSecret are the only credentials that Modal accepts.
	ModalTokenID, ModalTokenSecret string
	// WebhookURL is where the App's webhooks go, signed with WebhookSecret. Empty for none.
	WebhookURL, WebhookSecret string
	// Faults are in force from the start, in GitHub and Modal alike.
	Faults []fault.Rule
	// Exe is the program whose command "runner" is the runner that sandboxes start: cmd/simulator.
	Exe string
	Log *slog.Logger
}

// App is one simulator.
type App struct {
	// GitHub and Modal are for callers in the same process; all others use the side door.
	GitHub *fakegithub.GitHub
	Modal  *fakemodal.Server

	log     *slog.Logger
	dir     string
	github  *endpoint
	control *endpoint
	modal   []net.Listener
}

type endpoint struct {
	listener net.Listener
	server   *http.Server
}

// New makes everything and listens. The caller must call Run. After an error, which is ErrConfig for a fault that can't be,
// nothing is left.
func New(ctx context.Context, o Options) (_ *App, err error) {
	a := &App{log: o.Log}
	defer func() {
		if err != nil {
			a.discard()
		}
	}()
	if a.dir, err = os.MkdirTemp("", "simulator-"); err != nil {
		return nil, fmt.Errorf("directory for sandboxes: %w", err)
	}
	if err := a.world(o); err != nil {
		return nil, err
	}
	if err := a.GitHub.Faults.Set(o.Faults); err != nil {
		return nil, fmt.Errorf("%w: faults: %w", ErrConfig, err)
	}
	side := http.NewServeMux()
	side.Handle(control.Prefix+"/", control.New(a.GitHub))
	side.Handle(ModalControl+"/", http.StripPrefix(ModalControl, a.Modal.ControlHandler()))
	if a.github, err = listen(ctx, "GitHub", o.GitHubAddr, a.GitHub); err != nil {
		return nil, err
	}
	if a.control, err = listen(ctx, "the side door", o.ControlAddr, side); err != nil {
		return nil, err
	}
	modal, err := new(net.ListenConfig).Listen(ctx, "tcp", o.ModalAddr)
	if err != nil {
		return nil, fmt.Errorf("listen for Modal: %w", err)
	}
	a.modal = append(a.modal, modal)
	if o.Router != nil {
		router, err := o.Router.listen(ctx)
		if err != nil {
			return nil, err
		}
		a.modal = append(a.modal, router)
	}
	if o.WebhookURL != "" {
		a.GitHub.AddAppHook(o.WebhookURL, o.WebhookSecret)
	}
	return a, nil
}

// world makes GitHub, Modal, and the runner that sandboxes find in their image.
func (a *App) world(o Options) (err error) {
	home := filepath.Join(a.dir, "actions-runner")
	if err := actionsrunner.WriteDistribution(home, o.Exe); err != nil {
		return err
	}
	docker := filepath.Join(a.dir, "docker")
	if err := fakedocker.Write(docker); err != nil {
		return err
	}
	a.GitHub, err = fakegithub.New(fakegithub.Options{
		Seed: o.Seed, AppID: o.AppID, AppKey: o.AppKey, Tokens: o.Tokens, RunnerExe: o.Exe, Log: o.Log,
	})
	if err != nil {
		return fmt.Errorf("simulated GitHub: %w", err)
	}
	a.Modal, err = fakemodal.New(fakemodal.Options{
		TokenID: o.ModalTokenID, TokenSecret: o.ModalTokenSecret, Faults: a.GitHub.Faults,
		// In the same file system as the runner's home, so that a sandbox's copy of it can be made of links.
		Executor: machine.Local{
			Root: a.dir, Volumes: machine.NewVolumes(filepath.Join(a.dir, "volumes")),
			Env: map[string]string{"ACTIONS_RUNNER_HOME": home, "PATH": docker + ":" + machine.DefaultPath},
		},
		RouterURL: o.Router.url(),
	})
	return err
}

func listen(ctx context.Context, what, addr string, h http.Handler) (*endpoint, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", what, err)
	}
	return &endpoint{listener: l, server: &http.Server{Handler: h, ReadHeaderTimeout: readHeaderTimeout}}, nil
}

// GitHubURL is what a client takes for GitHub's API.
func (a *App) GitHubURL() string { return "http://" + a.github.listener.Addr().String() }

// ModalURL is what Modal's SDK takes as MODAL_SERVER_URL.
func (a *App) ModalURL() string { return "http://" + a.modal[0].Addr().String() }

// ControlURL is where the side door is.
func (a *App) ControlURL() string { return "http://" + a.control.listener.Addr().String() }

// Run serves until ctx ends, then ends every sandbox and returns nil; or until a listener fails. It is called once.
func (a *App) Run(ctx context.Context) error {
	failed := make(chan error, 2+len(a.modal)) //nolint:mnd // one for each server below
	var serving sync.WaitGroup
	serving.Go(func() { failed <- a.github.serve() })
	serving.Go(func() { failed <- a.control.serve() })
	for _, l := range a.modal {
		serving.Go(func() { failed <- a.Modal.Serve(l) })
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, Started, slog.String("github", a.GitHubURL()),
		slog.String("modal", a.ModalURL()), slog.String("control", a.ControlURL()))
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, a.stop(context.WithoutCancel(ctx)))
	serving.Wait()
	return err
}

func (e *endpoint) serve() error {
	if err := e.server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", e.listener.Addr(), err)
	}
	return nil
}

// stop ends sandboxes first: the runners in them talk to GitHub.
func (a *App) stop(ctx context.Context) error {
	a.Modal.Stop()
	a.GitHub.Close()
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	for _, e := range []*endpoint{a.github, a.control} {
		if e.server.Shutdown(ctx) != nil {
			_ = e.server.Close() // cuts what did not end in time; there is nothing to lose
		}
	}
	return os.RemoveAll(a.dir)
}

// discard undoes an incomplete New.
func (a *App) discard() {
	for _, e := range []*endpoint{a.github, a.control} {
		if e != nil {
			_ = e.listener.Close()
		}
	}
	for _, l := range a.modal {
		_ = l.Close()
	}
	if a.Modal != nil {
		a.Modal.Stop()
	}
	if a.GitHub != nil {
		a.GitHub.Close()
	}
	_ = os.RemoveAll(a.dir) // the error that is reported is the one that led here
}
