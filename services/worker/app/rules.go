package app

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// rules gives the packages that know no pools file what it says now.
type rules struct {
	*pools.Source

	// github is what runners need, whatever the pools file lets them reach.
	github run.Reach
	// trialDue says that the next sandbox that is created from the image is to try a newer release of the runner.
	trialDue func(run.Image) bool
}

// Sandbox implements places.Rules. Labels that choose out of a list make a kind of their own; of sizes and times there are too many, and
// Modal has room for one as for another.
func (r rules) Sandbox(j run.Job) places.Sandbox {
	f := r.File()
	own, _ := f.Pool(j.Pool)
	p, err := f.Fit(own, j.Labels)
	if err != nil { // There will be no sandbox.
		p = own
	}
	s := places.Sandbox{
		Price: p.PricePerSecond(f.Prices), Timeout: p.Timeout, StartLimit: run.Pool{IdleLimit: p.IdleLimit}.StartLimit(),
	}
	var chosen []string
	if p.GPU != own.GPU {
		chosen = append(chosen, "gpu:"+p.GPU)
		if own.GPU == "" {
			s.Rate = pools.GPUCreateRate
		}
	}
	if p.Image != own.Image {
		chosen = append(chosen, "image:"+p.Image)
	}
	if !slices.Equal(p.Regions, own.Regions) {
		chosen = append(chosen, "region:"+strings.Join(p.Regions, ","))
	}
	if p.Docker != own.Docker {
		chosen = append(chosen, "docker")
	}
	if len(chosen) > 0 {
		s.Kind = p.Name + " " + strings.Join(chosen, " ")
	}
	if own.Warm.Count > 0 && !asked(own, p) {
		s.Spec = r.specFor(j)
	}
	return s
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

// looksLike is the pool that labels of no pool only look like they ask for; empty for none.
func (r rules) looksLike(labels []string) string { return r.File().LooksLike(labels) }

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
	if j.Untrusted != "" && p.Untrusted != pools.AllowsUntrusted { // It did when the job was sent there.
		return run.Pool{}, refusal(p, j.Untrusted)
	}
	err := p.Admit(j.Owner, j.Repo, j.Private)
	if err != nil {
		return run.Pool{}, err
	}
	own := p
	if p, err = f.Fit(p, j.Labels); err != nil {
		return run.Pool{}, err
	}
	return r.made(f, p, own), nil
}

// made is what the sandboxes get of a pool that labels made of own.
func (r rules) made(f *pools.File, p, own pools.Pool) run.Pool {
	pool := run.Pool{
		Name: p.Name, CPU: p.CPU, CPULimit: p.CPULimit, MemoryMiB: p.MemoryMiB, MemoryLimitMiB: p.MemoryLimitMiB, GPU: p.GPU,
		Timeout: p.Timeout, IdleLimit: p.IdleLimit, Image: imageOf(f, p.Image), ImageAsked: p.Image != own.Image, Asked: asked(own, p),
		Regions: p.Regions, Cloud: p.Cloud, Runtime: p.Runtime, Docker: p.Docker,
		Untrusted: p.Untrusted == pools.AllowsUntrusted, OnlyPrivate: p.DistrustPublic && p.Untrusted != pools.AllowsUntrusted,
		Env: p.Env, Secrets: p.Secrets, OIDC: p.OIDC, Reach: r.reach(p.Network),
	}
	if p.Cache.SizeMiB != 0 {
		pool.Cache = new(run.Cache(p.Cache))
	}
	for _, v := range p.Volumes {
		pool.Volumes = append(pool.Volumes, run.Volume(v))
	}
	return pool
}

// asked reports whether a pool fitted to a job's labels asks Modal for something else than the pool itself does. The name of a cache is a
// path, which Modal takes whatever it is.
func asked(own, fitted pools.Pool) bool {
	own.Cache.Name = fitted.Cache.Name
	return !reflect.DeepEqual(own, fitted)
}

// capped says what an untrusted job gets less of in its pool than its labels ask for.
func (r rules) capped(j run.Job) []string {
	f := r.File()
	p, _ := f.Pool(j.Pool)
	return f.Capped(p, j.Labels)
}

// images are all that sandboxes may start from.
func (r rules) images() []run.Image {
	f := r.File()
	var images []run.Image
	if f.UsesDefaultImage() {
		images = append(images, run.Image{})
	}
	for _, i := range f.Images {
		images = append(images, imageOf(f, i.Name))
	}
	return images
}

// imageOf is the image of that name; for the default one, and of none, it is the default one.
func imageOf(f *pools.File, name string) run.Image {
	i, ok := f.Image(name)
	if !ok {
		return run.Image{}
	}
	return run.Image{Name: i.Name, Registry: i.Registry, Modal: i.Modal, Steps: i.Steps, RegistrySecret: i.RegistrySecret, Login: i.RegistryLogin}
}

// reach is what sandboxes of that network can reach.
func (r rules) reach(n pools.Network) *run.Reach {
	if n.Mode == pools.NetworkOpen {
		return nil
	}
	return &run.Reach{Domains: slices.Concat(r.github.Domains, n.Domains), CIDRs: slices.Concat(r.github.CIDRs, n.CIDRs)}
}
