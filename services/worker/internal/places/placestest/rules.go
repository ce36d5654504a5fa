// Package placestest has rules and a book for tests.
package placestest

import (
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// Rules are those that limit each scope as it says; the zero value limits nothing and charges nothing.
type Rules struct {
	// USD is the price of every sandbox, in US dollars a second.
	USD    float64
	Fleet  places.Limit
	Pools  map[string]places.Limit
	Rates  map[string]float64
	Owners map[string]places.Limit
	// Repos are by "owner/repo".
	Repos map[string]places.Share
}

// Price implements places.Rules.
func (r Rules) Price(run.Job) float64 { return r.USD }

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
