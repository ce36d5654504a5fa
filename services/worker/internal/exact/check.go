package exact

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Violation is an invariant that did not hold.
type Violation struct {
	// Invariant is the id of one of Invariants.
	Invariant string
	// Job is the one that it is about; 0 if it is about none.
	Job  int64
	At   time.Duration
	What string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s at %v, job %d: %s", v.Invariant, v.At.Truncate(time.Millisecond), v.Job, v.What)
}

// maxViolations is enough to know that something is wrong.
const maxViolations = 100

// checker holds the world against the invariants.
type checker struct {
	s        *Sim
	buriedAs map[int64]string
	surplus  map[*box]time.Duration // since when no job that waits can use it
	asked    map[int64][]time.Duration
	short    []int // how many sandboxes ran whenever jobs waited for a place
	found    []Violation
	excused  map[Excuse]int
	// Total counts the checks that were made, by invariant.
	total map[string]int
}

func newChecker(s *Sim) *checker {
	return &checker{
		s: s, buriedAs: map[int64]string{}, surplus: map[*box]time.Duration{}, asked: map[int64][]time.Duration{}, total: map[string]int{},
		excused: map[Excuse]int{},
	}
}

func (c *checker) thatf(holds bool, invariant string, job int64, format string, args ...any) {
	c.total[invariant]++
	if !holds && len(c.found) < maxViolations {
		v := Violation{invariant, job, c.s.now, fmt.Sprintf(format, args...)}
		c.found = append(c.found, v)
		c.s.tellf(job, "VIOLATED %v", v)
	}
}

// acknowledged is a message that no worker will get again: its job must be on record.
func (c *checker) acknowledged(m *message) {
	c.thatf(c.s.runs.load(m.job).Revision > 0, "I1", m.job, "a message was acknowledged, and nothing is on record")
}

// act is a call with an effect at GitHub or Modal: its cause must be an event, or a job that GitHub's API told of.
func (c *checker) act(r run.Runner, what string) {
	j := c.s.gh.jobs[r.Name.Job]
	c.thatf(j != nil && j.nature == ours, "I2", r.Name.Job, "runner %v was %s for a job that is not ours", r.Name, what)
}

// creates is the start of a sandbox: if it can take a job, no other of that job may.
func (c *checker) creates(r run.Runner, jit string) {
	if known := c.s.gh.runners[r.Name]; known == nil || known.jit != jit {
		return
	}
	for _, other := range c.s.modal.alive {
		if other.name.Job != r.Name.Job || other.released || other.hadJob() {
			continue
		}
		known := c.s.gh.runners[other.name]
		c.thatf(known == nil || known.jit != other.jit, "I3", r.Name.Job, "%v was created while %v lives", r.Name, other.name)
	}
	c.total["I3"]++
}

func (c *checker) killed(j *ghJob, how string) {
	c.thatf(false, "I5", j.ID, "a working runner was ended: %s", how)
}

func (c *checker) started(j *ghJob) {
	c.thatf(j.ran == 1, "I3", j.ID, "it was run %d times", j.ran)
}

// runSaved is a change of a job's record.
func (c *checker) runSaved(job int64, before, after run.Run) {
	// Only a replay forgives a job all its attempts.
	replayed := before.State == run.Dead && after.State != run.OnHold && after.Forgiven == after.Attempts
	c.thatf(!before.State.Terminal() || before.State == after.State || replayed, "I8", after.Job.ID, "it went from %s to %s", before.State, after.State)
	c.thatf(len(after.History) > 0 || after.State == run.New, "I12", after.Job.ID, "its history is empty")
	c.secret(job, after.Reason)
	if n := len(after.History); n > 0 {
		c.secret(job, after.History[n-1].Text)
	}
	c.thatf(after.State != run.Dead || after.Reason != "", "I12", after.Job.ID, "it was given up without a reason")
}

func (c *checker) buried(job int64, reason string) {
	c.thatf(reason != "", "I12", job, "it was put among the dead letters without a reason")
	c.buriedAs[job] = reason
}

// informed is a new check run: there is one at most of each job, which was given up.
func (c *checker) informed(job int64, reason string) {
	c.thatf(len(c.s.gh.notices[job]) == 1 && c.buriedAs[job] != "", "I13", job, "%d check runs say that it was given up", len(c.s.gh.notices[job]))
	c.secret(job, reason)
}

// watch looks at what lives, now and then.
func (c *checker) watch() {
	const every = 5 * time.Second
	for _, b := range c.s.modal.alive {
		if b.hadJob() || c.usable(b) {
			delete(c.surplus, b)
			continue
		}
		since, ok := c.surplus[b]
		if !ok {
			c.surplus[b] = c.s.now
			continue
		}
		if (!b.started || b.released) && c.s.nobodyCanEnd() { // It does not end by itself for long, as one does whose runner gets no job.
			since += every
			c.surplus[b] = since
		}
		if idle := c.s.now - since; idle > c.s.SurplusLimit {
			c.thatf(false, "I5", b.name.Job, "sandbox %s of %v has been of no use for %v", b.id, b.name, idle)
			c.surplus[b] = c.s.now
		}
	}
	if len(c.s.places.Short) > 0 && c.s.MaxSandboxes > 0 {
		c.short = append(c.short, len(c.s.modal.alive))
	}
	c.total["I5"]++
	c.total["I9"]++
	for _, w := range c.s.workers {
		for kind := range kinds {
			c.thatf(w.busy[kind] <= slots+1, "I9", 0, "worker %d has %d messages in hand", w.id, w.busy[kind])
		}
	}
	c.s.after(every, c.watch)
}

// usable reports whether a job waits that GitHub could give to the runner of a sandbox, at once or once it is approved. The
// runner of a job that is held stays until it has been idle for too long.
func (c *checker) usable(b *box) bool {
	if b.jit == "" {
		return c.s.wanted(b)
	}
	r := c.s.gh.runners[b.name]
	if r == nil || r.jit != b.jit {
		return false
	}
	if r.job != nil && r.job.status == queued {
		return true
	}
	of := func(j *ghJob) bool { return j.nature == ours && r.covers(j) }
	return slices.ContainsFunc(c.s.gh.queue, of) || slices.ContainsFunc(c.s.gh.held, of) || slices.ContainsFunc(c.s.gh.offered, of)
}

// served is asked when faults have stopped and the system has had its time.
func (c *checker) served() {
	for _, j := range c.s.gh.all {
		if j.nature != ours {
			continue
		}
		r := c.s.runs.load(j.ID).Value
		if j.status == queued && c.unfound(j) {
			c.excuse(Unfound, j.ID)
			continue
		}
		dead := r.State == run.Dead && r.Reason != ""
		c.thatf(j.status == completed || dead, "I4", j.ID, "%s at GitHub since %v, and %q on record, counting on %v: %s",
			j.status, j.since, r.State, r.Runner, r.Reason)
		c.thatf(!dead || slices.Contains(c.s.buried, j.ID), "I4", j.ID, "given up, and not among the dead letters")
		if r.State == run.Waiting {
			c.thatf(r.Reason != "" || !r.Runner.IsZero(), "I12", j.ID, "nobody can say why it waits")
		}
	}
}

// clean is asked at the very end: nothing may be left.
func (c *checker) clean() {
	for _, b := range c.s.modal.alive {
		if b.working() == nil {
			r := c.s.runners.load(b.name).Value
			c.thatf(false, "I5", b.name.Job, "sandbox %s of %v is left: its record is %s, for %d", b.id, b.name, r.State, r.For)
		}
	}
	for name, r := range c.s.gh.runners {
		if r.box == nil {
			k := c.s.runners.load(name).Value
			if j := c.s.gh.jobs[name.Job]; j != nil && j.rare && c.s.runs.load(j.ID).Revision == 0 {
				c.excuse(Leftover, name.Job)
				continue
			}
			c.thatf(false, "I6", name.Job, "the registration of %v is left: its record is %s, for %d, took %d", name, k.State, k.For, k.Took)
		}
	}
	c.thatf(len(c.s.places.Warm) == 0, "I5", 0, "%d sandboxes wait on record, and none is to", len(c.s.places.Warm))
	c.total["I6"]++
	for _, record := range c.s.runs.records {
		r := record.Value
		if heard := c.s.time().Sub(record.ChangedAt); heard < untold {
			continue
		}
		j := c.s.gh.jobs[r.Job.ID]
		c.thatf(r.State.Terminal() || j == nil || j.status != completed, "I8", r.Job.ID, "it is over, and %s on record", r.State)
	}
}

// maxRegisters is how often a job may ask GitHub for a registration within a minute, whatever happens: a retry comes after
// a second at the earliest, the next after two.
const maxRegisters = 20

// registers is a request for a registration.
func (c *checker) registers(job int64) {
	recent := append(slices.Clip(c.asked[job]), c.s.now)
	for len(recent) > 0 && recent[0] < c.s.now-time.Minute {
		recent = recent[1:]
	}
	c.asked[job] = recent
	c.thatf(len(recent) <= maxRegisters, "I9", job, "it asked GitHub for %d registrations within a minute", len(recent))
}

// secret looks for a JIT configuration in what is kept.
func (c *checker) secret(job int64, kept ...string) {
	for _, text := range kept {
		c.thatf(!strings.Contains(text, jitCanary), "I7", job, "a JIT configuration is on record: %s", text)
	}
}
