package places

import (
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Waiting is a job that waits for a place. Its Ask has no Runner.
type Waiting struct {
	Ask

	// QueuedAt is since when.
	QueuedAt time.Time
}

// Standing is what a job asks for that stands in line and has no place; false if it does not, as most of a ledger's do not.
func (r Record) Standing(j *run.Run, rules Rules) (Waiting, bool) {
	if j.State != run.Waiting || !j.InLine {
		return Waiting{}, false
	}
	if _, held := r.Held[Key(j.Runner)]; held {
		return Waiting{}, false
	}
	ask := AskFor(j.Runner, j.Job, rules)
	ask.Runner = "" // It is given with the place.
	return Waiting{Ask: ask, QueuedAt: j.QueuedAt}, true
}

// Serve promises what places there are to those who wait, and says to whom. waiting are all who wait, in any order.
//
// Whose turn it is: of the repositories that wait, one of the highest priority; among those, the one that has the fewest
// places for its weight; among those, the one that has waited longest for its turn. Within a repository the oldest job. So a
// repository with a single job waits for one turn of each other at most, however many jobs they have. Where its pool is what is short,
// the place goes to whom that is true of within the pool: what a repository has in others is no reason to wait for this one.
func (r Record) Serve(waiting []Waiting, rules Rules, now time.Time) (Record, []Waiting) {
	since := r.Short
	r = r.clone()
	waits := map[int64]bool{}
	for _, w := range waiting {
		waits[w.Job] = true
	}
	for job, p := range r.Promised {
		lost := !waits[job] && now.Sub(p.Since) > underway
		if lost || !r.isPromised(job, now) || r.bar(p.Ask, rules, now) != nil {
			r = r.withdrawn(job, now)
		}
	}
	clear(r.Short)
	if now.Sub(r.Sorted).Abs() >= sortedEvery {
		r.Sorted = now
	}
	uses := r.uses(now)
	usesOf := func(s Scope) int { return uses[s] }
	lacking := map[Scope]bool{}
	var served []Waiting
	line(waiting, r, rules, uses, func(w Waiting) bool {
		if _, promised := r.Promised[w.Job]; promised {
			return false
		}
		for _, s := range w.needs() {
			if lacking[s] {
				return false
			}
		}
		if o := r.lacks(w.Ask, rules, usesOf, now); o != nil {
			lacking[o.Scope] = true
			if r.Short[o.Scope] = now; !since[o.Scope].IsZero() {
				r.Short[o.Scope] = since[o.Scope]
			}
			return false
		}
		r = r.given(w.Ask, true, rules, now)
		r.Promised[w.Job] = Place{Ask: w.Ask, Since: now}
		served = append(served, w)
		return true
	})
	return r, served
}

// Positions is the place in the line of each job that waits, from 1, as things are.
func (r Record) Positions(waiting []Waiting, rules Rules, now time.Time) map[int64]int {
	positions := map[int64]int{}
	line(waiting, r, rules, r.uses(now), func(w Waiting) bool {
		positions[w.Job] = len(positions) + 1
		return true
	})
	return positions
}

// Obstacles says of each job that waits what it waits for: what is lacking, or its turn.
func (r Record) Obstacles(waiting []Waiting, rules Rules, now time.Time) map[int64]*Obstacle {
	uses, found := r.uses(now), map[int64]*Obstacle{}
	usesOf := func(s Scope) int { return uses[s] }
	known := map[Scope]*Obstacle{}
	for _, w := range waiting {
		for _, s := range w.needs() {
			if found[w.Job] == nil {
				found[w.Job] = known[s]
			}
		}
		if found[w.Job] != nil {
			continue
		}
		o := r.lacks(w.Ask, rules, usesOf, now)
		if o == nil {
			o = &Obstacle{Kind: Line, Scope: All, Text: "it gets its place in its turn"}
		} else {
			known[o.Scope] = o
		}
		found[w.Job] = o
	}
	return found
}
