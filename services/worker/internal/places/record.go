package places

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Scope is what a limit is about: "all", or "pool/NAME", "owner/NAME" or "repo/OWNER/NAME", with names of GitHub in lower case. A breaker,
// and what Modal has room for, is about "kind/KIND"; see Sandbox. How fast a pool may create is about "rate/NAME": no sandbox that ends helps there.
type Scope string

// All is the scope of every sandbox.
const All Scope = "all"

// PoolScope is the scope of a pool.
func PoolScope(pool string) Scope { return Scope("pool/" + pool) }

// KindScope is the scope of a kind of a pool's sandboxes.
func KindScope(kind string) Scope { return Scope("kind/" + kind) }

// RateScope is the scope of how fast a pool may create.
func RateScope(pool string) Scope { return Scope("rate/" + pool) }

// PoolOf is the pool that the kind is of.
func PoolOf(kind string) string {
	pool, _, _ := strings.Cut(kind, " ")
	return pool
}

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

// Sandbox is what is known of a sandbox before it is made. What an older record does not say is zero.
type Sandbox struct {
	// Price is what it costs, in US dollars a second.
	Price float64 `json:"price,omitempty"`
	// Timeout is when it ends, whatever it does; StartLimit, how long it may take to start its runner.
	Timeout    time.Duration `json:"timeout,omitempty"`
	StartLimit time.Duration `json:"start_limit,omitempty"`
	// Kind is the pool, and after blanks what the job's labels chose in place of what the pool has, if Modal may have room for that and
	// not for the pool's own, or the reverse, or its launches may fail alone: "ml gpu:A100 image:cuda". Empty is the pool's own.
	Kind string `json:"kind,omitempty"`
	// Rate is how many of a kind that is not the pool's own may be created in a second; zero is no limit but the pool's.
	Rate float64 `json:"rate,omitempty"`
	// Spec tells the sandboxes of a pool as the pools file defines it now from all others; empty if labels of the job, or its repository,
	// make it one of its own. A job can have a warm sandbox of the same.
	Spec string `json:"spec,omitempty"`
}

// Rules are what the pools file says.
type Rules interface {
	// Sandbox is what a sandbox for the job will be.
	Sandbox(j run.Job) Sandbox
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

	Sandbox
}

// AskFor is what the launch of a runner for a job asks for.
func AskFor(name run.Name, j run.Job, rules Rules) Ask {
	return Ask{Runner: Key(name), Job: j.ID, Pool: j.Pool, Owner: j.Owner, Repo: j.Repo, Sandbox: rules.Sandbox(j)}
}

// KindOf is the kind of the job's sandbox.
func KindOf(j run.Job, rules Rules) string { return AskFor(run.Name{}, j, rules).kind() }

func (a Ask) kind() string { return cmp.Or(a.Kind, a.Pool) }

// Key names a runner in the record.
func Key(name run.Name) string { return fmt.Sprintf("%d.%d", name.Job, name.Attempt) }

// scopes are the scopes of a that have limits, the widest first.
func (a Ask) scopes() [4]Scope {
	return [4]Scope{All, PoolScope(a.Pool), OwnerScope(a.Owner), RepoScope(a.Owner, a.Repo)}
}

// needs are all scopes of which something may be lacking for a, the one last that no warm sandbox needs.
func (a Ask) needs() [6]Scope {
	s := a.scopes()
	return [6]Scope{s[0], s[1], s[2], s[3], KindScope(a.kind()), RateScope(a.Pool)}
}

// part is the part of its repository in its pool: what is shared where the pool is short.
func (a Ask) part() Scope {
	return PoolScope(a.Pool) + " " + RepoScope(a.Owner, a.Repo)
}

// in reports whether s is one of the scopes of a.
func (a Ask) in(s Scope) bool {
	kind, name, _ := strings.Cut(string(s), "/")
	switch kind {
	case "pool", "rate":
		return name == a.Pool
	case "kind":
		return name == a.kind()
	case "owner":
		return strings.EqualFold(name, a.Owner)
	case "repo":
		owner, repo, _ := strings.Cut(name, "/")
		return strings.EqualFold(owner, a.Owner) && strings.EqualFold(repo, a.Repo)
	}
	return s == All
}

// Place is a place that a runner holds, or that is promised to a job.
type Place struct {
	Ask

	// Since is when it was taken or promised.
	Since time.Time `json:"since"`
	// SandboxID is Modal's id of the warm sandbox that is to become the runner's; empty if it gets one of its own.
	SandboxID string `json:"sandbox_id,omitempty"`
}

// Record is what all workers share. It is never changed in place.
type Record struct {
	// Held are places by runner; Promised, by job.
	Held     map[string]Place `json:"held,omitempty"`
	Promised map[int64]Place  `json:"promised,omitempty"`
	// Warm are the sandboxes that wait for a runner, by their names, and those that were asked for; Warmed is the number of the last name.
	Warm   map[string]Warm `json:"warm,omitempty"`
	Warmed int64           `json:"warmed,omitempty"`
	// Short is since when somebody has been waiting for want of a scope.
	Short map[Scope]time.Time `json:"short,omitempty"`
	// Sorted is when the line was last looked at.
	Sorted time.Time `json:"sorted,omitzero"`
	// Turns is, by repository, and by its part in each pool, when one of its jobs last got a place: as the number of the turn, which
	// Turn counts.
	Turns map[Scope]int64 `json:"turns,omitempty"`
	Turn  int64           `json:"turn,omitempty"`
	// Pools is what is known about each pool's creating, by kind: that of the pool's own sandboxes by its name.
	Pools map[string]Pool `json:"pools,omitempty"`
	// Spent is what the places given back on Day have cost, in US dollars.
	Day   string            `json:"day,omitempty"`
	Spent map[Scope]float64 `json:"spent,omitempty"`
	// Paused is what an operator has paused, since when.
	Paused map[Scope]time.Time `json:"paused,omitempty"`
}

const (
	// skew is how far the clocks of two workers may be apart: they see the same line, and the same day, all the same.
	skew = time.Minute
	// promiseFor is how long a promise waits for its launch, whose message is handled within seconds.
	promiseFor = time.Minute + skew
	// underway is how long a job may be on its way to the place that it was promised, though it does not seem to wait.
	underway = 15 * time.Second
	// forsaken is after how long without a look the line is nobody's: a leader looks every second, and another takes over
	// within ten.
	forsaken = 15*time.Second + skew
	// sortedEvery is how often it is written down that the line was looked at, which says nothing else: many times within forsaken.
	sortedEvery = 5 * time.Second
)

// clone is a copy whose maps can be changed.
func (r Record) clone() Record {
	r.Held, r.Promised, r.Warm, r.Short = cloned(r.Held), cloned(r.Promised), cloned(r.Warm), cloned(r.Short)
	r.Turns, r.Pools, r.Spent, r.Paused = cloned(r.Turns), cloned(r.Pools), cloned(r.Spent), cloned(r.Paused)
	return r
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

// shortOf is the record after somebody had to wait for want of the scope, for which others may have to stand in line now.
func (r Record) shortOf(s Scope, now time.Time) Record {
	if _, ok := r.Short[s]; ok {
		return r
	}
	if len(r.Short) == 0 { // The line has just formed.
		r.Sorted = now
	}
	r.Short = cloned(r.Short)
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
	if state, ok := r.Pools[p.kind()]; ok {
		r.Pools[p.kind()] = state.left(runner, now)
	}
	if p.SandboxID != "" {
		r = r.abandoned(p, now)
	}
	r, cost := r.charged(p, now)
	return r.pruned(), cost
}

// Adopt counts a sandbox that exists and holds no place, which can only be when the record was lost or restored.
func (r Record) Adopt(a Ask, since time.Time) Record {
	if _, ok := r.Held[a.Runner]; ok {
		return r
	}
	r.Held = cloned(r.Held)
	r.Held[a.Runner] = Place{Ask: a, Since: since}
	return r
}

// pruned forgets whose turn it was of repositories that have nothing any more and are older than all who have: for who comes
// anew, that is the same.
func (r Record) pruned() Record {
	const many = 2000
	if len(r.Turns) <= many {
		return r
	}
	oldest := slices.Sorted(maps.Values(r.Turns))[len(r.Turns)-many/2]
	maps.DeleteFunc(r.Turns, func(_ Scope, turn int64) bool { return turn < oldest })
	return r
}

// Pause holds back all launches of a scope, or lets them go.
func (r Record) Pause(s Scope, paused bool, now time.Time) Record {
	_, is := r.Paused[s]
	if is == paused {
		return r
	}
	r.Paused = cloned(r.Paused)
	if paused {
		r.Paused[s] = now
	} else {
		delete(r.Paused, s)
	}
	return r
}
