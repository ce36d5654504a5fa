package places

import "time"

// Warm is a sandbox of a pool that waits for a runner. Until it has become one's it is nobody's place, but counts as one of its pool.
//
// It is on record under its name before it is asked for, and whoever takes it off the record may have it: the record changes by
// compare-and-set only, so that no two runners can have one, nor can a runner have one that is being ended. Its SandboxID is set once it
// has said itself that it waits.
type Warm struct {
	Place

	// Made is the id of one that Modal has made and that has not said yet that it waits.
	Made string `json:"made,omitempty"`
	// Ends says that it is being ended, since EndsAt: no runner can have it any more.
	Ends   bool      `json:"ends,omitempty"`
	EndsAt time.Time `json:"ends_at,omitzero"`
}

// ID is Modal's id of the sandbox; empty if it is not known yet.
func (w Warm) ID() string {
	if w.SandboxID != "" {
		return w.SandboxID
	}
	return w.Made
}

// Ready reports whether a runner can have it.
func (w Warm) Ready() bool { return w.SandboxID != "" && !w.Ends }

// TakeWarm is [Record.Take] for a launch that can have a warm sandbox, and of which no other can come late. If only room for one more is
// lacking it has a warm one at once, whose place becomes its own: else those would stand in the way of the very jobs that they wait for. It
// takes nothing from those who wait for the pool's rate.
func (r Record) TakeWarm(a Ask, rules Rules, now time.Time) (Record, *Obstacle) {
	after, o := r.Take(a, rules, now)
	if o == nil || o.Kind != Full && o.Kind != Pace && o.Kind != Line {
		return after, o
	}
	name := r.warmFor(a)
	if others := r.queued(a, now); name == "" || others != nil && others.Scope != RateScope(a.Pool) {
		return after, o
	}
	without := r.Over(name, now)
	uses := func(s Scope) int { return without.usesOf(s, now) }
	if lack := without.lacks(a, rules, uses, now); lack != nil && lack.Kind != Pace { // Nothing is created.
		return after, o
	}
	r = r.clone().turned(a)
	r.Held[a.Runner] = Place{Ask: a, Since: now}
	return r.Claim(a, now), nil
}

// Claim gives the runner, which has a place and is about to get its sandbox, a warm one of its pool that is just what it asks for. It has
// that from then on, whoever asks again; see [Record.WarmOf]. The oldest goes first: it would be renewed first.
func (r Record) Claim(a Ask, now time.Time) Record {
	place, held := r.Held[a.Runner]
	if !held || place.SandboxID != "" {
		return r
	}
	name := r.warmFor(a)
	if name == "" {
		return r
	}
	w := r.Warm[name]
	r = r.clone()
	delete(r.Warm, name)
	r, _ = r.charged(w.Place, now)
	place.SandboxID = w.SandboxID
	r.Held[a.Runner] = place
	return r
}

// warmFor is the name of the warm sandbox that a can have, empty if there is none.
func (r Record) warmFor(a Ask) (first string) {
	for name, w := range r.Warm {
		fits := w.Ready() && a.Spec != "" && w.Pool == a.Pool && w.Spec == a.Spec
		if fits && (first == "" || older(w, name, r.Warm[first], first) < 0) {
			first = name
		}
	}
	return first
}

// WarmOf is the id of the warm sandbox that the runner has claimed; empty if it has none.
func (r Record) WarmOf(runner string) string { return r.Held[runner].SandboxID }

// Discard forgets which warm sandbox the runner has claimed: it has ended, or is another's, so that the runner gets one of its own; or the
// runner's own record says it by now.
func (r Record) Discard(runner string) Record {
	place, ok := r.Held[runner]
	if !ok || place.SandboxID == "" {
		return r
	}
	r.Held = cloned(r.Held)
	place.SandboxID = ""
	r.Held[runner] = place
	return r
}
