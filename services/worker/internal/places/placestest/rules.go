// Package placestest has rules and a book for tests.
package placestest

import (
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// Rules are those that limit each scope as it says; the zero value limits nothing and charges nothing. A label
// such as gpu:t4 makes a kind of its own.
type Rules struct {
	// USD is the price of every sandbox, in US dollars a second; Timeout and StartLimit are every sandbox's, too.
	USD                 float64
	Timeout, StartLimit time.Duration
	// Spec is that of every sandbox that has no kind of its own.
	Spec string

	Fleet  places.Limit
	Pools  map[string]places.Limit
	Rates  map[string]float64
	Owners map[string]places.Limit
	// Repos are by "owner/repo".
	Repos map[string]places.Share
}

// Sandbox implements places.Rules.
func (r Rules) Sandbox(j run.Job) places.Sandbox {
	s := places.Sandbox{Price: r.USD, Timeout: r.Timeout, StartLimit: r.StartLimit, Spec: r.Spec}
	for _, label := range j.Labels {
		if strings.HasPrefix(label, "gpu:") {
			s.Kind, s.Spec = j.Pool+" "+label, ""
		}
	}
	return s
}

// All implements places.Rules.
func (r Rules) All() places.Limit { return r.Fleet }

// Pool implements places.Rules.
func (r Rules) Pool(name string) (limit places.Limit, rate float64) {
	return r.Pools[name], r.Rates[name]
}

// Owner implements places.Rules.
func (r Rules) Owner(owner string) places.Limit { return r.Owners[owner] }

// Repo implements places.Rules.
func (r Rules) Repo(owner, repo string) places.Share { return r.Repos[owner+"/"+repo] }
