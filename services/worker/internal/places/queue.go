package places

import (
	"cmp"
	"slices"
)

// queue is the jobs of one repository that wait for one pool, oldest first.
type queue struct {
	pool string
	// repo is the repository, part what it has in the pool.
	repo, part Scope
	share      Share
	jobs       []Waiting
}

// lineup is all that wait, and by what it is decided whose turn it is.
type lineup struct {
	record Record
	rules  Rules
	queues []*queue
	uses   map[Scope]int
	turns  map[Scope]int64
}

// line offers a place to one job after the other, in the order of [Record.Serve]. take says whether the job took it, which counts
// as a use; uses is changed.
func line(waiting []Waiting, r Record, rules Rules, uses map[Scope]int, take func(Waiting) bool) {
	l := lineup{record: r, rules: rules, queues: queuesOf(waiting, rules), uses: uses, turns: cloned(r.Turns)}
	turn := r.Turn
	for len(l.queues) > 0 {
		q := l.next()
		job := q.jobs[0]
		if q.jobs = q.jobs[1:]; len(q.jobs) == 0 {
			l.queues = slices.DeleteFunc(l.queues, func(other *queue) bool { return other == q })
		}
		if take(job) {
			turn++
			l.turns[q.repo], l.turns[q.part] = turn, turn
			count(uses, job.Ask)
		}
	}
}

func queuesOf(waiting []Waiting, rules Rules) []*queue {
	byPart := map[Scope]*queue{}
	for _, w := range waiting {
		part := w.part()
		q, ok := byPart[part]
		if !ok {
			q = &queue{pool: w.Pool, repo: RepoScope(w.Owner, w.Repo), part: part, share: rules.Repo(w.Owner, w.Repo)}
			byPart[part] = q
		}
		q.jobs = append(q.jobs, w)
	}
	queues := make([]*queue, 0, len(byPart))
	for _, q := range byPart {
		slices.SortFunc(q.jobs, func(a, b Waiting) int { return cmp.Or(a.QueuedAt.Compare(b.QueuedAt), cmp.Compare(a.Job, b.Job)) })
		queues = append(queues, q)
	}
	slices.SortFunc(queues, func(a, b *queue) int { return cmp.Compare(a.part, b.part) })
	return queues
}

// next is whose turn it is.
func (l *lineup) next() *queue {
	first := l.queues[0]
	for _, q := range l.queues {
		if l.before(q, first, q.repo, first.repo) {
			first = q
		}
	}
	if !l.isShort(first.pool) {
		return first
	}
	for _, q := range l.queues {
		if q.pool == first.pool && l.before(q, first, q.part, first.part) {
			first = q
		}
	}
	return first
}

// before reports whether a's turn is before b's, by what each has of what is shared.
func (l *lineup) before(a, b *queue, ofA, ofB Scope) bool {
	weight := func(q *queue) int { return max(1, q.share.Weight) }
	return cmp.Or(
		cmp.Compare(b.share.Priority, a.share.Priority),
		cmp.Compare(l.uses[ofA]*weight(b), l.uses[ofB]*weight(a)),
		cmp.Compare(l.turns[ofA], l.turns[ofB]),
		a.jobs[0].QueuedAt.Compare(b.jobs[0].QueuedAt),
	) < 0
}

// isShort reports whether what is shared is the places of a pool: it has a limit of its own, and no more room than there is in all.
func (l *lineup) isShort(pool string) bool {
	limit, rate := l.rules.Pool(pool)
	if limit.Budget > 0 || rate > 0 {
		return true
	}
	for kind, p := range l.record.Pools {
		if PoolOf(kind) == pool && p.Rate > 0 {
			return true
		}
	}
	all := l.rules.All().Max
	return limit.Max > 0 && (all == 0 || limit.Max-l.uses[PoolScope(pool)] <= all-l.uses[All])
}
