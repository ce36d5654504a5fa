package places

import (
	"math"
	"time"
)

const (
	day = 24 * time.Hour
	// reserveFor is for how long of what a sandbox may run a launch counts against budgets in advance. Nearly all jobs end within it.
	// To reserve for the whole timeout would let a budget have a few sandboxes at a time only, of jobs that take minutes.
	reserveFor = time.Hour
	// smallest is an amount of US dollars that nobody asks for.
	smallest = 1e-6
)

// today is now, or midnight, if by the clock of another worker the record's day has begun already.
func (r Record) today(now time.Time) time.Time {
	begun, err := time.Parse(time.DateOnly, r.Day)
	if err == nil && begun.After(now) && begun.Sub(now) <= skew {
		return begun
	}
	return now
}

// charged is the record after a place was given back, and what that has cost today.
func (r Record) charged(p Place, now time.Time) (Record, float64) {
	now = r.today(now)
	if today := dayOf(now); today != r.Day {
		r.Day, r.Spent = today, map[Scope]float64{}
	}
	cost := p.cost(now)
	scopes := p.scopes()
	payers := scopes[:]
	if p.Owner == "" { // A warm one is no repository's.
		payers = scopes[:2]
	}
	for _, s := range payers {
		if cost > 0 {
			r.Spent[s] += cost
		}
	}
	return r, cost
}

// cost is what the place has cost on the day of now, in US dollars.
func (p Place) cost(now time.Time) float64 { return p.costUntil(now, now) }

// due is what the place has cost on the day of now, or what it was let go for if that is more, in US dollars.
func (p Place) due(now time.Time) float64 {
	until, midnight := p.Since.Add(min(p.Timeout, reserveFor)), midnight(now).Add(day)
	switch {
	case until.Before(now):
		until = now
	case until.After(midnight):
		until = midnight
	}
	return p.costUntil(until, now)
}

// costUntil is what the place costs from the midnight before now.
func (p Place) costUntil(until, now time.Time) float64 {
	since := p.Since
	if midnight := midnight(now); since.Before(midnight) {
		since = midnight
	}
	return p.Price * math.Max(0, until.Sub(since).Seconds())
}

func midnight(t time.Time) time.Time { return t.UTC().Truncate(day) }

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Cost is what a scope has cost today, with what lives, in US dollars.
func (r Record) Cost(s Scope, now time.Time) float64 {
	now = r.today(now)
	cost := r.spentOn(s, now)
	for _, p := range r.Held {
		if p.Price > 0 && p.in(s) {
			cost += p.cost(now)
		}
	}
	for _, w := range r.Warm {
		if w.Price > 0 && w.in(s) {
			cost += w.cost(now)
		}
	}
	return cost
}

// Due is what a scope has cost today, with all that those who live or have the promise of a place were let go for, in US dollars.
func (r Record) Due(s Scope, now time.Time) float64 {
	now = r.today(now)
	due := r.spentOn(s, now)
	for _, p := range r.Held {
		if p.Price > 0 && p.in(s) {
			due += p.due(now)
		}
	}
	for _, w := range r.Warm {
		if w.Price > 0 && w.in(s) {
			due += w.cost(now)
		}
	}
	for job, p := range r.Promised {
		if p.Price > 0 && p.in(s) && r.isPromised(job, now) {
			due += p.due(now)
		}
	}
	return due
}

// below reports whether a sum of many amounts is below a budget, by more than adding them up may be wrong by.
func below(sum, budget float64) bool { return budget-sum > smallest }

// spentOn is what the places of a scope cost that were given back on the day of now.
func (r Record) spentOn(s Scope, now time.Time) float64 {
	if r.Day != dayOf(now) {
		return 0
	}
	return r.Spent[s]
}
