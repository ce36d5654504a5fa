package app

import (
	"fmt"
	"slices"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// rules gives the packages that know no pools file what it says now.
type rules struct {
	*pools.Source

	// github is what runners need, whatever the pools file lets them reach.
	github run.Reach
}

// Price implements places.Rules.
func (r rules) Price(j run.Job) float64 {
	f := r.File()
	p, _ := f.Pool(j.Pool)
	if fitted, err := f.Fit(p, j.Labels); err == nil { // Else there will be no sandbox.
		p = fitted
	}
	return p.PricePerSecond(f.Prices)
}

// All implements places.Rules.
func (r rules) All() places.Limit { return limitOf(r.File().Limit) }

// Pool implements places.Rules.
func (r rules) Pool(name string) (limit places.Limit, rate float64) {
	p, _ := r.File().Pool(name)
	return limitOf(p.Limit), p.CreateRate
}

// Owner implements places.Rules.
func (r rules) Owner(owner string) places.Limit { return limitOf(r.File().Owner(owner)) }

// Repo implements places.Rules.
func (r rules) Repo(owner, repo string) places.Share {
	s := r.File().Repository(owner, repo)
	return places.Share{Limit: limitOf(s.Limit), Weight: s.Weight, Priority: s.Priority}
}

func limitOf(l pools.Limit) places.Limit {
	return places.Limit{Max: l.MaxSandboxes, Budget: l.DailyBudget}
}

// names are those of the pools.
func (r rules) names() []string { return r.File().Names() }

// poolOf is the pool that labels ask for; empty if they ask for none. Of two that can't be told apart it is one, so that the job
// becomes a run, and its author can see why it is refused.
func (r rules) poolOf(labels []string) string {
	pool, _ := r.File().Route(labels)
	return pool
}

// now is the pool of a job: the one that its event names, or if the file has that no more, the one that its labels ask for. If they
// ask for none it stays, and the job's author can see why it is refused.
func (r rules) now(j run.Job) string {
	f := r.File()
	if _, ok := f.Pool(j.Pool); ok {
		return j.Pool
	}
	if pool, err := f.Route(j.Labels); err == nil && pool != "" {
		return pool
	}
	return j.Pool
}

// sandboxFor is what a sandbox for the job gets, or why it can have none.
func (r rules) sandboxFor(j run.Job) (run.Pool, error) {
	f := r.File()
	if _, err := f.Route(j.Labels); err != nil {
		return run.Pool{}, err
	}
	p, ok := f.Pool(j.Pool)
	if !ok {
		return run.Pool{}, fmt.Errorf("pool: %w (got %q)", run.ErrNoPool, j.Pool)
	}
	err := p.Admit(j.Owner, j.Repo, j.Private)
	if err != nil {
		return run.Pool{}, err
	}
	if p, err = f.Fit(p, j.Labels); err != nil {
		return run.Pool{}, err
	}
	pool := run.Pool{
		Name: p.Name, CPU: p.CPU, CPULimit: p.CPULimit, MemoryMiB: p.MemoryMiB, MemoryLimitMiB: p.MemoryLimitMiB, GPU: p.GPU,
		Timeout: p.Timeout, IdleLimit: p.IdleLimit,
		Regions: p.Regions, Cloud: p.Cloud, Runtime: p.Runtime, Env: p.Env, Secrets: p.Secrets, Reach: r.reach(p.Network),
	}
	for _, v := range p.Volumes {
		pool.Volumes = append(pool.Volumes, run.Volume(v))
	}
	return pool, nil
}

// reach is what sandboxes of that network can reach.
func (r rules) reach(n pools.Network) *run.Reach {
	if n.Mode == pools.NetworkOpen {
		return nil
	}
	return &run.Reach{Domains: slices.Concat(r.github.Domains, n.Domains), CIDRs: slices.Concat(r.github.CIDRs, n.CIDRs)}
}
