package places

import "time"

// Use is what a scope has of what it may have.
type Use struct {
	Scope Scope
	// Held counts promises, too, and warm sandboxes.
	Held int
	// Warm is how many of them are warm ones, or will be, or were and have yet to end.
	Warm  int
	Limit Limit
	// Cost is of today, in US dollars.
	Cost float64
}

// Uses are the scopes that have places, or have cost something today, or of which somebody waits; and all pools.
func (r Record) Uses(waiting []Waiting, pools []string, rules Rules, now time.Time) []Use {
	limits := map[Scope]Limit{All: rules.All()}
	know := func(a Ask) {
		l, _ := a.limits(rules)
		for n, s := range a.scopes() {
			limits[s] = l[n]
		}
	}
	for _, w := range waiting {
		know(w.Ask)
	}
	for _, p := range r.Held {
		know(p.Ask)
	}
	for _, name := range pools {
		limits[PoolScope(name)], _ = rules.Pool(name)
	}
	for s := range r.Spent {
		if _, known := limits[s]; !known && r.Day == dayOf(now) {
			limits[s] = Limit{}
		}
	}
	counts, warm, uses := r.uses(now), Record{Warm: r.Warm}.uses(now), []Use{}
	for s, limit := range limits {
		uses = append(uses, Use{Scope: s, Held: counts[s], Warm: warm[s], Limit: limit, Cost: r.Cost(s, now)})
	}
	return uses
}

// uses counts the places by scope, and by what repositories have in each pool.
func (r Record) uses(now time.Time) map[Scope]int {
	uses := map[Scope]int{}
	for _, p := range r.Held {
		count(uses, p.Ask)
	}
	for job, p := range r.Promised {
		if r.isPromised(job, now) {
			count(uses, p.Ask)
		}
	}
	for _, w := range r.Warm {
		uses[All]++
		uses[PoolScope(w.Pool)]++
	}
	return uses
}

func count(uses map[Scope]int, a Ask) {
	for _, s := range a.scopes() {
		uses[s]++
	}
	uses[a.part()]++
}

// usesOf counts the places of one scope, which is quicker where most scopes have no limit.
func (r Record) usesOf(s Scope, now time.Time) (n int) {
	for _, p := range r.Held {
		if p.in(s) {
			n++
		}
	}
	for job, p := range r.Promised {
		if p.in(s) && r.isPromised(job, now) {
			n++
		}
	}
	for _, w := range r.Warm {
		if w.in(s) && (s == All || s == PoolScope(w.Pool)) {
			n++
		}
	}
	return n
}
