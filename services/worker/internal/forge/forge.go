// Package forge registers runners at GitHub, through go-github, as a GitHub App or with a token. It maps GitHub's
// answers to the few outcomes that the rules of package run know, once, in errors.go. It decides nothing, and is the
// only package that calls GitHub.
package forge

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

// workFolder is where a runner keeps its jobs' files, relative to itself. It is GitHub's default.
const workFolder = "_work"

// DefaultGroup is the id of GitHub's default runner group, everywhere.
const DefaultGroup = 1

// RunnerScope is where runners are registered.
type RunnerScope string

// The scopes. With ScopeOrg and ScopeEnterprise, jobs of a user's repositories still get runners of their repository: users have no
// others.
const (
	ScopeRepo       RunnerScope = "repo"
	ScopeOrg        RunnerScope = "org"
	ScopeEnterprise RunnerScope = "enterprise"
)

// UnmarshalText accepts the scopes.
func (s *RunnerScope) UnmarshalText(text []byte) error {
	switch v := RunnerScope(text); v {
	case ScopeRepo, ScopeOrg, ScopeEnterprise:
		*s = v
		return nil
	}
	return errors.New("must be repo, org or enterprise")
}

// Options is what a Forge works with.
type Options struct {
	// APIURL is GitHub's REST API, without a trailing slash.
	APIURL *url.URL
	// PublicURL, if not nil, is the API of another GitHub, which knows the runner's releases if that at APIURL does not.
	PublicURL *url.URL
	// Apps are GitHub Apps. The first is the one whose webhook brings the events, and that tells authors; registering runners and
	// all else is done by any that is installed there. Without any, Token is used.
	Apps  []App
	Token *config.SecretSource
	Scope RunnerScope
	// Enterprise is the slug of the enterprise of ScopeEnterprise, whose runners GitHub gives to no App: Token is needed.
	Enterprise string
	// GroupID is the runner group that runners join.
	GroupID int64
	// Group, if not empty, is the name of the group that runners of organizations and enterprises join instead: each has its own of
	// that name.
	Group string
	// Transport carries all requests.
	Transport http.RoundTripper
	Budget    Budget
	Metrics   *Metrics
}

// Forge calls GitHub. It is safe for concurrent use.
type Forge struct {
	Options

	callers []*caller // The Apps, or the token; never none.
	groups  groups
	origins origins
}

// New makes a Forge. It calls nobody.
func New(o Options) *Forge {
	f := &Forge{Options: o}
	for _, app := range o.Apps {
		f.callers = append(f.callers, newCaller(&f.Options, app))
	}
	if len(o.Apps) == 0 {
		f.callers = []*caller{newCaller(&f.Options, App{})}
	}
	return f
}

// Scope is where the runner of a job is registered; see run.Runner.
func (f *Forge) Scope(j run.Job) string {
	switch {
	case f.Options.Scope == ScopeOrg && j.OrgOwned:
		return j.Owner
	case f.Options.Scope == ScopeEnterprise && j.OrgOwned:
		return run.EnterpriseScope(f.Enterprise)
	}
	return j.Owner + "/" + j.Repo
}

// Register makes a registration under the runner's name, with the labels of its job as they are: GitHub adds none. It
// returns GitHub's id and the JIT configuration, or run.ErrExists if the name is taken.
func (f *Forge) Register(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	made, err := f.inGroup(ctx, r, func(group int64) (*github.JITRunnerConfig, error) { return f.generate(ctx, r, group) })
	if err != nil {
		return 0, config.Secret{}, err
	}
	if made.GetEncodedJITConfig() == "" || made.GetRunner().GetID() == 0 {
		return 0, config.Secret{}, errors.New("GitHub's answer holds no JIT configuration or no runner id")
	}
	return made.GetRunner().GetID(), config.NewSecret(made.GetEncodedJITConfig()), nil
}

func (f *Forge) generate(ctx context.Context, r run.Runner, group int64) (made *github.JITRunnerConfig, err error) {
	folder := workFolder
	req := &github.GenerateJITConfigRequest{
		Name: wire.RunnerName(r.Name.Job, r.Name.Attempt), RunnerGroupID: group, WorkFolder: &folder, Labels: r.Job.Labels,
	}
	err = f.call(inLane(ctx, LaneLaunch), r.Job, func(ctx context.Context, c *github.Client) (err error) {
		made, err = siteOf(r).generate(ctx, c, req)
		return err
	})
	return made, err
}

// Deregister removes the registration of the runner's name. Nil if there is none. For a runner that is being launched that is as urgent
// as the launch, which makes another.
func (f *Forge) Deregister(ctx context.Context, r run.Runner) error {
	name, lane := wire.RunnerName(r.Name.Job, r.Name.Attempt), LaneDelete
	if r.State == run.Launching {
		lane = LaneLaunch
	}
	return f.call(inLane(ctx, lane), r.Job, func(ctx context.Context, c *github.Client) error {
		site := siteOf(r)
		found, _, err := site.list(ctx, c, &github.ListRunnersOptions{Name: &name})
		if err != nil {
			return err
		}
		for _, runner := range found.Runners {
			if runner.GetName() != name {
				continue // The filter is GitHub's; what is deleted is ours.
			}
			if err := site.remove(ctx, c, runner.GetID()); err != nil && !isStatus(err, http.StatusNotFound) {
				return err
			}
		}
		return nil
	})
}
