package adminapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// Room is the answer to GET /places: who holds places, who waits for one, and what today has cost.
type Room struct {
	// Scopes are those that have places or costs or are limited, by their names.
	Scopes []ScopeRoom `json:"scopes"`
	// Waiting is how many jobs stand in line for a place.
	Waiting int `json:"waiting"`
}

// ScopeRoom is one scope: all, a pool, an owner or a repository; or a kind of a pool's sandboxes that is not launched now.
type ScopeRoom struct {
	Scope string `json:"scope"`
	Held  int    `json:"held"`
	// Warm is how many of them are warm sandboxes.
	Warm int `json:"warm,omitempty"`
	// Max is the most sandboxes that it may have, Budget what a day may cost in US dollars. Zero is no limit.
	Max    int     `json:"max_sandboxes,omitempty"`
	Budget float64 `json:"daily_budget_usd,omitempty"`
	// Cost is what it has cost since midnight UTC, in US dollars.
	Cost float64 `json:"cost_usd_today"`
	// Lacks is why nothing more of it is launched now. Empty if nothing keeps it.
	Lacks string `json:"lacks,omitempty"`
}

func (a *API) room(r *http.Request) (any, error) {
	record, _, err := a.Places.Read(r.Context())
	if err != nil {
		return nil, err
	}
	runs, err := a.Ledger.Runs(r.Context())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	waiting := a.line(runs, record)
	lacking := map[places.Scope]string{}
	for _, o := range record.Obstacles(waiting, a.Rules, now) {
		if o.Kind != places.Line {
			lacking[o.Scope] = o.Text
		}
	}
	room := Room{Scopes: []ScopeRoom{}, Waiting: len(waiting)}
	for _, u := range record.Uses(waiting, a.Pools(), a.Rules, now) {
		room.Scopes = append(room.Scopes, ScopeRoom{
			Scope: string(u.Scope), Held: u.Held, Warm: u.Warm, Max: u.Limit.Max, Budget: u.Limit.Budget, Cost: u.Cost, Lacks: lacking[u.Scope],
		})
		delete(lacking, u.Scope)
	}
	for scope, why := range lacking {
		room.Scopes = append(room.Scopes, ScopeRoom{Scope: string(scope), Lacks: why})
	}
	slices.SortFunc(room.Scopes, func(a, b ScopeRoom) int { return cmp.Compare(a.Scope, b.Scope) })
	return room, nil
}

// line are the jobs that stand in line for a place.
func (a *API) line(runs []ledger.Entry[run.Run], record places.Record) (waiting []places.Waiting) {
	for _, entry := range runs {
		if w, ok := record.Standing(entry.Record, a.Rules); ok {
			waiting = append(waiting, w)
		}
	}
	return waiting
}

// Turn is where a job stands in the line for places. The zero Turn is that of a job that does not.
type Turn struct {
	// Position counts from 1 to Of.
	Position int `json:"position"`
	Of       int `json:"of"`
	// Lacks is what it waits for, and Until, until when at least, if that is known.
	Lacks string    `json:"lacks"`
	Until time.Time `json:"until,omitzero"`
}

// lacks is what it waits for, and until when.
func (t Turn) lacks(now time.Time) string {
	if !t.Until.After(now) {
		return t.Lacks
	}
	return fmt.Sprintf("%s; not before %s, in %s", t.Lacks, t.Until.UTC().Format(time.RFC3339), Span(t.Until.Sub(now)))
}

// turn is where the job stands, by the record as it is now.
func (a *API) turn(ctx context.Context, r run.Run) (Turn, error) {
	if r.State != run.Waiting || !r.InLine {
		return Turn{}, nil
	}
	record, _, err := a.Places.Read(ctx)
	if err != nil {
		return Turn{}, err
	}
	runs, err := a.Ledger.Runs(ctx)
	if err != nil {
		return Turn{}, err
	}
	now, waiting := time.Now(), a.line(runs, record)
	why, stands := record.Obstacles(waiting, a.Rules, now)[r.Job.ID]
	if !stands { // It has a place by now.
		return Turn{}, nil
	}
	lacks := why.Text
	if why.Kind == places.Line && r.Reason != "" { // Modal said so, for example, and what is known of its room says less.
		lacks += "; the last time it was put off: " + r.Reason
	}
	return Turn{Position: record.Positions(waiting, a.Rules, now)[r.Job.ID], Of: len(waiting), Lacks: lacks, Until: why.Until}, nil
}
