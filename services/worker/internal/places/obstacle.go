package places

import (
	"fmt"
	"strings"
	"time"
)

// Kind says what is lacking.
type Kind string

// The kinds of obstacle, as metrics and the operator's commands call them.
const (
	// Paused is that an operator wants it.
	Paused Kind = "paused"
	// Broken is that a pool's launches do not start.
	Broken Kind = "breaker"
	// Full is that as many sandboxes exist as may.
	Full Kind = "limit"
	// Spent is that the day's budget is used up.
	Spent Kind = "budget"
	// Pace is that Modal has no room, or is to be asked no faster.
	Pace Kind = "capacity"
	// Line is that others waited before.
	Line Kind = "turn"
)

// Obstacle is why a launch must wait.
//
//nolint:errname // what it is, first of all, is an answer
type Obstacle struct {
	Kind  Kind
	Scope Scope
	// Text is for a person. It is the same for as long as the obstacle is.
	Text string
	// Until is when it may be over, if that is known.
	Until time.Time
}

// Error implements error.
func (o *Obstacle) Error() string { return o.Text }

// obstacle is what keeps a launch from a place: the first of what is in the way, or that others stand in line for it.
func (r Record) obstacle(a Ask, rules Rules, uses map[Scope]int, now time.Time) *Obstacle {
	if o := r.lacks(a, rules, uses, now); o != nil {
		return o
	}
	if now.Sub(r.Sorted).Abs() >= forsaken {
		return nil
	}
	for _, s := range a.scopes() {
		if _, short := r.Short[s]; short {
			return &Obstacle{Kind: Line, Scope: s, Text: fmt.Sprintf("others wait for %s too: it gets its place in its turn", s.what())}
		}
	}
	return nil
}

// lacks is what keeps a launch from a place whose turn it is.
func (r Record) lacks(a Ask, rules Rules, uses map[Scope]int, now time.Time) *Obstacle {
	limits, rate := a.limits(rules)
	for n, s := range a.scopes() {
		if since, paused := r.Paused[s]; paused {
			return &Obstacle{
				Kind: Paused, Scope: s, Text: fmt.Sprintf("%s is paused by an operator since %s", s.what(), since.UTC().Format(time.RFC3339)),
			}
		}
		if most := limits[n].Max; most > 0 && uses[s] >= most {
			return &Obstacle{Kind: Full, Scope: s, Text: fmt.Sprintf("%s has as many sandboxes as it may: max_sandboxes is %d", s.what(), most)}
		}
		if budget := limits[n].Budget; budget > 0 && r.Cost(s, now) >= budget {
			return &Obstacle{
				Kind: Spent, Scope: s, Until: now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour),
				Text: fmt.Sprintf("%s has spent its budget of today: daily_budget_usd is %g", s.what(), budget),
			}
		}
	}
	p, scope := r.Pools[a.Pool], PoolScope(a.Pool)
	switch {
	case p.broken() && now.Before(p.Open) && p.Open.Sub(now) <= lastBreak:
		text := fmt.Sprintf("launches of %s do not start, the last one: %s", scope.what(), p.Why)
		return &Obstacle{Kind: Broken, Scope: scope, Text: text, Until: p.Open}
	case p.rate(rate) > 0 && now.Before(p.Next) && p.Next.Sub(now) <= maxPause:
		text := scope.what() + " may create no faster"
		if p.Rate > 0 {
			text = fmt.Sprintf("Modal has no room for more sandboxes of %s now", scope.what())
		}
		return &Obstacle{Kind: Pace, Scope: scope, Text: text, Until: p.Next}
	}
	return nil
}

// limits are those of the scopes of a, in their order, and the rate of its pool.
func (a Ask) limits(rules Rules) (limits [4]Limit, rate float64) {
	pool, rate := rules.Pool(a.Pool)
	return [4]Limit{rules.All(), pool, rules.Owner(a.Owner), rules.Repo(a.Owner, a.Repo).Limit}, rate
}

// what names a scope for a person.
func (s Scope) what() string {
	if s == All {
		return "the whole fleet"
	}
	kind, name, _ := strings.Cut(string(s), "/")
	if kind == "repo" {
		kind = "repository"
	}
	return kind + " " + name
}
