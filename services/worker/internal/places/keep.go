package places

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// warmAge is how old a warm sandbox gets; it would end by itself half an hour later. After renewAfter it counts no more, so that another
	// can be there before it goes.
	warmAge    = time.Hour
	renewAfter = 55 * time.Minute
	// warmPrefix begins the names of warm sandboxes, and no runner's.
	warmPrefix = "warm-"
)

// Wish is how many warm sandboxes of a pool there are to be, and what each of them is. Its Ask has no Runner and no job.
type Wish struct {
	Ask  Ask
	Want int
}

// wanted is how many of them there are to be now: none as long as they are in somebody's way, or an operator or the budget wants none.
func (r Record) wanted(w Wish, rules Rules, now time.Time) int {
	pool, _ := rules.Pool(w.Ask.Pool)
	for _, s := range []Scope{All, PoolScope(w.Ask.Pool), KindScope(w.Ask.kind())} {
		if _, short := r.Short[s]; short || r.paused(s) != nil {
			return 0
		}
	}
	if r.poor(All, rules.All().Budget, now) != nil || r.poor(PoolScope(w.Ask.Pool), pool.Budget, now) != nil {
		return 0
	}
	return w.Want
}

// Trim has those warm sandboxes end that are not wanted: beyond what is wished for, and where there may be fewer sandboxes now, the youngest;
// all that are not what the pool has now, and those that are so old that they would end by themselves.
func (r Record) Trim(wishes []Wish, rules Rules, now time.Time) Record {
	byPool, wanted := map[string]Wish{}, map[string]int{}
	for _, w := range wishes {
		byPool[w.Ask.Pool], wanted[w.Ask.Pool] = w, r.wanted(w, rules, now)
	}
	kept, ready, aging := map[string]int{}, map[string]int{}, []string{}
	uses := Record{Held: r.Held, Promised: r.Promised}.uses(now)
	for _, name := range r.warmNames() {
		w := r.Warm[name]
		wish, known := byPool[w.Pool]
		switch age := now.Sub(w.Since); {
		case w.Ends:
		case !known || w.Spec != wish.Ask.Spec || age >= warmAge || !roomFor(w.Ask, rules, uses):
			r = r.ending(name, now)
		case age >= renewAfter:
			aging = append(aging, name)
		case kept[w.Pool] == wanted[w.Pool]: // The oldest come first.
			r = r.ending(name, now)
		default:
			kept[w.Pool]++
			if w.Ready() {
				ready[w.Pool]++
			}
		}
	}
	slices.Reverse(aging)
	for _, name := range aging { // Each stays until the one that follows it is there, the youngest for longest.
		pool := r.Warm[name].Pool
		if ready[pool] == wanted[pool] {
			r = r.ending(name, now)
			continue
		}
		ready[pool]++
	}
	return r
}

// roomFor reports whether there may be one more besides those in uses, among which it counts it.
func roomFor(a Ask, rules Rules, uses map[Scope]int) bool {
	pool, _ := rules.Pool(a.Pool)
	room := true
	for s, most := range map[Scope]int{All: rules.All().Max, PoolScope(a.Pool): pool.Max} {
		room = room && (most == 0 || uses[s] < most)
		uses[s]++
	}
	return room
}

func (r Record) ending(name string, now time.Time) Record {
	w := r.Warm[name]
	w.Ends, w.EndsAt = true, now
	return r.withWarm(name, w)
}

// warmNames are the names of all warm sandboxes, the oldest first.
func (r Record) warmNames() []string {
	return slices.SortedFunc(maps.Keys(r.Warm), func(a, b string) int { return older(r.Warm[a], a, r.Warm[b], b) })
}

// older compares two warm sandboxes by age.
func older(a Warm, nameA string, b Warm, nameB string) int {
	return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(nameA, nameB))
}

// Fill puts the warm sandboxes on record that are wished for and lacking, and says under which names they are to be asked for: so many at
// most, of each pool in turn, and none beyond a limit, or while launches of the pool fail or are to be slower.
func (r Record) Fill(wishes []Wish, most int, rules Rules, now time.Time) (Record, map[string]Wish) {
	lacking := make([]int, len(wishes))
	for n, wish := range wishes {
		lacking[n] = r.wanted(wish, rules, now)
		for _, w := range r.Warm {
			if w.Pool == wish.Ask.Pool && w.Spec == wish.Ask.Spec && !w.Ends && now.Sub(w.Since) < renewAfter {
				lacking[n]--
			}
		}
	}
	added := map[string]Wish{}
	for again := true; again; {
		again = false
		for n, wish := range wishes {
			if lacking[n] <= 0 || len(added) == most || !r.mayWarm(wish.Ask, rules, now) {
				continue
			}
			r = r.clone().paced(wish.Ask, rules, now)
			r.Warmed = max(r.Warmed+1, now.UnixMilli()) // No name comes again, though the record were restored from a backup.
			name := fmt.Sprintf("%s%d", warmPrefix, r.Warmed)
			r.Warm[name] = Warm{Place: Place{Ask: wish.Ask, Since: now}}
			added[name] = wish
			lacking[n]--
			again = true
		}
	}
	return r, added
}

// mayWarm reports whether one more sandbox of the pool may be created that nobody waits for.
func (r Record) mayWarm(a Ask, rules Rules, now time.Time) bool {
	_, rate := rules.Pool(a.Pool)
	own := r.Pools[a.kind()]
	if _, short := r.Short[RateScope(a.Pool)]; short { // It is theirs who wait for it.
		return false
	}
	return roomFor(a, rules, r.uses(now)) && own.Breaker(now) == Closed && !early(rate, own.Due, now) && !early(own.Rate, own.Next, now)
}

// Made tells that Modal has made the warm sandbox.
func (r Record) Made(name, id string) Record {
	w, ok := r.Warm[name]
	if !ok {
		return r
	}
	if w.ID() == "" {
		w.Made = id
	}
	return r.withWarm(name, w).Created(w.kind())
}

// Waits tells that the warm sandbox has said that it waits for a runner. That it has come so far says that others of its kind that did not
// were not the last ones.
func (r Record) Waits(name, id string) Record {
	w, ok := r.Warm[name]
	if !ok || w.SandboxID != "" {
		return r
	}
	w.SandboxID, w.Made = id, ""
	r = r.withWarm(name, w)
	p := r.Pools[w.kind()]
	isWarm := func(runner string) bool { return strings.HasPrefix(runner, warmPrefix) }
	if p.broken() || !slices.ContainsFunc(p.Failed, isWarm) {
		return r
	}
	p.Failed = slices.DeleteFunc(slices.Clone(p.Failed), isWarm)
	return r.withPool(w.kind(), p)
}

// Spoilt tells that the warm sandbox, which is to end, did not come to wait for a runner, for why. Others of its pool may not start, either.
func (r Record) Spoilt(name, why string, now time.Time) Record {
	w, ok := r.Warm[name]
	if !ok || w.Ends || w.SandboxID != "" {
		return r
	}
	return r.ending(name, now).Failed(w.kind(), name, why, false, now)
}

// Unmade takes a warm sandbox off the record that was never made.
func (r Record) Unmade(name string) Record {
	if w, ok := r.Warm[name]; !ok || w.ID() != "" {
		return r
	}
	r.Warm = maps.Clone(r.Warm)
	delete(r.Warm, name)
	return r
}

// Over takes a warm sandbox off the record that has ended, or is a runner's.
func (r Record) Over(name string, now time.Time) Record {
	w, ok := r.Warm[name]
	if !ok {
		return r
	}
	r = r.clone()
	delete(r.Warm, name)
	r, _ = r.charged(w.Place, now)
	return r
}

// abandoned is the record after the place of a runner that had claimed a warm sandbox was given back. Whether that has ended nobody has said: it
// counts until somebody has seen so. Its maps, which must be a clone's, are changed.
func (r Record) abandoned(p Place, now time.Time) Record {
	a := Ask{Pool: p.Pool, Sandbox: p.Sandbox}
	r.Warm[p.SandboxID] = Warm{Place: Place{Ask: a, Since: now, SandboxID: p.SandboxID}, Ends: true, EndsAt: now}
	return r
}

func (r Record) withWarm(name string, w Warm) Record {
	r.Warm = cloned(r.Warm)
	r.Warm[name] = w
	return r
}
