package forge

import (
	"cmp"
	"context"
	"errors"
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

const (
	// accountOfToken is what the Budget calls a person's token.
	accountOfToken = "token"
	// tokenMargin is how long before it expires an installation's token is used no more: a call may take a while.
	tokenMargin = time.Minute
	// ever is longer than any process runs. An installation is looked up again once GitHub refuses it.
	ever = 100 * 365 * 24 * time.Hour
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
	clients map[int64]client
	// installations are the App's, by owner/repo, or "owner/" for an organization's own.
	installations map[string]*asked[int64]
	// refused is when the App was last refused for a repository, by the same names.
	refused map[string]time.Time
}

// client calls GitHub for one installation, or with the token. go-github remembers rate limits per client.
type client struct {
	*github.Client

	token *asked[string] // the installation's; nil with the token
}

func newCaller(o *Options, app App) *caller {
	return &caller{
		Options: o, app: app, alone: len(o.Apps) < 2, clients: map[int64]client{}, installations: map[string]*asked[int64]{},
		refused: map[string]time.Time{},
	}
}

// place is what an installation is looked up by.
func place(j run.Job) string { return j.Owner + "/" + j.Repo }

// client returns the client of an installation, or the token's.
func (c *caller) client(installation int64) (client, error) {
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
	var made client
	auth := authTransport{next: c.budgeted(c.account(installation)), authorize: c.personal}
	if c.app.ID != 0 {
		app, err := c.appTransport()
		if err != nil {
			return client{}, err
		}
		made.token = newAsked[string]()
		auth.authorize = func(ctx context.Context) (string, error) {
			token, err := made.token.get(ctx, func(ctx context.Context) (string, time.Time, error) { return c.askToken(ctx, app, installation) })
			if err != nil {
				return "", withoutToken(err)
			}
			return "token " + token, nil
		}
	}
	made.Client = c.newClient(auth)
	c.clients[installation] = made
	return made, nil
}

// account is what the Budget calls the caller.
func (c *caller) account(installation int64) string {
	if c.app.ID == 0 {
		return accountOfToken
	}
	return "installation-" + strconv.FormatInt(installation, 10)
}

// appAccount is what the Budget calls the App itself.
func (c *caller) appAccount() string { return "app-" + strconv.FormatInt(c.app.ID, 10) }

func (c *caller) personal(context.Context) (string, error) {
	return "Bearer " + c.Token.Get().Reveal(), nil
}

// askToken asks GitHub for a token of the installation. GitHub counts the request as the App's. It counts as the installation's, too:
// while that is to leave GitHub alone, it needs no token, and its requests are under way with the others.
func (c *caller) askToken(ctx context.Context, app http.RoundTripper, installation int64) (token string, until time.Time, err error) {
	done, err := c.Budget.Take(ctx, c.account(installation), requestOf(ctx, writePoints))
	if err != nil {
		return "", time.Time{}, err
	}
	defer done()
	made, resp, err := c.newClient(app).Apps.CreateInstallationToken(ctx, installation, &github.InstallationTokenOptions{})
	switch {
	case err != nil:
		return "", time.Time{}, err
	case made.GetToken() == "":
		return "", time.Time{}, errors.New("GitHub's answer holds no token")
	}
	return made.GetToken(), made.GetExpiresAt().Add(lead(resp.Header, time.Now()) - tokenMargin), nil
}

// learn draws the conclusions from a call's error: a token that GitHub refuses is not used again, and an installation that is refused
// one may be the repository's no more: an App that is removed and installed anew has another.
func (c *caller) learn(j run.Job, installation int64, used client, err error) {
	_, permanent := errors.AsType[*run.PermanentError](err)
	unauthorized := isStatus(err, http.StatusUnauthorized)
	c.mu.Lock()
	defer c.mu.Unlock()
	if unauthorized && c.clients[installation] == used {
		delete(c.clients, installation)
	}
	if known, ok := c.installations[place(j)]; ok && (unauthorized || permanent && errors.Is(err, errToken)) {
		known.forget()
	}
}

// installation is the App's that may act for the job's repository, or for its owner if the repository is empty. A webhook
// names it, if there is no other App whose it could be; else GitHub is asked, once per repository.
func (c *caller) installation(ctx context.Context, j run.Job) (int64, error) {
	if id, known := c.knownInstallation(j); known {
		return id, nil
	}
	app, err := c.appTransport()
	if err != nil {
		return 0, err
	}
	apps := c.newClient(app).Apps
	return c.asked(j).get(ctx, func(ctx context.Context) (_ int64, _ time.Time, err error) {
		var found *github.Installation
		if j.Repo == "" {
			found, _, err = apps.FindOrganizationInstallation(ctx, j.Owner)
		} else {
			found, _, err = apps.FindRepositoryInstallation(ctx, j.Owner, j.Repo)
		}
		if err != nil {
			return 0, time.Time{}, fmt.Errorf("find installation for %s: %w", place(j), err)
		}
		return found.GetID(), time.Now().Add(ever), nil
	})
}

// knownInstallation is the installation if GitHub need not be asked for it.
func (c *caller) knownInstallation(j run.Job) (id int64, known bool) {
	if c.app.ID == 0 || c.alone && j.Installation != 0 {
		return j.Installation, true
	}
	id, _, known = c.asked(j).known()
	return id, known
}

// asked is what is known of the installation for the job's repository.
func (c *caller) asked(j run.Job) *asked[int64] {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.installations[place(j)]
	if !ok {
		known = newAsked[int64]()
		c.installations[place(j)] = known
	}
	return known
}

// room returns a run.LimitedError if it is known that a runner for the job can't be registered yet, and else nil.
func (c *caller) room(ctx context.Context, j run.Job) error {
	installation, known := c.knownInstallation(j)
	if !known {
		return cmp.Or(c.asked(j).paused(), c.Budget.Room(ctx, c.appAccount(), Request{LaneLaunch, readPoints, place(j)}))
	}
	return cmp.Or(c.roomForToken(ctx, j, installation), c.Budget.Room(ctx, c.account(installation), Request{LaneLaunch, writePoints, place(j)}))
}

func (c *caller) roomForToken(ctx context.Context, j run.Job, installation int64) error {
	c.mu.Lock()
	known, ok := c.clients[installation]
	c.mu.Unlock()
	if c.app.ID == 0 {
		return nil
	}
	if ok {
		if _, _, good := known.token.known(); good {
			return nil
		}
		if err := known.token.paused(); err != nil {
			return withoutToken(err)
		}
	}
	return c.Budget.Room(ctx, c.appAccount(), Request{LaneLaunch, writePoints, place(j)})
}

// appTransport sends requests as the App itself.
func (c *caller) appTransport() (*ghinstallation.AppsTransport, error) {
	app, err := ghinstallation.NewAppsTransport(c.budgeted(c.appAccount()), c.app.ID, []byte(c.app.Key().Reveal()))
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
	return clockTransport{meteredTransport{metrics: o.Metrics, next: o.Transport}}
}
