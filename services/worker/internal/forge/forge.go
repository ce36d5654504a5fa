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

// RunnerScope is where runners are registered.
type RunnerScope string

// The scopes. With ScopeOrg, jobs of a user's repositories still get runners of their repository: users have no others.
const (
	ScopeRepo RunnerScope = "repo"
	ScopeOrg  RunnerScope = "org"
)

// UnmarshalText accepts the scopes.
func (s *RunnerScope) UnmarshalText(text []byte) error {
	switch v := RunnerScope(text); v {
	case ScopeRepo, ScopeOrg:
		*s = v
		return nil
	}
	return errors.New("must be repo or org")
}

// Options is what a Forge works with.
type Options struct {
	// APIURL is GitHub's REST API, without a trailing slash.
	APIURL *url.URL
	// Apps are GitHub Apps. The first is the one whose webhook brings the events, and that tells authors; registering runners and
	// all else is done by any that is installed there. Without any, Token is used.
	Apps  []App
	Token *config.SecretSource
	Scope RunnerScope
	// GroupID is the runner group that runners join. 1 is GitHub's default group.
	GroupID int64
	// Transport carries all requests.
	Transport http.RoundTripper
	Budget    Budget
	Metrics   *Metrics
}

// Forge calls GitHub. It is safe for concurrent use.
type Forge struct {
	Options

	callers []*caller // The Apps, or the token; never none.
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
	if f.Options.Scope == ScopeOrg && j.OrgOwned {
		return j.Owner
	}
	return j.Owner + "/" + j.Repo
}

// Register makes a registration under the runner's name, with the labels of its job as they are: GitHub adds none. It
// returns GitHub's id and the JIT configuration, or run.ErrExists if the name is taken.
func (f *Forge) Register(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	folder := workFolder
	req := &github.GenerateJITConfigRequest{
		Name: wire.RunnerName(r.Name.Job, r.Name.Attempt), RunnerGroupID: f.GroupID, WorkFolder: &folder, Labels: r.Job.Labels,
	}
	var made *github.JITRunnerConfig
	err = f.call(inLane(ctx, LaneLaunch), r.Job, func(ctx context.Context, c *github.Client) (err error) {
		if f.byOrg(r) {
			made, _, err = c.Actions.GenerateOrgJITConfig(ctx, r.Job.Owner, req)
		} else {
			made, _, err = c.Actions.GenerateRepoJITConfig(ctx, r.Job.Owner, r.Job.Repo, req)
		}
		return err
	})
	if err != nil {
		return 0, config.Secret{}, err
	}
	if made.GetEncodedJITConfig() == "" || made.GetRunner().GetID() == 0 {
		return 0, config.Secret{}, errors.New("GitHub's answer holds no JIT configuration or no runner id")
	}
	return made.GetRunner().GetID(), config.NewSecret(made.GetEncodedJITConfig()), nil
}

// Deregister removes the registration of the runner's name. Nil if there is none.
func (f *Forge) Deregister(ctx context.Context, r run.Runner) error {
	name := wire.RunnerName(r.Name.Job, r.Name.Attempt)
	return f.call(inLane(ctx, LaneDelete), r.Job, func(ctx context.Context, c *github.Client) error {
		found, err := f.list(ctx, c, r, name)
		if err != nil {
			return err
		}
		for _, runner := range found.Runners {
			if runner.GetName() != name {
				continue // The filter is GitHub's; what is deleted is ours.
			}
			if err := f.remove(ctx, c, r, runner.GetID()); err != nil && !isStatus(err, http.StatusNotFound) {
				return err
			}
		}
		return nil
	})
}

func (f *Forge) list(ctx context.Context, c *github.Client, r run.Runner, name string) (*github.Runners, error) {
	opts := &github.ListRunnersOptions{Name: &name}
	if f.byOrg(r) {
		found, _, err := c.Actions.ListOrganizationRunners(ctx, r.Job.Owner, opts)
		return found, err
	}
	found, _, err := c.Actions.ListRunners(ctx, r.Job.Owner, r.Job.Repo, opts)
	return found, err
}

func (f *Forge) remove(ctx context.Context, c *github.Client, r run.Runner, id int64) error {
	if f.byOrg(r) {
		_, err := c.Actions.RemoveOrganizationRunner(ctx, r.Job.Owner, id)
		return err
	}
	_, err := c.Actions.RemoveRunner(ctx, r.Job.Owner, r.Job.Repo, id)
	return err
}

// byOrg reports whether the runner is its organization's. The record says so, since the configuration may have changed.
func (f *Forge) byOrg(r run.Runner) bool { return r.Scope == r.Job.Owner }
