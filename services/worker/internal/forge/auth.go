package forge

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// client returns the client of an installation, or the token's if no App is configured. One client serves one
// installation only: go-github remembers rate limits per client.
func (f *Forge) client(installation int64) (*github.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if key := f.AppKey.Get(); f.AppID != 0 && !key.Equal(f.key) { // A rotated key: its tokens are the old key's.
		f.key = key
		clear(f.clients)
	}
	if c, ok := f.clients[installation]; ok {
		return c, nil
	}
	var transport http.RoundTripper = tokenTransport{token: f.Token, next: f.budgeted("token")}
	if f.AppID != 0 {
		app, err := f.appOver(f.budgeted("installation-" + strconv.FormatInt(installation, 10)))
		if err != nil {
			return nil, err
		}
		transport = ghinstallation.NewFromAppsTransport(app, installation)
	}
	c := f.newClient(transport)
	f.clients[installation] = c
	return c, nil
}

// forget drops the client of an installation, with the token that GitHub refuses, and that it is the one for the job's
// repository: an App that is removed and installed anew has another.
func (f *Forge) forget(j run.Job, installation int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.clients, installation)
	delete(f.installations, j.Owner+"/"+j.Repo)
}

// installation is the one that may act for the job's repository. The webhook of an App names it; for a hook of a
// repository or an organization GitHub is asked, once per repository.
func (f *Forge) installation(ctx context.Context, j run.Job) (int64, error) {
	if f.AppID == 0 || j.Installation != 0 {
		return j.Installation, nil
	}
	repo := j.Owner + "/" + j.Repo
	f.mu.Lock()
	id, ok := f.installations[repo]
	f.mu.Unlock()
	if ok {
		return id, nil
	}
	app, err := f.appTransport()
	if err != nil {
		return 0, err
	}
	found, _, err := f.newClient(app).Apps.FindRepositoryInstallation(ctx, j.Owner, j.Repo)
	if err != nil {
		return 0, fmt.Errorf("find installation for %s: %w", repo, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.installations[repo] = found.GetID()
	return found.GetID(), nil
}

// appTransport sends requests as the App itself.
func (f *Forge) appTransport() (*ghinstallation.AppsTransport, error) {
	return f.appOver(f.budgeted("app-" + strconv.FormatInt(f.AppID, 10)))
}

func (f *Forge) appOver(next http.RoundTripper) (*ghinstallation.AppsTransport, error) {
	app, err := ghinstallation.NewAppsTransport(next, f.AppID, []byte(f.AppKey.Get().Reveal()))
	if err != nil {
		return nil, errBadKey // Jobs wait: it is ours to mend, without a restart.
	}
	app.BaseURL = f.APIURL.String()
	return app, nil
}

func (f *Forge) newClient(transport http.RoundTripper) *github.Client {
	c := github.NewClient(&http.Client{Transport: transport})
	c.BaseURL = f.APIURL.JoinPath("/")
	return c
}

// budgeted sends requests that count against the caller's limits.
func (f *Forge) budgeted(caller string) http.RoundTripper {
	return budgetTransport{budget: f.Budget, caller: caller, next: f.transport()}
}

func (f *Forge) transport() http.RoundTripper {
	return meteredTransport{metrics: f.Metrics, next: f.Transport}
}
