package app

import (
	"cmp"
	"context"
	"fmt"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// gate says whose jobs get runners, and of which pool.
type gate struct {
	repos []wire.RepoPattern
	rules rules
	// origin asks GitHub.
	origin func(context.Context, run.Job) (run.Origin, error)
}

// admit implements Admit of launch.Options. What the job's event says of its repository can only make it be refused: GitHub need not
// be asked then.
func (g gate) admit(ctx context.Context, j run.Job) (run.Job, error) {
	if err := g.allowed(j); err != nil {
		return run.Job{}, err
	}
	origin, err := g.origin(ctx, j)
	if err != nil {
		return run.Job{}, err
	}
	j.Private = origin.Private
	if err := g.allowed(j); err != nil {
		return j, err
	}
	return g.rules.routed(j, origin.Untrusted())
}

func (g gate) allowed(j run.Job) error {
	err := wire.AdmitRepo(g.repos, j.Owner, j.Repo, j.Private)
	if err == nil {
		return nil
	}
	return &run.PermanentError{
		Err: fmt.Errorf("ALLOWED_REPOS: %w (got %q)", err, j.Owner+"/"+j.Repo), Advice: "an operator can name it there",
	}
}

// routed returns the job with the pool that takes it, once it is known whether it is trusted, or why none does. A pool that the pools
// file has no more stays for sandboxFor to tell of.
func (r rules) routed(j run.Job, untrusted string) (run.Job, error) {
	if untrusted != "" || j.Untrusted != "" { // The pool that it has now may be the one that took it as an untrusted one.
		j.Pool = cmp.Or(r.poolOf(j.Labels), j.Pool)
	}
	p, ok := r.File().Pool(j.Pool)
	if untrusted == "" && p.DistrustPublic && !j.Private {
		untrusted = "its repository is public"
	}
	if j.Untrusted = untrusted; !ok || untrusted == "" {
		return j, nil
	}
	name, ok := p.ForUntrusted()
	if !ok {
		return j, refusal(p, untrusted)
	}
	j.Pool = name
	return j, nil
}

// refusal tells the author of an untrusted job why it gets no runner.
func refusal(p pools.Pool, untrusted string) error {
	return &run.PermanentError{
		Err:    fmt.Errorf("untrusted: %s, and pool %s refuses such jobs", untrusted, p.Name),
		Advice: "an operator can change that by untrusted of the pool in the pools file",
	}
}
