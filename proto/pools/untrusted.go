package pools

import (
	"fmt"
	"strings"
)

// What a pool says of untrusted jobs, if not the name of another pool.
const (
	RefusesUntrusted = "refuse"
	AllowsUntrusted  = "allow"
)

// ForUntrusted returns the name of the pool that untrusted jobs go to which ask for this one: itself or another. ok is false if it
// refuses them.
func (p Pool) ForUntrusted() (name string, ok bool) {
	switch p.Untrusted {
	case RefusesUntrusted, "":
		return "", false
	case AllowsUntrusted:
		return p.Name, true
	default:
		return p.Untrusted, true
	}
}

// checkUntrusted: a pool that allows untrusted jobs has nothing that is worth stealing, spoiling or spending, and says what it lets
// them reach.
func (f *File) checkUntrusted(r *reader, at string, p Pool) {
	broken := func(field, rule, got string) { r.across(at+field, rule, got, at+field) }
	name, ok := p.ForUntrusted()
	if !ok {
		return
	}
	if p.Untrusted != AllowsUntrusted {
		if other, _ := f.Pool(name); other.Untrusted != AllowsUntrusted {
			r.across(at+"untrusted", "must be refuse, allow or the name of a pool with untrusted: allow", fmt.Sprintf("%q", p.Untrusted),
				at+"untrusted", join("pools", name)+".untrusted")
		}
		return
	}
	const rule = "must not be in a pool with untrusted: allow"
	if len(p.Secrets) > 0 {
		r.across(at+"secrets", rule, "["+strings.Join(p.Secrets, ", ")+"]")
	}
	if p.OIDC {
		broken("oidc", rule, "true")
	}
	if p.GPU != "" {
		broken("gpu", rule, fmt.Sprintf("%q", p.GPU))
	}
	if len(p.Max.GPUs) > 0 {
		r.across(at+"max.gpu", rule, "["+strings.Join(p.Max.GPUs, ", ")+"]")
	}
	for _, v := range p.Volumes {
		if !v.ReadOnly {
			broken(join("volumes", v.Name)+".read_only", "must be true in a pool with untrusted: allow", "false")
		}
	}
	if p.Cache.SizeMiB != 0 && !p.Cache.ReadOnly {
		broken("cache.read_only", "must be true in a pool with untrusted: allow", "false")
	}
	if !r.given(at + "network") {
		broken("network", "is required in a pool with untrusted: allow", "")
	}
}
