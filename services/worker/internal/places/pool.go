package places

import (
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// breakAfter is how many runners of a pool in a row must fail to start before its breaker opens. Each costs a sandbox.
	breakAfter = 5
	// firstBreak and lastBreak bound how long a breaker stays open before one launch is tried.
	firstBreak = 30 * time.Second
	lastBreak  = 15 * time.Minute
	// maxDoublings is how often firstBreak is doubled: more is above lastBreak.
	maxDoublings = 5
	// probeTime is how long a trial may take. A sandbox has six minutes to start its runner (run.Pool.StartLimit).
	probeTime = 8 * time.Minute
)

const (
	// firstRate is how many sandboxes a second are tried once Modal has said that there is no room for more. It is halved each
	// time that Modal says so again, down to slowestRate, and grows with each that is created, up to fullRate, where it is forgotten.
	firstRate   = 1.0
	slowestRate = 1.0 / 60
	fullRate    = 10.0
	growth      = 0.25
	// cutEvery is how long what was asked for before a cut may be answered: it is not cut for twice.
	cutEvery = 5 * time.Second
	// burst is how much of a rate may be used at once: as much as goes by between two looks at the line.
	burst = time.Second
	// maxPause is more than lies between two creations at slowestRate. What is further ahead comes of a clock that was wrong.
	maxPause = 2 * time.Minute
)

// Pool is what is known about a pool's creating.
type Pool struct {
	// Rate is how many sandboxes a second Modal seems to have room for; zero if it has not complained. Cut is when it last did.
	Rate float64   `json:"rate,omitempty"`
	Cut  time.Time `json:"cut,omitzero"`
	// Next is when the next may be created, if there is a rate.
	Next time.Time `json:"next,omitzero"`
	// Failed are the runners that did not start since the last one that did, and Why the last of them.
	Failed []string `json:"failed,omitempty"`
	Why    string   `json:"why,omitempty"`
	// Open is until when nothing is launched, Breaks how often in a row that was so. Probe is the runner, or the job, that is on trial.
	Open   time.Time `json:"open,omitzero"`
	Breaks int       `json:"breaks,omitempty"`
	Probe  string    `json:"probe,omitempty"`
}

// rate is the rate that counts: the lower of what the pools file and Modal allow.
func (p Pool) rate(limit float64) float64 {
	switch {
	case limit == 0 || p.Rate == 0:
		return math.Max(limit, p.Rate)
	default:
		return math.Min(limit, p.Rate)
	}
}

// BreakerState is a breaker's: 0 closed, 1 on trial, 2 open, as the metric says.
type BreakerState int

// The states of a breaker.
const (
	Closed BreakerState = iota
	OnTrial
	Open
)

// Breaker is the state of the pool's breaker.
func (p Pool) Breaker(now time.Time) BreakerState {
	switch {
	case !p.broken():
		return Closed
	case p.Probe != "" || !now.Before(p.Open):
		return OnTrial
	}
	return Open
}

// broken reports whether the breaker is open or on trial.
func (p Pool) broken() bool { return !p.Open.IsZero() }

// begun is the pool after a launch was let go.
func (p Pool) begun(a Ask, limit float64, now time.Time) Pool {
	if rate := p.rate(limit); rate > 0 {
		next := p.Next
		if earliest := now.Add(-burst); next.Before(earliest) {
			next = earliest
		}
		p.Next = next.Add(time.Duration(float64(time.Second) / rate))
	}
	if p.broken() {
		p.Open, p.Probe = now.Add(probeTime), a.Runner
		if p.Probe == "" {
			p.Probe = probeOf(a.Job)
		}
	}
	return p
}

// probeOf names the trial of a job whose runner has no name yet.
func probeOf(job int64) string { return fmt.Sprintf("job %d", job) }

// left is the pool after who may be on trial gave its place back. If that was no failure, which is told, too, another is tried.
func (p Pool) left(who string, now time.Time) Pool {
	if p.Probe == who && p.broken() {
		p.Open = now.Add(firstBreak)
	}
	return p
}

// Created tells that Modal made a sandbox of the pool.
func (r Record) Created(pool string) Record {
	p := r.Pools[pool]
	if p.Rate == 0 {
		return r
	}
	p.Rate += growth
	if p.Rate >= fullRate {
		p.Rate = 0
	}
	return r.withPool(pool, p)
}

// Exhausted tells that Modal had no room for a sandbox of the pool.
func (r Record) Exhausted(pool string, now time.Time) Record {
	p := r.Pools[pool]
	if now.Sub(p.Cut).Abs() < cutEvery { // What is further ahead comes of a clock that was wrong.
		return r
	}
	switch p.Rate {
	case 0:
		p.Rate = firstRate
	default:
		p.Rate = math.Max(slowestRate, p.Rate/2)
	}
	p.Cut, p.Next = now, now.Add(time.Duration(float64(time.Second)/p.Rate))
	return r.withPool(pool, p).shortOf(PoolScope(pool), now)
}

// Failed tells that a runner of the pool did not start, for why; for good says that no other would either. It may be told often.
func (r Record) Failed(pool, runner, why string, forGood bool, now time.Time) Record {
	p := r.Pools[pool]
	if slices.Contains(p.Failed, runner) {
		return r
	}
	onTrial := p.broken() && p.Probe == runner
	p.Failed, p.Why = append(slices.Clone(p.Failed), runner), why
	if more := len(p.Failed) - breakAfter; more > 0 {
		p.Failed = p.Failed[more:]
	}
	if onTrial || !p.broken() && (forGood || len(p.Failed) >= breakAfter) {
		p.Open = now.Add(min(lastBreak, firstBreak<<min(p.Breaks, maxDoublings)))
		p.Breaks, p.Probe = p.Breaks+1, ""
	}
	return r.withPool(pool, p)
}

// Started tells that a runner of the pool took a job: the pool is well.
func (r Record) Started(pool string) Record {
	p := r.Pools[pool]
	if len(p.Failed) == 0 && !p.broken() {
		return r
	}
	p.Failed, p.Why, p.Open, p.Breaks, p.Probe = nil, "", time.Time{}, 0, ""
	return r.withPool(pool, p)
}

func (r Record) withPool(name string, p Pool) Record {
	r = r.clone()
	r.Pools[name] = p
	return r
}
