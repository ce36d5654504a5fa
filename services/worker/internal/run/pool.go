package run

import "time"

// Pool is what the sandboxes of a pool get. Its fields are Modal's, in Modal's units.
type Pool struct {
	Name string
	// CPU and CPULimit are physical cores; one is two virtual ones.
	CPU, CPULimit float64
	// MemoryMiB is reserved, MemoryLimitMiB the most that the sandbox may use.
	MemoryMiB, MemoryLimitMiB int
	// GPU is "type" or "type:count" in Modal's words, or empty.
	GPU string
	// Timeout is when Modal ends the sandbox whatever it does: whole seconds, above zero, at most 24 h.
	Timeout time.Duration
	// IdleLimit is how long a runner waits for a job before the sandbox ends itself.
	IdleLimit time.Duration
	// Image is what they start from. ImageAsked says that a label of the job chose it, while the pool has another one.
	Image      Image
	ImageAsked bool
	// Asked says that labels of the job chose something that Modal may refuse, in place of what the pool has.
	Asked bool
	// Regions, Cloud and Runtime ("gvisor" or "vm") are Modal's to choose if they are empty.
	Regions        []string
	Cloud, Runtime string
	// Untrusted says that jobs of forks may run there, too. Elsewhere the sandbox ends one that GitHub gave it.
	Untrusted bool
	// OnlyPrivate says that no job of a public repository may run there. The sandbox ends one that GitHub gave it.
	OnlyPrivate bool
	// Docker has the sandbox run Docker: in a virtual machine unless Runtime is gvisor.
	Docker bool
	// Env has no secrets. Secrets are names of Modal Secrets.
	Env     map[string]string
	Secrets []string
	// OIDC says that jobs can show who they are, with a token of Modal's.
	OIDC    bool
	Volumes []Volume
	// Cache is nil for none.
	Cache *Cache
	// Reach is what the sandboxes can reach; nil is everything.
	Reach *Reach
}

// Volume is a Modal Volume that exists, and where it is mounted.
type Volume struct {
	Name, Path string
	ReadOnly   bool
}

// Cache is what a repository keeps between its jobs.
type Cache struct {
	// Name tells the caches of one repository apart.
	Name string
	// SizeMiB is what each may have at most.
	SizeMiB int
	// Volume is the name of a Modal Volume, which is created if it does not exist; empty for that of the App.
	Volume   string
	ReadOnly bool
}

// Reach is hosts by their names, "*." and a name for all below, and ranges of addresses such as 10.0.0.0/8.
type Reach struct{ Domains, CIDRs []string }

// StartLimit is how long after its launch a sandbox must have started its runner. One that hangs so long, in pulling its
// image for example, would have ended itself for want of a job if it had started.
func (p Pool) StartLimit() time.Duration { return p.IdleLimit + time.Minute }

// RunnerRelease is a release of GitHub's runner for Linux on x64.
type RunnerRelease struct {
	// Version is as in "2.330.0".
	Version string `json:"version"`
	// URL is where the archive is, SHA256 its checksum in lower-case hexadecimal.
	URL         string    `json:"url"`
	SHA256      string    `json:"sha256"`
	PublishedAt time.Time `json:"published_at"`
}
