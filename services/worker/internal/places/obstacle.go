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
func (r Record) obstacle(a Ask, rules Rules, now time.Time) *Obstacle {
	uses := func(s Scope) int { return r.usesOf(s, now) }
	if o := r.lacks(a, rules, uses, now); o != nil {
		return o
	}
	return r.queued(a, now)
}

// queued is that others stand in line for what a launch needs.
func (r Record) queued(a Ask, now time.Time) *Obstacle {
	if now.Sub(r.Sorted).Abs() >= forsaken {
		return nil
	}
	for _, s := range a.needs() {
		if _, short := r.Short[s]; short {
			return &Obstacle{Kind: Line, Scope: s, Text: fmt.Sprintf("others wait for %s too: it gets its place in its turn", s.what())}
		}
	}
	return nil
}

// lacks is what keeps a launch from a place whose turn it is. uses counts the places of a scope.
func (r Record) lacks(a Ask, rules Rules, uses func(Scope) int, now time.Time) *Obstacle {
	limits, rate := a.limits(rules)
	for n, s := range a.scopes() {
		if o := r.paused(s); o != nil {
			return o
		}
		if most := limits[n].Max; most > 0 && uses(s) >= most {
			return &Obstacle{Kind: Full, Scope: s, Text: fmt.Sprintf("%s has as many sandboxes as it may: max_sandboxes is %d", s.what(), most)}
		}
		if o := r.poor(s, limits[n].Budget, now); o != nil {
			return o
		}
	}
	if o := r.broken(a, now); o != nil {
		return o
	}
	own, p, scope := r.Pools[a.Pool], r.Pools[a.kind()], KindScope(a.kind())
	switch {
	case early(rate, own.Due, now):
		return &Obstacle{Kind: Pace, Scope: RateScope(a.Pool), Text: PoolScope(a.Pool).what() + " may create no faster", Until: own.Due}
	case a.kind() != a.Pool && early(a.Rate, p.Due, now):
		return &Obstacle{Kind: Pace, Scope: scope, Text: scope.what() + " may create no faster", Until: p.Due}
	case early(p.Rate, p.Next, now):
		return &Obstacle{Kind: Pace, Scope: scope, Text: fmt.Sprintf("Modal has no room for more sandboxes of %s now", scope.what()), Until: p.Next}
	}
	return nil
}

// bar is what keeps a launch from its sandbox that has a place, or the promise of one: it is counted where it has it.
func (r Record) bar(a Ask, rules Rules, now time.Time) *Obstacle {
	limits, _ := a.limits(rules)
	for n, s := range a.scopes() {
		if o := r.paused(s); o != nil {
			return o
		}
		if o := r.spent(s, limits[n].Budget, now); o != nil {
			return o
		}
	}
	if r.Pools[a.kind()].tries(a) {
		return nil
	}
	return r.broken(a, now)
}

// paused is that an operator wants the scope to wait.
func (r Record) paused(s Scope) *Obstacle {
	since, paused := r.Paused[s]
	if !paused {
		return nil
	}
	return &Obstacle{
		Kind: Paused, Scope: s, Text: fmt.Sprintf("%s is paused by an operator since %s", s.what(), since.UTC().Format(time.RFC3339)),
	}
}

// spent is that the day's budget of the scope, in US dollars, is used up. Zero is no budget.
func (r Record) spent(s Scope, budget float64, now time.Time) *Obstacle {
	if budget == 0 || below(r.Cost(s, now), budget) {
		return nil
	}
	return &Obstacle{
		Kind: Spent, Scope: s, Until: midnight(now).Add(day),
		Text: fmt.Sprintf("%s has spent its budget of today: daily_budget_usd is %g", s.what(), budget),
	}
}

// poor is that the day's budget of the scope is used up, or will be by those who were let go.
func (r Record) poor(s Scope, budget float64, now time.Time) *Obstacle {
	if budget == 0 || below(r.Due(s, now), budget) {
		return nil
	}
	if o := r.spent(s, budget, now); o != nil {
		return o
	}
	return &Obstacle{
		Kind: Spent, Scope: s,
		Text: fmt.Sprintf("what runs of %s may cost what is left of its budget of today: daily_budget_usd is %g", s.what(), budget),
	}
}

// broken is that launches of the kind do not start.
func (r Record) broken(a Ask, now time.Time) *Obstacle {
	p, scope := r.Pools[a.kind()], KindScope(a.kind())
	if !p.broken() || !now.Before(p.Open) || p.Open.Sub(now) > maxOpen {
		return nil
	}
	text := fmt.Sprintf("launches of %s do not start, the last one: %s", scope.what(), p.Why)
	return &Obstacle{Kind: Broken, Scope: scope, Text: text, Until: p.Open}
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
	switch kind {
	case "repo":
		kind = "repository"
	case "rate":
		kind = "the create_rate of pool"
	case "kind":
		pool, chosen, _ := strings.Cut(name, " ")
		kind, name = "pool", pool
		if chosen != "" {
			name += " with " + chosen
		}
	}
	return kind + " " + name
}
