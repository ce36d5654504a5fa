package pools

import (
	"strings"
	"time"

	"modal-github-runner/proto/wire"
)

// File is what a pools file says, with the defaults for what it does not say.
//
// The tags of all types here: yaml is a field's name (the fields of an embedded struct stand in the mapping of the one around
// it), doc what it is for; required makes absence an error; min and max are inclusive bounds, of a list or of pools those of how
// many there are; form names the form of a text, key that of the keys of a mapping (form.go). Lists of which all are compared with
// all are bounded, since jobs wait while a file is read again.
type File struct {
	Limit

	Prices Prices `doc:"US dollars a second; each that is absent is Modal's" yaml:"prices"`
	// Images are in the file's order; DefaultImage is none of them.
	Images []Image `doc:"what sandboxes of pools can start from, by name, beside the image default" key:"image" max:"100" min:"1" yaml:"images"`
	// Pools are in the file's order.
	Pools []Pool `doc:"by name; absent, there is the pool default for the label modal" key:"pool" max:"100" min:"1" yaml:"pools"`
	// Repositories are in the file's order; the first that matches a repository counts.
	Repositories []Repository `doc:"the first that matches counts"              max:"1000" min:"0" yaml:"repositories"`
	Owners       []Owner      `doc:"limits over all repositories of an account" max:"1000" min:"0" yaml:"owners"`
}

// Limit bounds what runs at a time and what it costs. Zero is no limit.
type Limit struct {
	// MaxSandboxes is how many sandboxes may exist at a time.
	MaxSandboxes int `doc:"sandboxes at a time; absent: no limit" max:"1000000" min:"1" yaml:"max_sandboxes"`
	// DailyBudget is what a day, from midnight to midnight UTC, may cost in US dollars.
	DailyBudget float64 `doc:"US dollars a day, in UTC; absent: no limit" max:"10000000" min:"0.01" yaml:"daily_budget_usd"`
}

// Pool is what the sandboxes of a pool get, and how many there may be. Its bounds on what a sandbox gets are far above what
// anybody was seen to get: Modal does not publish its own, and refuses what is too much with words of its own.
type Pool struct {
	// Name is as wire.CheckPoolName has it.
	Name string `yaml:"-"`
	// Labels are what a job must ask for, all of them, to go to this pool.
	Labels []string `doc:"a job that asks for all of them, and maybe for more, goes to this pool" form:"label" max:"20" min:"1" required:"true" yaml:"labels"`
	// CPU and CPULimit are physical cores; one is two virtual ones.
	CPU      float64 `doc:"physical cores that are reserved; one is two virtual ones"     max:"128" min:"0.125" yaml:"cpu"`
	CPULimit float64 `doc:"physical cores that may be used at most; absent: twice cpu" max:"256" min:"0.125" yaml:"cpu_limit"`
	// MemoryMiB is reserved, MemoryLimitMiB the most that a sandbox may use.
	MemoryMiB      int `doc:"memory that is reserved, such as 4GiB or 512MiB"      form:"memory" max:"1024GiB" min:"128MiB" yaml:"memory"`
	MemoryLimitMiB int `doc:"memory that may be used at most; absent: twice memory" form:"memory" max:"2048GiB" min:"128MiB" yaml:"memory_limit"`
	// GPU is "type" or "type:count" in Modal's words, in capitals; or empty.
	GPU string `doc:"a GPU of Modal's, such as T4, or several, such as A100-80GB:2" form:"gpu" yaml:"gpu"`
	// Timeout is when Modal ends the sandbox whatever it does: whole seconds, at most the 24 h that Modal allows.
	Timeout time.Duration `doc:"when the sandbox ends whatever it does, such as 6h15m" form:"duration" max:"24h" min:"1m" yaml:"timeout"`
	// IdleLimit is how long a runner waits for a job: whole seconds.
	IdleLimit time.Duration `doc:"how long a runner waits for a job" form:"duration" max:"1h" min:"30s" yaml:"idle_limit"`

	Limit

	// CreateRate is how many sandboxes may be created in a second, on average. Zero is no limit.
	CreateRate float64 `doc:"sandboxes created in a second, at most; absent: 5 for a pool with GPUs, else no limit" max:"1000" min:"0.01" yaml:"create_rate"`

	// Image is what its sandboxes start from.
	Image string `doc:"name of the image that its sandboxes start from, of images; absent: default" form:"image" yaml:"image"`

	// Allow is whose jobs it takes.
	Allow Admission `doc:"whose jobs it takes; absent: those of all repositories that may run" yaml:"allow"`
	// Untrusted is RefusesUntrusted, or empty for that, AllowsUntrusted, or the name of the pool that they go to.
	Untrusted string `doc:"what becomes of jobs that strangers may have written, as those of forks: refuse, allow, or the name of another pool that allows them; absent: refuse" form:"untrusted" yaml:"untrusted"`
	// DistrustPublic makes untrusted ones of all jobs of public repositories.
	DistrustPublic bool `doc:"whether jobs of public repositories are untrusted, too, although no fork's; absent: false" yaml:"distrust_public"`
	// Max is how far the labels of a job may go beyond the rest.
	Max Max `doc:"what labels with values, such as cpu:4, may ask for at most; absent: nothing" yaml:"max"`
	// Warm is how many of its sandboxes wait for a job, and when.
	Warm Warm `doc:"sandboxes that wait ahead of time for jobs whose labels choose nothing else than the pool has; each costs what it costs while it waits; absent: none" yaml:"warm"`

	Setting
}

// Repository is the part of the repositories that match.
type Repository struct {
	Match wire.RepoPattern `doc:"owner/repo, or owner/* for each repository of the account" form:"repository" required:"true" yaml:"match"`
	Share
}

// Share is the part of one repository.
type Share struct {
	// Weight is its part of what there is, against the weights of others that wait.
	Weight int `doc:"its part when sandboxes are short, against those of others; absent: 1" max:"100" min:"1" yaml:"weight"`
	// Priority goes before weight: while one of a higher priority waits, none of a lower one is served.
	Priority int `doc:"a higher one is served first, whatever the weights; absent: 0" max:"10" min:"-10" yaml:"priority"`

	Limit
}

// Owner is what all repositories of an account may have together.
type Owner struct {
	Match string `doc:"name of the account" form:"owner" required:"true" yaml:"match"`
	Limit
}

// GPUCreateRate is the default for pools with GPUs, and that of what labels such as gpu:t4 ask for in others, in sandboxes a second.
// Modal still creates their sandboxes on its older backend, which refuses more than 5 a second of a workspace
// (github.com/PrimeIntellect-ai/verifiers, issue 1639).
const GPUCreateRate = 5

// limitFactor is how much more than is reserved may be used, by default.
const limitFactor = 2

// builtIn is the pool that exists without a file, and what the fields of a pool are by default.
func builtIn() Pool {
	return Pool{
		Name: wire.DefaultPool, Labels: []string{wire.DefaultLabel},
		// As much as a runner of GitHub's own for private repositories: two virtual cores, 8 GiB. The limits keep a job
		// from being billed for, or slowed by, whatever else the machine has.
		CPU: 1, CPULimit: limitFactor * 1, MemoryMiB: 4096, MemoryLimitMiB: limitFactor * 4096,
		// GitHub's default for a job is 6 h; the rest is for the runner's start and end.
		Timeout: 6*time.Hour + 15*time.Minute,
		// GitHub assigns a queued job within seconds. Five minutes cover a slow hour, and cost a few cents.
		IdleLimit: 5 * time.Minute,
		Image:     DefaultImage,
		Setting:   Setting{Network: Network{Mode: NetworkOpen}},
	}
}

// Default returns what there is without a file: one pool for the label modal, and no limits.
func Default() *File { return &File{Prices: modalPrices(), Pools: []Pool{builtIn()}} }

// Pool returns the pool of that name.
func (f *File) Pool(name string) (Pool, bool) {
	for _, p := range f.Pools {
		if p.Name == name {
			return p, true
		}
	}
	return Pool{}, false
}

// Names are the names of the pools, in the file's order.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.Pools))
	for _, p := range f.Pools {
		names = append(names, p.Name)
	}
	return names
}

// Repository returns the share of a repository, whose name is compared without case as GitHub does.
func (f *File) Repository(owner, repo string) Share {
	for _, r := range f.Repositories {
		if account, name, _ := strings.Cut(r.Match.String(), "/"); strings.EqualFold(account, owner) && (name == "*" || strings.EqualFold(name, repo)) {
			return r.Share
		}
	}
	return Share{Weight: 1}
}

// Owner returns the limit over all repositories of an account, whose name is compared without case.
func (f *File) Owner(owner string) Limit {
	for _, o := range f.Owners {
		if strings.EqualFold(o.Match, owner) {
			return o.Limit
		}
	}
	return Limit{}
}
