// Package check says what must always hold, and whether it does. It judges the world: the jobs and registrations of the
// simulated GitHub, the sandboxes of the simulated Modal, and what the broker has stored.
//
// What may never come in here: what the services say of themselves in metrics and logs, and their code. A mistake that they
// and the checker shared would not be seen.
package check

import (
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/world"
)

// World is everything at one moment, with its history.
type World struct {
	At time.Time
	// Jobs are GitHub's, of all times.
	Jobs []world.Job
	// Runners are the registrations that there are now, Registered those of all times. Whoever leaves out the latter allows no
	// sandbox to be kept for a job that waits for an approval.
	Runners, Registered []world.Runner
	// Sandboxes are Modal's, of all times. MostPerName is, by name, the most there have been at once.
	Sandboxes   []fakemodal.SandboxRecord
	MostPerName map[string]int
	// Calls is how many requests GitHub's API was asked since the beginning.
	Calls int
	// Stored is what the broker has; nil while it is down.
	Stored *Stored
}

// Interval is a time in which something was not as it should be.
type Interval struct{ From, To time.Time }

// Options is what a Checker needs to know of a world beside its state.
type Options struct {
	Limits Limits
	// Ours reports whether the services are to serve the job.
	Ours func(world.Job) bool
	// Blamed reports whether the sandbox came to harm by a fault that was meant for it, which excuses what follows for its job.
	Blamed func(sandboxID string) bool
}

// Limits are the constants that the invariants speak of.
type Limits struct {
	// Tidy is how long after its job's end a sandbox may be there.
	Tidy time.Duration
	// Idle is how long a sandbox may be there that has no job.
	Idle time.Duration
	// Warm is how long a sandbox may wait for a runner.
	Warm time.Duration
	// Surplus is how long a sandbox without a job may be there once the job that it was made for needs it no more.
	Surplus time.Duration
	// Overlap is how long a runner that is given up may be there beside the next one for the same job.
	Overlap time.Duration
	// Register is how long a registration may outlive its sandbox.
	Register time.Duration
	// CallsPerMinute is how many requests to GitHub's API there may be, on the average between two looks.
	CallsPerMinute int
	// Hear is how long after GitHub has completed a job the ledger may not know.
	Hear time.Duration
}

// Violation is an invariant that does not hold.
type Violation struct {
	Invariant string
	At        time.Time
	// Job is whose it is; 0 if it is nobody's.
	Job  int64
	What string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s at %s, job %d: %s", v.Invariant, v.At.Format("02 15:04:05.000"), v.Job, v.What)
}

// Checker judges one world at moment after moment. It is not safe for concurrent use.
type Checker struct {
	Options

	outages   []Interval
	accepted  map[int64]time.Time
	safe      map[int64]bool   // accepted, and on record since
	ended     map[int64]string // by job, the state that its record may not leave
	calls     int
	counted   time.Time // when there were so many calls
	orphaned  map[string]time.Time
	violation map[string]bool
	found     []Violation
}

// New makes a Checker.
func New(o Options) *Checker {
	return &Checker{
		Options: o, accepted: map[int64]time.Time{}, safe: map[int64]bool{}, ended: map[int64]string{},
		orphaned: map[string]time.Time{}, violation: map[string]bool{},
	}
}

// Accepted says that a webhook was answered with 2xx by which the job was queued.
func (c *Checker) Accepted(job int64, at time.Time) {
	if _, ok := c.accepted[job]; !ok {
		c.accepted[job] = at
	}
}

// Forget says that the queue was emptied by hand: what was accepted and is not on record yet is to be found again by other
// means.
func (c *Checker) Forget() {
	for job := range c.accepted {
		if !c.safe[job] {
			delete(c.accepted, job)
		}
	}
}

// Outage says that in this time nobody could have kept a deadline; each that falls into it is counted anew from its end.
func (c *Checker) Outage(i Interval) { c.outages = append(c.outages, i) }

// Violations are all that were found so far, each once.
func (c *Checker) Violations() []Violation { return slices.Clone(c.found) }

// Look judges what must hold at all times, whatever is going wrong.
func (c *Checker) Look(w World) {
	v := viewOf(w)
	c.oneSandboxPerName(v)
	c.oneRunnerPerJob(v)
	c.boundedLife(v)
	c.noOrphanedRegistration(v)
	c.nothingEndedAtWork(v)
	c.callsBounded(v)
	if w.Stored != nil {
		c.durable(v)
		c.monotonic(v)
		c.explained(v)
	}
}

// Served judges what must hold once nothing goes wrong any more and there was time for every job: each is served, and nothing of it
// is left at GitHub and Modal.
func (c *Checker) Served(w World) {
	c.Look(w)
	c.everyJobServed(w)
	c.nothingLeft(w)
}

// Settled judges what must hold once the time to settle is over, too: the ledger knows that all of it is over, and nothing is left
// to do.
func (c *Checker) Settled(w World) {
	c.Served(w)
	if w.Stored != nil {
		c.atRest(w)
	}
}

func (c *Checker) reportf(invariant string, at time.Time, job int64, format string, args ...any) {
	v := Violation{Invariant: invariant, At: at, Job: job, What: fmt.Sprintf(format, args...)}
	if key := fmt.Sprint(v.Invariant, v.Job, v.What); !c.violation[key] {
		c.violation[key] = true
		c.found = append(c.found, v)
	}
}

// deadline is when d after t is over, not counting outages.
func (c *Checker) deadline(t time.Time, d time.Duration) time.Time {
	end := t.Add(d)
	for _, o := range c.outages {
		if o.From.Before(end) && o.To.After(t) && o.To.Add(d).After(end) {
			end = o.To.Add(d)
		}
	}
	return end
}

// view is a World with its parts joined.
type view struct {
	World

	jobs map[int64]world.Job
	// took is the job that the runner of that name took.
	took map[string]world.Job
	// sandboxes are those of a name, oldest first.
	sandboxes map[string][]fakemodal.SandboxRecord
}

func viewOf(w World) view {
	v := view{World: w, jobs: map[int64]world.Job{}, took: map[string]world.Job{}, sandboxes: map[string][]fakemodal.SandboxRecord{}}
	for _, j := range w.Jobs {
		v.jobs[j.ID] = j
		if j.RunnerName != "" {
			v.took[j.RunnerName] = j
		}
	}
	v.Sandboxes = slices.Clone(w.Sandboxes)
	for n, s := range v.Sandboxes {
		v.Sandboxes[n] = asRunner(s)
		s = v.Sandboxes[n]
		v.sandboxes[s.Name] = append(v.sandboxes[s.Name], s)
	}
	return v
}

// asRunner is a sandbox that waited for a runner, and got one, as if it had been made for that.
func asRunner(s fakemodal.SandboxRecord) fakemodal.SandboxRecord {
	if name := s.Tags["runner"]; name != "" {
		s.Name = name
		if at, err := time.Parse(time.RFC3339, s.Tags["given-at"]); err == nil {
			s.CreatedAt = at
		}
	}
	return s
}

// waits reports whether a sandbox was made to wait for a runner, and has none yet.
func waits(s fakemodal.SandboxRecord) bool { return s.Tags["warm"] != "" && s.Tags["runner"] == "" }

// endOf is when the sandbox ended, or now.
func (v view) endOf(s fakemodal.SandboxRecord) time.Time {
	if s.Ended() {
		return s.EndedAt
	}
	return v.At
}
