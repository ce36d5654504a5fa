package places

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
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
	// anyStart is the Sandbox.StartLimit of a record that does not say it. probeSlack is how long after it a trial may last, until
	// somebody has looked and told.
	anyStart   = 6 * time.Minute
	probeSlack = 2 * time.Minute
	// maxOpen is more than any trial or break takes: the longest idle_limit is an hour. What is further ahead comes of a clock that was
	// wrong.
	maxOpen = 2 * time.Hour
)

const (
	// firstRate is how many sandboxes a second are tried once Modal has said that there is no room for more: each of them may cost GitHub
	// a registration and its removal, and where few jobs wait, it is one job that asks. It is halved each time that Modal says so again, down
	// to slowestRate, and grows with each that is created, up to fullRate, where it is forgotten.
	firstRate   = 0.5
	slowestRate = 1.0 / 60
	fullRate    = 10.0
	growth      = 0.25
	// cutEvery is how long what was asked for before a cut may be answered: it is not cut for twice.
	cutEvery = 5 * time.Second
	// burst is how much of a rate may be used at once: as much as goes by between two looks at the line.
	burst = time.Second
	// maxPause is more than lies between two creations at slowestRate for workers whose clocks are five minutes apart: if those whose clocks
	// are right did not heed what the others write down, all would ask as often as they can. What is further ahead is nobody's to heed.
	maxPause = 7 * time.Minute
)

// Pool is what is known about creating sandboxes of one kind of a pool; see Sandbox.
type Pool struct {
	// Rate is how many sandboxes a second Modal seems to have room for; zero if it has not complained. Cut is when it last did.
	Rate float64   `json:"rate,omitempty"`
	Cut  time.Time `json:"cut,omitzero"`
	// Next is when the next may be created at Rate, and Due, at the rate that the pools file allows.
	Next time.Time `json:"next,omitzero"`
	Due  time.Time `json:"due,omitzero"`
	// Failed are the runners that did not start since the last one that did, and Why the last of them.
	Failed []string `json:"failed,omitempty"`
	Why    string   `json:"why,omitempty"`
	// Unmade are the runners for which Modal made no sandbox, or may have made none, by an error since it last made one.
	Unmade []string `json:"unmade,omitempty"`
	// Open is until when nothing is launched, Breaks how often in a row that was so. Probe is the runner, or the job, that is on trial.
	Open   time.Time `json:"open,omitzero"`
	Breaks int       `json:"breaks,omitempty"`
	Probe  string    `json:"probe,omitempty"`
}

// early reports whether the next would be one too many at so many a second, zero being any number.
func early(rate float64, next, now time.Time) bool {
	return rate > 0 && now.Before(next) && next.Sub(now) <= maxPause
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

// paced is the pool after a launch was let go, of which so many a second may be.
func (p Pool) paced(rate float64, now time.Time) Pool {
	p.Due = after(p.Due, rate, now)
	return p
}

// after is when the next may be, after one at now and at so many a second.
func after(next time.Time, rate float64, now time.Time) time.Time {
	if rate == 0 {
		return next
	}
	if earliest := now.Add(-burst); next.Before(earliest) {
		next = earliest
	}
	return next.Add(time.Duration(float64(time.Second) / rate))
}

// begun is the pool after a launch of the kind was let go.
func (p Pool) begun(a Ask, now time.Time) Pool {
	p.Next = after(p.Next, p.Rate, now)
	if p.broken() {
		return p.tried(a, now)
	}
	return p
}

// tried is the broken pool whose trial is a.
func (p Pool) tried(a Ask, now time.Time) Pool {
	p.Open, p.Probe = now.Add(cmp.Or(a.StartLimit, anyStart)+probeSlack), a.Runner
	if p.Probe == "" {
		p.Probe = probeOf(a.Job)
	}
	return p
}

// tries reports whether a is on trial.
func (p Pool) tries(a Ask) bool {
	return p.Probe != "" && (p.Probe == a.Runner || p.Probe == probeOf(a.Job))
}

func (p Pool) onTrial(runner string) bool { return p.broken() && p.Probe == runner }

// Excuses reports whether the runner, if it does not start either, is on trial for others that did not: then that is no fault of its job's.
func (p Pool) Excuses(runner string) bool {
	return p.onTrial(runner) && slices.ContainsFunc(p.Failed, func(other string) bool { return !sameJob(other, runner) })
}

// sameJob reports whether two runners are of one job, by their keys.
func sameJob(a, b string) bool {
	ofA, _, _ := strings.Cut(a, ".")
	ofB, _, _ := strings.Cut(b, ".")
	return ofA == ofB
}

// closed is the pool with its breaker closed.
func (p Pool) closed() Pool {
	p.Why, p.Open, p.Breaks, p.Probe = "", time.Time{}, 0, ""
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

// Created tells that Modal made a sandbox of the kind. That ends a break that was for want of just that.
func (r Record) Created(kind string) Record {
	p := r.Pools[kind]
	if p.Rate == 0 && len(p.Unmade) == 0 && !p.broken() {
		return r
	}
	p.Unmade = nil
	if len(p.Failed) == 0 {
		p = p.closed()
	}
	if p.Rate > 0 {
		p.Rate += growth
	}
	if p.Rate >= fullRate {
		p.Rate = 0
	}
	return r.withPool(kind, p)
}

// Exhausted tells that Modal had no room for a sandbox of the kind that somebody waits for.
func (r Record) Exhausted(kind string, now time.Time) Record {
	if r.Pools[kind].cutLately(now) {
		return r
	}
	return r.Crowded(kind, now).shortOf(KindScope(kind), now)
}

// Crowded tells that Modal had no room for a sandbox of the kind that nobody waits for.
func (r Record) Crowded(kind string, now time.Time) Record {
	p := r.Pools[kind]
	if p.cutLately(now) {
		return r
	}
	switch p.Rate {
	case 0:
		p.Rate = firstRate
	default:
		p.Rate = math.Max(slowestRate, p.Rate/2)
	}
	p.Cut, p.Next = now, now.Add(time.Duration(float64(time.Second)/p.Rate))
	return r.withPool(kind, p)
}

// cutLately reports whether what is told now was asked for before the last cut. What is further ahead comes of a clock that was wrong.
func (p Pool) cutLately(now time.Time) bool { return now.Sub(p.Cut).Abs() < cutEvery }

// Failed tells that a runner of the kind did not start, for why; for good says that no other would either. It may be told often.
func (r Record) Failed(kind, runner, why string, forGood bool, now time.Time) Record {
	p := r.Pools[kind]
	onTrial := p.onTrial(runner)
	if slices.Contains(p.Failed, runner) && !onTrial {
		return r
	}
	p.Failed, p.Why = counted(p.Failed, runner), why
	if onTrial || !p.broken() && (forGood || len(p.Failed) >= breakAfter) {
		p.Open = now.Add(min(lastBreak, firstBreak<<min(p.Breaks, maxDoublings)))
		p.Breaks, p.Probe = p.Breaks+1, ""
	}
	return r.withPool(kind, p)
}

// Errored tells that Modal made no sandbox for a runner of the kind, or may have made none, for why: an error that may pass. It may be
// told often. To find out whether it has passed costs nothing, so one launch tries soon, however often it is in vain.
func (r Record) Errored(kind, runner, why string, now time.Time) Record {
	p := r.Pools[kind]
	onTrial := p.onTrial(runner)
	if slices.Contains(p.Unmade, runner) && !onTrial {
		return r
	}
	p.Unmade, p.Why = counted(p.Unmade, runner), why
	if onTrial || !p.broken() && len(p.Unmade) >= breakAfter {
		p.Open, p.Probe = now.Add(firstBreak), ""
	}
	return r.withPool(kind, p)
}

// counted is breakAfter of runners and one more, at most: the last ones, but for those of other jobs, who tell that it is not one job's fault.
func counted(runners []string, one string) []string {
	runners = slices.Clone(runners)
	if len(runners) == breakAfter {
		first := max(0, slices.IndexFunc(runners, func(other string) bool { return sameJob(other, one) }))
		runners = slices.Delete(runners, first, first+1)
	}
	return append(runners, one)
}

// Unready tells that no runner of the kind can start now, for why, since what all of them need is not there. That cost nothing to
// find out, so it is looked at again soon, however often it is so.
func (r Record) Unready(kind, why string, now time.Time) Record {
	p := r.Pools[kind]
	p.Why, p.Open, p.Probe = why, now.Add(firstBreak), ""
	return r.withPool(kind, p)
}

// Started tells that a runner of the kind took a job: it is well.
func (r Record) Started(kind string) Record {
	p := r.Pools[kind]
	if len(p.Failed) == 0 && !p.broken() {
		return r
	}
	p.Failed = nil
	return r.withPool(kind, p.closed())
}

func (r Record) withPool(kind string, p Pool) Record {
	r.Pools = cloned(r.Pools)
	r.Pools[kind] = p
	return r
}
