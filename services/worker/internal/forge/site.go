package forge

import (
	"context"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// site is where a runner is registered: a repository, an organization if repo is empty, or an enterprise, if that is not empty. Its
// methods are the calls for the runners there.
type site struct{ enterprise, owner, repo string }

// siteOf is where the record says that the runner is registered, since the configuration may have changed.
func siteOf(r run.Runner) site {
	if slug, ok := run.EnterpriseOf(r.Scope); ok {
		return site{enterprise: slug}
	}
	if r.Scope == r.Job.Owner {
		return site{owner: r.Job.Owner}
	}
	return site{owner: r.Job.Owner, repo: r.Job.Repo}
}

// hasGroups reports whether it has runner groups of its own.
func (s site) hasGroups() bool { return s.repo == "" }

// String is for an operator.
func (s site) String() string {
	switch {
	case s.enterprise != "":
		return "enterprise " + s.enterprise
	case s.repo == "":
		return "organization " + s.owner
	}
	return s.owner + "/" + s.repo
}

func (s site) generate(ctx context.Context, c *github.Client, req *github.GenerateJITConfigRequest) (made *github.JITRunnerConfig, err error) {
	switch {
	case s.enterprise != "":
		made, _, err = c.Enterprise.GenerateEnterpriseJITConfig(ctx, s.enterprise, req)
	case s.repo == "":
		made, _, err = c.Actions.GenerateOrgJITConfig(ctx, s.owner, req)
	default:
		made, _, err = c.Actions.GenerateRepoJITConfig(ctx, s.owner, s.repo, req)
	}
	return made, err
}

func (s site) list(ctx context.Context, c *github.Client, opts *github.ListRunnersOptions) (*github.Runners, *github.Response, error) {
	switch {
	case s.enterprise != "":
		return c.Enterprise.ListRunners(ctx, s.enterprise, opts)
	case s.repo == "":
		return c.Actions.ListOrganizationRunners(ctx, s.owner, opts)
	}
	return c.Actions.ListRunners(ctx, s.owner, s.repo, opts)
}

func (s site) remove(ctx context.Context, c *github.Client, id int64) (err error) {
	switch {
	case s.enterprise != "":
		_, err = c.Enterprise.RemoveRunner(ctx, s.enterprise, id)
	case s.repo == "":
		_, err = c.Actions.RemoveOrganizationRunner(ctx, s.owner, id)
	default:
		_, err = c.Actions.RemoveRunner(ctx, s.owner, s.repo, id)
	}
	return err
}

// groups are the runner groups that it has, a page of them.
func (s site) groups(ctx context.Context, c *github.Client, opts github.ListOptions) (p page[group], err error) {
	if s.enterprise != "" {
		found, resp, err := c.Enterprise.ListRunnerGroups(ctx, s.enterprise, &github.ListEnterpriseRunnerGroupOptions{ListOptions: opts})
		if err != nil {
			return p, err
		}
		p.total, p.next = found.GetTotalCount(), resp.NextPage
		for _, g := range found.RunnerGroups {
			p.items = append(p.items, group{g.GetID(), g.GetName()})
		}
		return p, nil
	}
	found, resp, err := c.Actions.ListOrganizationRunnerGroups(ctx, s.owner, &github.ListOrgRunnerGroupOptions{ListOptions: opts})
	if err != nil {
		return p, err
	}
	p.total, p.next = found.TotalCount, resp.NextPage
	for _, g := range found.RunnerGroups {
		p.items = append(p.items, group{g.GetID(), g.GetName()})
	}
	return p, nil
}

// group is a runner group.
type group struct {
	id   int64
	name string
}
