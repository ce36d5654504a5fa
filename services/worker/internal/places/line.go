package places

import (
	"cmp"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Waiting is a job that waits for a place. Its Ask has no Runner.
type Waiting struct {
	Ask

	// QueuedAt is since when.
	QueuedAt time.Time
}

// Standing is what a job asks for that stands in line and has no place; false if it does not.
func (r Record) Standing(j run.Run, rules Rules) (Waiting, bool) {
	if _, held := r.Held[Key(j.Runner)]; j.State != run.Waiting || !j.InLine || held {
		return Waiting{}, false
	}
	ask := AskFor(j.Runner, j.Job, rules)
	ask.Runner = "" // It is given with the place.
	return Waiting{Ask: ask, QueuedAt: j.QueuedAt}, true
}

// queue is the jobs of one repository that wait, oldest first.
type queue struct {
	scope Scope
	share Share
	jobs  []Waiting
	turn  int64
}

// Serve promises what places there are to those who wait, and says to whom. waiting are all who wait, in any order.
//
// Whose turn it is: of the repositories that wait, one of the highest priority; among those, the one that has the fewest
// places for its weight; among those, the one that has waited longest for its turn. Within a repository the oldest job. So a
// repository with a single job waits for one turn of each other at most, however many jobs they have.
func (r Record) Serve(waiting []Waiting, rules Rules, now time.Time) (Record, []Waiting) {
	since := r.Short
	r = r.clone()
	waits := map[int64]bool{}
	for _, w := range waiting {
		waits[w.Job] = true
	}
	for job, p := range r.Promised {
		// A job that was just promised a place may be on its way to it.
		if !r.isPromised(job, now) || !waits[job] && now.Sub(p.Since) > forsaken {
			delete(r.Promised, job)
			r.Pools[p.Pool] = r.Pools[p.Pool].left(probeOf(job), now)
		}
	}
	clear(r.Short)
	if now.Sub(r.Sorted).Abs() >= sortedEvery {
		r.Sorted = now
	}
	uses := r.uses(now)
	lacking := map[Scope]bool{}
	var served []Waiting
	line(waiting, r, rules, uses, func(w Waiting) bool {
		if _, promised := r.Promised[w.Job]; promised {
			return false
		}
		for _, s := range w.scopes() {
			if lacking[s] {
				return false
			}
		}
		if o := r.lacks(w.Ask, rules, uses, now); o != nil {
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
	known := map[Scope]*Obstacle{}
	for _, w := range waiting {
		for _, s := range w.scopes() {
			if found[w.Job] == nil {
				found[w.Job] = known[s]
			}
		}
		if found[w.Job] != nil {
			continue
		}
		o := r.lacks(w.Ask, rules, uses, now)
		if o == nil {
			o = &Obstacle{Kind: Line, Scope: All, Text: "it gets its place in its turn"}
		} else {
			known[o.Scope] = o
		}
		found[w.Job] = o
	}
	return found
}

// line offers a place to one job after the other, in the order of [Record.Serve]. take says whether the job took it, which counts
// as a use; uses is changed.
func line(waiting []Waiting, r Record, rules Rules, uses map[Scope]int, take func(Waiting) bool) {
	queues := queuesOf(waiting, r, rules)
	turn := r.Turn
	for len(queues) > 0 {
		n := next(queues, uses)
		q := queues[n]
		job := q.jobs[0]
		if q.jobs = q.jobs[1:]; len(q.jobs) == 0 {
			queues = slices.Delete(queues, n, n+1)
		}
		if !take(job) {
			continue
		}
		turn++
		q.turn = turn
		for _, s := range job.scopes() {
			uses[s]++
		}
	}
}

func queuesOf(waiting []Waiting, r Record, rules Rules) []*queue {
	byRepo := map[Scope]*queue{}
	for _, w := range waiting {
		s := RepoScope(w.Owner, w.Repo)
		q, ok := byRepo[s]
		if !ok {
			q = &queue{scope: s, share: rules.Repo(w.Owner, w.Repo), turn: r.Turns[s]}
			byRepo[s] = q
		}
		q.jobs = append(q.jobs, w)
	}
	queues := make([]*queue, 0, len(byRepo))
	for _, q := range byRepo {
		slices.SortFunc(q.jobs, func(a, b Waiting) int { return cmp.Or(a.QueuedAt.Compare(b.QueuedAt), cmp.Compare(a.Job, b.Job)) })
		queues = append(queues, q)
	}
	slices.SortFunc(queues, func(a, b *queue) int { return cmp.Compare(a.scope, b.scope) })
	return queues
}

// next is whose turn it is.
func next(queues []*queue, uses map[Scope]int) int {
	best := 0
	for n, q := range queues {
		if before(q, queues[best], uses) {
			best = n
		}
	}
	return best
}

func before(a, b *queue, uses map[Scope]int) bool {
	weight := func(q *queue) int { return max(1, q.share.Weight) }
	return cmp.Or(
		cmp.Compare(b.share.Priority, a.share.Priority),
		cmp.Compare(uses[a.scope]*weight(b), uses[b.scope]*weight(a)),
		cmp.Compare(a.turn, b.turn),
		a.jobs[0].QueuedAt.Compare(b.jobs[0].QueuedAt),
	) < 0
}
