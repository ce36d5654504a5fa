package places

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Scope is what a limit is about: "all", or "pool/NAME", "owner/NAME" or "repo/OWNER/NAME", with names of GitHub in lower case.
type Scope string

// All is the scope of every sandbox.
const All Scope = "all"

// PoolScope is the scope of a pool.
func PoolScope(pool string) Scope { return Scope("pool/" + pool) }

// OwnerScope is the scope of an account at GitHub.
func OwnerScope(owner string) Scope { return Scope("owner/" + strings.ToLower(owner)) }

// RepoScope is the scope of a repository.
func RepoScope(owner, repo string) Scope { return Scope("repo/" + strings.ToLower(owner+"/"+repo)) }

// Limit is what a scope may have. Zero is no limit.
type Limit struct {
	// Max is how many sandboxes may exist at a time.
	Max int
	// Budget is how many US dollars a day of UTC may cost.
	Budget float64
}

// Share is the part of a repository.
type Share struct {
	Limit

	// Weight is its part of what there is, against those of others. Zero counts as 1.
	Weight int
	// Priority goes before weight: while one of a higher priority waits for a place, none of a lower one gets it.
	Priority int
}

// Rules are what the pools file says.
type Rules interface {
	// Price is what a sandbox for the job costs, in US dollars a second.
	Price(j run.Job) float64
	All() Limit
	// Pool has the most that may be created in a second, too; zero is no limit.
	Pool(name string) (limit Limit, rate float64)
	Owner(owner string) Limit
	Repo(owner, repo string) Share
}

// Ask is what a launch asks for.
type Ask struct {
	// Runner is the name of what is to be launched. Two launches of one name are one.
	Runner string `json:"runner,omitempty"`
	// Job counts on it.
	Job   int64  `json:"job"`
	Pool  string `json:"pool"`
	Owner string `json:"owner"`
	Repo  string `json:"repo"`
	// Price is what the sandbox costs, in US dollars a second.
	Price float64 `json:"price,omitempty"`
}

// AskFor is what the launch of a runner for a job asks for.
func AskFor(name run.Name, j run.Job, rules Rules) Ask {
	return Ask{Runner: Key(name), Job: j.ID, Pool: j.Pool, Owner: j.Owner, Repo: j.Repo, Price: rules.Price(j)}
}

// Key names a runner in the record.
func Key(name run.Name) string { return fmt.Sprintf("%d.%d", name.Job, name.Attempt) }

// scopes are the scopes of a, the widest first.
func (a Ask) scopes() [4]Scope {
	return [4]Scope{All, PoolScope(a.Pool), OwnerScope(a.Owner), RepoScope(a.Owner, a.Repo)}
}

// Place is a place that a runner holds, or that is promised to a job.
type Place struct {
	Ask

	// Since is when it was taken or promised.
	Since time.Time `json:"since"`
}

// Record is what all workers share. It is never changed in place.
type Record struct {
	// Held are places by runner; Promised, by job.
	Held     map[string]Place `json:"held,omitempty"`
	Promised map[int64]Place  `json:"promised,omitempty"`
	// Short is since when somebody has been waiting for want of a scope.
	Short map[Scope]time.Time `json:"short,omitempty"`
	// Sorted is when the line was last looked at.
	Sorted time.Time `json:"sorted,omitzero"`
	// Turns is, by repository, when one of its jobs last got a place: as the number of the turn, which Turn counts.
	Turns map[Scope]int64 `json:"turns,omitempty"`
	Turn  int64           `json:"turn,omitempty"`
	// Pools is what is known about each pool's creating.
	Pools map[string]Pool `json:"pools,omitempty"`
	// Spent is what the places given back on Day have cost, in US dollars.
	Day   string            `json:"day,omitempty"`
	Spent map[Scope]float64 `json:"spent,omitempty"`
	// Paused is what an operator has paused, since when.
	Paused map[Scope]time.Time `json:"paused,omitempty"`
}

const (
	// promiseFor is how long a promise waits for its launch, whose message is handled within seconds.
	promiseFor = time.Minute
	// forsaken is after how long without a look the line is nobody's: a leader looks every second, and another takes over
	// within ten.
	forsaken = 15 * time.Second
	// sortedEvery is how often it is written down that the line was looked at, which says nothing else: three times within forsaken.
	sortedEvery = 5 * time.Second
)

// clone is a copy whose maps can be changed.
func (r Record) clone() Record {
	r.Held, r.Promised, r.Short = cloned(r.Held), cloned(r.Promised), cloned(r.Short)
	r.Turns, r.Pools, r.Spent, r.Paused = cloned(r.Turns), cloned(r.Pools), cloned(r.Spent), cloned(r.Paused)
	return r
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

// Take gives the launch a place, or says what it must wait for. Who has a place keeps it.
func (r Record) Take(a Ask, rules Rules, now time.Time) (Record, *Obstacle) {
	if _, ok := r.Held[a.Runner]; ok {
		return r, nil
	}
	promised := r.isPromised(a.Job, now)
	if promised {
		r = r.clone()
		delete(r.Promised, a.Job)
	} else if o := r.obstacle(a, rules, r.uses(now), now); o != nil {
		return r.shortOf(o.Scope, now), o
	}
	r = r.given(a, !promised, rules, now)
	r.Held[a.Runner] = Place{Ask: a, Since: now}
	return r, nil
}

func (r Record) isPromised(job int64, now time.Time) bool {
	p, ok := r.Promised[job]
	return ok && now.Sub(p.Since).Abs() < promiseFor // What is further ahead comes of a clock that was wrong.
}

// given is the record after a place was given, which is a turn of its repository unless it was counted when it was promised.
func (r Record) given(a Ask, turn bool, rules Rules, now time.Time) Record {
	r = r.clone()
	if turn {
		r.Turn++
		r.Turns[RepoScope(a.Owner, a.Repo)] = r.Turn
		_, rate := rules.Pool(a.Pool)
		r.Pools[a.Pool] = r.Pools[a.Pool].begun(a, rate, now)
	} else if p := r.Pools[a.Pool]; p.Probe != "" && p.Probe == probeOf(a.Job) {
		p.Probe = a.Runner
		r.Pools[a.Pool] = p
	}
	return r
}

// shortOf is the record after somebody had to wait for want of the scope, for which others may have to stand in line now.
func (r Record) shortOf(s Scope, now time.Time) Record {
	if _, ok := r.Short[s]; ok {
		return r
	}
	if len(r.Short) == 0 { // The line has just formed.
		r.Sorted = now
	}
	r = r.clone()
	r.Short[s] = now
	return r
}

// Free gives the place of a runner back, and says what it has cost in US dollars. It costs once, however often it is given back.
func (r Record) Free(runner string, now time.Time) (Record, float64) {
	p, ok := r.Held[runner]
	if !ok {
		return r, 0
	}
	r = r.clone()
	delete(r.Held, runner)
	if state, ok := r.Pools[p.Pool]; ok {
		r.Pools[p.Pool] = state.left(runner, now)
	}
	if day := dayOf(now); day != r.Day {
		r.Day, r.Spent = day, map[Scope]float64{}
	}
	cost := p.cost(now)
	if cost > 0 {
		for _, s := range p.scopes() {
			r.Spent[s] += cost
		}
	}
	return r.pruned(), cost
}

// Adopt counts a sandbox that exists and holds no place, which can only be when the record was lost or restored.
func (r Record) Adopt(a Ask, since time.Time) Record {
	if _, ok := r.Held[a.Runner]; ok {
		return r
	}
	r = r.clone()
	r.Held[a.Runner] = Place{Ask: a, Since: since}
	return r
}

// pruned forgets whose turn it was of repositories that have nothing any more and are older than all who have: for who comes
// anew, that is the same.
func (r Record) pruned() Record {
	const many = 1000
	if len(r.Turns) <= many {
		return r
	}
	oldest := slices.Sorted(maps.Values(r.Turns))[len(r.Turns)-many/2]
	maps.DeleteFunc(r.Turns, func(_ Scope, turn int64) bool { return turn < oldest })
	return r
}

func (p Place) cost(now time.Time) float64 { return p.Price * math.Max(0, now.Sub(p.Since).Seconds()) }

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Pause holds back all launches of a scope, or lets them go.
func (r Record) Pause(s Scope, paused bool, now time.Time) Record {
	_, is := r.Paused[s]
	if is == paused {
		return r
	}
	r = r.clone()
	if paused {
		r.Paused[s] = now
	} else {
		delete(r.Paused, s)
	}
	return r
}

// uses counts the places by scope.
func (r Record) uses(now time.Time) map[Scope]int {
	uses := map[Scope]int{}
	for _, p := range r.Held {
		for _, s := range p.scopes() {
			uses[s]++
		}
	}
	for job, p := range r.Promised {
		if r.isPromised(job, now) {
			for _, s := range p.scopes() {
				uses[s]++
			}
		}
	}
	return uses
}

// Cost is what a scope has cost today, with what lives.
func (r Record) Cost(s Scope, now time.Time) float64 {
	cost := 0.0
	if r.Day == dayOf(now) {
		cost = r.Spent[s]
	}
	for _, p := range r.Held {
		if p.Price > 0 && slices.Contains(p.scopesOf(), s) {
			cost += p.cost(now)
		}
	}
	return cost
}

func (a Ask) scopesOf() []Scope { s := a.scopes(); return s[:] }

// Use is what a scope has of what it may have.
type Use struct {
	Scope Scope
	// Held counts promises, too.
	Held  int
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
	counts, uses := r.uses(now), []Use{}
	for s, limit := range limits {
		uses = append(uses, Use{Scope: s, Held: counts[s], Limit: limit, Cost: r.Cost(s, now)})
	}
	return uses
}
