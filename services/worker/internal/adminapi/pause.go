package adminapi

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/places"
)

// Paused is the answer to GET, PUT and DELETE /paused: all that is paused now.
type Paused struct {
	Paused []Pause `json:"paused"`
}

// Pause is what an operator has paused.
type Pause struct {
	// Scope is "all", "pool/NAME", "owner/NAME" or "repo/OWNER/NAME".
	Scope string    `json:"scope"`
	Since time.Time `json:"since"`
}

// paused lists what is paused.
func (a *API) paused(r *http.Request) (any, error) {
	record, _, err := a.Places.Read(r.Context())
	if err != nil {
		return nil, err
	}
	list := Paused{Paused: []Pause{}}
	for scope, since := range record.Paused {
		list.Paused = append(list.Paused, Pause{string(scope), since})
	}
	slices.SortFunc(list.Paused, func(a, b Pause) int { return cmp.Compare(a.Scope, b.Scope) })
	return list, nil
}

func (a *API) pause(r *http.Request) (any, error)  { return a.setPaused(r, true) }
func (a *API) resume(r *http.Request) (any, error) { return a.setPaused(r, false) }

// setPaused holds launches of a scope back, or lets them go. It is for all workers, and outlives them.
func (a *API) setPaused(r *http.Request, paused bool) (any, error) {
	before, _, err := a.Places.Read(r.Context())
	if err != nil {
		return nil, err
	}
	scope := places.Scope(r.PathValue("scope"))
	if _, is := before.Paused[scope]; !is { // What is can be resumed, whatever it is: a pool may have gone out of the pools file since.
		if scope, err = scopeOf(r.PathValue("scope"), a.Pools()); err != nil {
			return nil, err
		}
	}
	if _, err := a.Places.Change(r.Context(), func(record places.Record) places.Record {
		return record.Pause(scope, paused, time.Now())
	}); err != nil {
		return nil, err
	}
	return a.paused(r)
}

// scopeOf reads what is to be paused or resumed: "all", one of the pools, an owner or a repository.
func scopeOf(text string, pools []string) (places.Scope, error) {
	kind, name, _ := strings.Cut(text, "/")
	owner, repo, isRepo := strings.Cut(name, "/")
	var pattern wire.RepoPattern
	switch {
	case text == string(places.All):
		return places.All, nil
	case kind == "pool" && slices.Contains(pools, name):
		return places.PoolScope(name), nil
	case kind == "pool":
		return "", &refusal{http.StatusNotFound, "pool", "must be one of " + strings.Join(pools, ", "), name}
	case kind == "owner" && !isRepo && pattern.UnmarshalText([]byte(owner+"/*")) == nil:
		return places.OwnerScope(owner), nil
	case kind == "repo" && repo != "*" && pattern.UnmarshalText([]byte(name)) == nil:
		return places.RepoScope(owner, repo), nil
	}
	return "", &refusal{http.StatusBadRequest, "scope", "must be all, pool/NAME, owner/NAME or repo/OWNER/NAME", text}
}
