package pools

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Setting is where the sandboxes of a pool run, and what they find and reach there. Every job of the pool can read all of it, and
// so can whoever may change a workflow of its repositories.
type Setting struct {
	// Regions are Modal's names, such as us-east or eu; of several, Modal takes one.
	Regions []string `doc:"regions of Modal's, such as us-east; it charges more for them (prices.region_factor); absent: Modal's choice" form:"region" max:"20" min:"1" yaml:"regions"`
	Cloud   string   `doc:"a cloud in Modal's words, such as aws, gcp or oci; absent: Modal's choice" form:"cloud" yaml:"cloud"`
	// Runtime is gvisor, vm, or empty for Modal's choice.
	Runtime string `doc:"gvisor or vm, a virtual machine, which Modal grants to some workspaces; absent: Modal's choice, for Docker a vm" form:"runtime" yaml:"runtime"`
	// Docker is as Runtime has it: in a virtual machine as on any other, in gVisor by an option of Modal's that it calls experimental.
	Docker bool `doc:"whether Docker runs in its sandboxes, for docker commands, services and container actions; absent: false" yaml:"docker"`
	// Env is no place for secrets: the file is configuration, and shown as such.
	Env map[string]string `doc:"variables of every job; never secrets, which the file would show" form:"value" key:"variable" yaml:"env"`
	// Secrets are names of Modal Secrets.
	Secrets []string `doc:"names of Modal Secrets whose variables every job of the pool can read" form:"object" max:"20" min:"1" yaml:"secrets"`
	OIDC    bool     `doc:"whether jobs get MODAL_IDENTITY_TOKEN, by which clouds that are set up to trust Modal know them; absent: false" yaml:"oidc"`
	// Volumes are in the file's order.
	Volumes []Volume `doc:"Modal Volumes that exist, by name" key:"object" max:"20" min:"1" yaml:"volumes"`
	// Cache is mounted at CachePath.
	Cache   Cache   `doc:"what each repository keeps between its jobs at /cache, with the caches of npm, pip, Go and tools; absent: nothing" yaml:"cache"`
	Network Network `doc:"what its sandboxes can reach; absent: everything" yaml:"network"`
}

// Volume is a Modal Volume in a pool's sandboxes.
type Volume struct {
	Name string `yaml:"-"`
	// Path is absolute, and nothing that the system or the runner needs.
	Path     string `doc:"where it is mounted" form:"path" required:"true" yaml:"path"`
	ReadOnly bool   `doc:"whether jobs can't change it; absent: false" yaml:"read_only"`
}

// The modes of a Network. Modal can cut a sandbox off for good, too, but no runner can do anything without GitHub.
const (
	NetworkOpen  = "open"
	NetworkBlock = "block"
	NetworkAllow = "allow"
)

// Network is what sandboxes can reach. What the runner needs of GitHub is always within reach, unless all is.
type Network struct {
	Mode string `doc:"open: everything; block: only what the runner needs of GitHub; allow: that, domains and cidrs" form:"network" required:"true" yaml:"mode"`
	// Domains may begin with "*." for all below.
	Domains []string `doc:"with mode allow: names of hosts, or *.example.com for all below" form:"domain" max:"100" min:"1" yaml:"domains"`
	CIDRs   []string `doc:"with mode allow: ranges of addresses, such as 10.0.0.0/8" form:"cidr" max:"100" min:"1" yaml:"cidrs"`
}

// reserved begin the names of variables that the entrypoint of a sandbox, or the runner, sets or reads. RUNNER_TOOL_CACHE is
// meant for operators.
var reserved = []string{"ACTIONS_RUNNER_", "RUNNER_", "MODAL_"} //nolint:gochecknoglobals // a constant

// system are the directories over which nothing may be mounted, nor over what they are in: Modal refuses /, /root and /tmp, and
// without the others neither the system nor the runner (/opt/actions-runner) works. The temporary directories are the jobs' own.
var system = []string{ //nolint:gochecknoglobals // a constant
	"/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt/actions-runner", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr",
	"/var/lib", "/var/tmp",
}

// minMachineMiB is the least memory of a virtual machine (modal.com/docs/guide/vm-sandboxes).
const minMachineMiB = 1024

// isMachine reports whether sandboxes are virtual machines for sure: Docker is in one unless the pool wants gVisor.
func (s Setting) isMachine() bool { return s.Runtime == "vm" || s.Docker && s.Runtime == "" }

// check applies the rules across the fields of a setting.
func (s Setting) check(r *reader, at string) {
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if name != "RUNNER_TOOL_CACHE" && slices.ContainsFunc(reserved, func(p string) bool { return strings.HasPrefix(name, p) }) {
			r.across(join(at+"env", name), "must not be a variable of the runner's or of Modal's ("+strings.Join(reserved, "..., ")+"...)", "")
		}
	}
	for _, twice := range repeated(s.Secrets) {
		r.across(at+"secrets", "must not have a name twice", fmt.Sprintf("%q", twice))
	}
	for i, v := range s.Volumes {
		path := join(at+"volumes", v.Name) + ".path"
		if slices.ContainsFunc(system, func(dir string) bool { return within(dir, v.Path) }) {
			r.across(path, "must not hide what the system or the runner needs", fmt.Sprintf("%q", v.Path), path)
		}
		for _, other := range s.Volumes[:i] {
			if within(v.Path, other.Path) || within(other.Path, v.Path) {
				r.across(path, "must be apart from that of "+other.Name+", which is "+other.Path, fmt.Sprintf("%q", v.Path),
					path, join(at+"volumes", other.Name)+".path")
			}
		}
	}
	switch listed := len(s.Network.Domains)+len(s.Network.CIDRs) > 0; {
	case s.Network.Mode == NetworkAllow && !listed:
		r.across(at+"network", "must have domains or cidrs for mode allow", "", at+"network.domains", at+"network.cidrs")
	case s.Network.Mode != NetworkAllow && listed:
		r.across(at+"network", "must have mode allow for domains and cidrs", fmt.Sprintf("%q", s.Network.Mode), at+"network.mode")
	}
}

// within reports whether a directory is the other or in it.
func within(dir, other string) bool { return dir == other || strings.HasPrefix(dir, other+"/") }

// repeated are the texts that come more than once. Those that can't be read are empty, and none of them.
func repeated(texts []string) []string {
	sorted := slices.Sorted(slices.Values(texts))
	var twice []string
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] && sorted[i] != "" {
			twice = append(twice, sorted[i])
		}
	}
	return slices.Compact(twice)
}
