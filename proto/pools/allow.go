package pools

import (
	"fmt"
	"slices"
	"strings"

	"modal-github-runner/proto/wire"
)

// The visibilities of an Admission.
const (
	AnyRepository = "any"
	OnlyPrivate   = "private"
	OnlyPublic    = "public"
)

// Admission is whose jobs a pool takes, of those that ALLOWED_REPOS lets run at all. Names are compared without case. It says for
// whom runners are launched. Where they are registered for a whole organization, GitHub may give one to any of its repositories
// that asks for the same labels; its runner groups are what keeps them apart there.
type Admission struct {
	Repositories []wire.RepoPattern `doc:"owner/repo of those whose jobs it takes, besides all of owners; absent, with owners: all" form:"one_repository" max:"1000" min:"1" yaml:"repositories"`
	Owners       []string           `doc:"accounts whose jobs it takes, besides those of repositories" form:"owner" max:"1000" min:"1" yaml:"owners"`
	Visibility   string             `doc:"private (internal ones, too), public or any; absent: any" form:"visibility" yaml:"visibility"`
}

// Admit returns nil if the pool takes jobs of the repository, else why not, for the author of the job.
func (p Pool) Admit(owner, repo string, private bool) error {
	named := len(p.Allow.Repositories)+len(p.Allow.Owners) == 0 ||
		slices.ContainsFunc(p.Allow.Owners, func(o string) bool { return strings.EqualFold(o, owner) }) ||
		slices.ContainsFunc(p.Allow.Repositories, func(r wire.RepoPattern) bool { return strings.EqualFold(r.String(), owner+"/"+repo) })
	switch {
	case !named:
		return fmt.Errorf("pool %s: allow: must name the repository or its owner (got %q)", p.Name, owner+"/"+repo)
	case p.Allow.Visibility == OnlyPrivate && !private, p.Allow.Visibility == OnlyPublic && private:
		return fmt.Errorf("pool %s: allow: takes %s repositories only (got %q)", p.Name, p.Allow.Visibility, owner+"/"+repo)
	}
	return nil
}
