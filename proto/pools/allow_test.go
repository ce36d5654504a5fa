package pools_test

import (
	"testing"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
)

func TestWhoseJobsAPoolTakes(t *testing.T) {
	t.Parallel()
	const (
		unnamed = `pool p: allow: must name the repository or its owner (got "acme/web")`
		hidden  = `pool p: allow: takes public repositories only (got "acme/web")`
		shown   = `pool p: allow: takes private repositories only (got "acme/web")`
	)
	web, other := wire.RepoPattern("Acme/Web"), wire.RepoPattern("acme/other")
	for name, test := range map[string]struct {
		allow           pools.Admission
		private, public string // what a job of acme/web is told, if that is private, and if it is public
	}{
		"without a list, all":                     {},
		"one that is named, in whatever case":     {allow: pools.Admission{Repositories: []wire.RepoPattern{other, web}}},
		"one whose account is named":              {allow: pools.Admission{Owners: []string{"ACME"}}},
		"one whose account is named beside":       {allow: pools.Admission{Owners: []string{"acme"}, Repositories: []wire.RepoPattern{other}}},
		"one beside another account":              {allow: pools.Admission{Owners: []string{"octo"}, Repositories: []wire.RepoPattern{web}}},
		"none that is not named":                  {pools.Admission{Repositories: []wire.RepoPattern{other}}, unnamed, unnamed},
		"none of another account":                 {pools.Admission{Owners: []string{"octo", "acm"}}, unnamed, unnamed},
		"whatever is said to be any":              {allow: pools.Admission{Visibility: pools.AnyRepository}},
		"private ones only":                       {pools.Admission{Visibility: pools.OnlyPrivate}, "", shown},
		"public ones only":                        {pools.Admission{Visibility: pools.OnlyPublic}, hidden, ""},
		"private ones only, though they're named": {pools.Admission{Owners: []string{"acme"}, Visibility: pools.OnlyPrivate}, "", shown},
	} {
		pool := pools.Pool{Name: "p", Allow: test.allow}
		for private, want := range map[bool]string{true: test.private, false: test.public} {
			got := ""
			if err := pool.Admit("acme", "web", private); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s (private: %v):\n got %s\nwant %s", name, private, got, want)
			}
		}
	}
}
