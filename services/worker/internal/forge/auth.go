package forge

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

// App is a GitHub App.
type App struct {
	ID int64
	// Key is its private key, PEM, as it is now: it may be rotated while the process runs.
	Key func() config.Secret
}

// caller is who calls GitHub: an App, by its installations, or the token. Each installation has limits of its own.
type caller struct {
	*Options

	app App // Zero for the token.
	// alone says that there is no other: the installation that a webhook names is one of this App.
	alone bool

	mu      sync.Mutex
	key     config.Secret
	clients map[int64]*github.Client
	// installations are the App's, by owner/repo, or "owner/" for an organization's own.
	installations map[string]int64
	// refused is when the App was last refused for a repository, by the same names.
	refused map[string]time.Time
}

func newCaller(o *Options, app App) *caller {
	return &caller{
		Options: o, app: app, alone: len(o.Apps) < 2, clients: map[int64]*github.Client{}, installations: map[string]int64{},
		refused: map[string]time.Time{},
	}
}

// place is what an installation is looked up by.
func place(j run.Job) string { return j.Owner + "/" + j.Repo }

// client returns the client of an installation, or the token's. One client serves one installation only: go-github remembers
// rate limits per client.
func (c *caller) client(installation int64) (*github.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.app.ID != 0 {
		if key := c.app.Key(); !key.Equal(c.key) { // A rotated key: its tokens are the old key's.
			c.key = key
			clear(c.clients)
		}
	}
	if known, ok := c.clients[installation]; ok {
		return known, nil
	}
	var transport http.RoundTripper = tokenTransport{token: c.Token, next: c.budgeted("token")}
	if c.app.ID != 0 {
		app, err := c.appOver(c.budgeted("installation-" + strconv.FormatInt(installation, 10)))
		if err != nil {
			return nil, err
		}
		transport = ghinstallation.NewFromAppsTransport(app, installation)
	}
	made := c.newClient(transport)
	c.clients[installation] = made
	return made, nil
}

// forget drops the client of an installation, with the token that GitHub refuses, and that it is the one for the job's
// repository: an App that is removed and installed anew has another.
func (c *caller) forget(j run.Job, installation int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, installation)
	delete(c.installations, place(j))
}

// installation is the App's that may act for the job's repository, or for its owner if the repository is empty. A webhook
// names it, if there is no other App whose it could be; else GitHub is asked, once per repository.
func (c *caller) installation(ctx context.Context, j run.Job) (int64, error) {
	if c.app.ID == 0 || c.alone && j.Installation != 0 {
		return j.Installation, nil
	}
	c.mu.Lock()
	id, ok := c.installations[place(j)]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	app, err := c.appTransport()
	if err != nil {
		return 0, err
	}
	apps := c.newClient(app).Apps
	var found *github.Installation
	if j.Repo == "" {
		found, _, err = apps.FindOrganizationInstallation(ctx, j.Owner)
	} else {
		found, _, err = apps.FindRepositoryInstallation(ctx, j.Owner, j.Repo)
	}
	if err != nil {
		return 0, fmt.Errorf("find installation for %s: %w", place(j), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.installations[place(j)] = found.GetID()
	return found.GetID(), nil
}

// appTransport sends requests as the App itself.
func (c *caller) appTransport() (*ghinstallation.AppsTransport, error) {
	return c.appOver(c.budgeted("app-" + strconv.FormatInt(c.app.ID, 10)))
}

func (c *caller) appOver(next http.RoundTripper) (*ghinstallation.AppsTransport, error) {
	app, err := ghinstallation.NewAppsTransport(next, c.app.ID, []byte(c.app.Key().Reveal()))
	if err != nil {
		return nil, errBadKey // Jobs wait: it is ours to mend, without a restart.
	}
	app.BaseURL = c.APIURL.String()
	return app, nil
}

func (o *Options) newClient(transport http.RoundTripper) *github.Client {
	c := github.NewClient(&http.Client{Transport: transport})
	c.BaseURL = o.APIURL.JoinPath("/")
	return c
}

// budgeted sends requests that count against the caller's limits.
func (o *Options) budgeted(caller string) http.RoundTripper {
	return budgetTransport{budget: o.Budget, caller: caller, next: o.transport()}
}

func (o *Options) transport() http.RoundTripper {
	return meteredTransport{metrics: o.Metrics, next: o.Transport}
}
