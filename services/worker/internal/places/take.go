package places

import "time"

// Take gives the launch a place, or says what it must wait for. Who has a place keeps it, and is asked to [Record.Proceed] before
// it makes use of it.
func (r Record) Take(a Ask, rules Rules, now time.Time) (Record, *Obstacle) {
	if _, ok := r.Held[a.Runner]; ok {
		return r, nil
	}
	promised := r.isPromised(a.Job, now) && r.Promised[a.Job].needs() == a.needs()
	r = r.lapsed(now)
	if promised {
		if o := r.bar(a, rules, now); o != nil {
			return r.clone().withdrawn(a.Job, now).shortOf(o.Scope, now), o
		}
	} else if o := r.obstacle(a, rules, now); o != nil {
		return r.shortOf(o.Scope, now), o
	}
	r = r.clone()
	if promised {
		delete(r.Promised, a.Job)
	}
	r = r.given(a, !promised, rules, now)
	r.Held[a.Runner] = Place{Ask: a, Since: now}
	return r, nil
}

// Proceed lets a launch that took its place go on and create its sandbox, or says what it must wait for: since it took the place,
// an operator may have paused it, or its pool's breaker have opened. The place is the caller's to give back, who knows whether there
// may be a sandbox. A launch that has lost its place takes another.
func (r Record) Proceed(a Ask, rules Rules, now time.Time) (Record, *Obstacle) {
	if _, ok := r.Held[a.Runner]; !ok {
		return r.Take(a, rules, now)
	}
	if o := r.bar(a, rules, now); o != nil {
		return r.shortOf(o.Scope, now), o
	}
	if p := r.Pools[a.kind()]; p.broken() && !p.tries(a) {
		return r.withPool(a.kind(), p.tried(a, now)), nil
	}
	return r, nil
}

// lapsed is the record without promises that are over, so that what is given in their place is not given twice: by the clock of
// another worker they may not be over yet.
func (r Record) lapsed(now time.Time) Record {
	var over []int64
	for job := range r.Promised {
		if !r.isPromised(job, now) {
			over = append(over, job)
		}
	}
	if len(over) > 0 {
		r = r.clone()
	}
	for _, job := range over {
		r = r.withdrawn(job, now)
	}
	return r
}

// withdrawn is the record without the promise of a place to a job. Its maps, which must be a clone's, are changed.
func (r Record) withdrawn(job int64, now time.Time) Record {
	p := r.Promised[job]
	delete(r.Promised, job)
	r.Pools[p.kind()] = r.Pools[p.kind()].left(probeOf(job), now)
	return r
}

func (r Record) isPromised(job int64, now time.Time) bool {
	p, ok := r.Promised[job]
	return ok && now.Sub(p.Since).Abs() < promiseFor // What is further ahead comes of a clock that was wrong.
}

// given is the record after a place was given, which is a turn of its repository unless it was counted when it was promised. Its maps,
// which must be a clone's, are changed.
func (r Record) given(a Ask, turn bool, rules Rules, now time.Time) Record {
	if turn {
		return r.turned(a).paced(a, rules, now)
	}
	if p := r.Pools[a.kind()]; p.Probe != "" && p.Probe == probeOf(a.Job) {
		p.Probe = a.Runner
		r.Pools[a.kind()] = p
	}
	return r
}

// turned is the record after a turn of the repository of a. Its maps, which must be a clone's, are changed.
func (r Record) turned(a Ask) Record {
	r.Turn++
	r.Turns[RepoScope(a.Owner, a.Repo)], r.Turns[a.part()] = r.Turn, r.Turn
	return r
}

// paced is the record after a sandbox was let go, of which so many a second may be. Its maps, which must be a clone's, are changed.
func (r Record) paced(a Ask, rules Rules, now time.Time) Record {
	_, rate := rules.Pool(a.Pool)
	r.Pools[a.Pool] = r.Pools[a.Pool].paced(rate, now)
	if a.kind() != a.Pool {
		r.Pools[a.kind()] = r.Pools[a.kind()].paced(a.Rate, now)
	}
	r.Pools[a.kind()] = r.Pools[a.kind()].begun(a, now)
	return r
}
