// Package report judges how a workload was served, from what GitHub and Modal saw alone: nothing that the services say
// of themselves counts here.
package report

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/world"
)

// jobTag is the tag of a sandbox that names the job that it was made for.
const jobTag = "job-id"

// Job is how one job fared.
type Job struct {
	world.Job

	// LaunchedAt is when the first sandbox was made on account of this job, whichever job that ran. It is zero if there
	// was none: GitHub may have given the job a runner that was there already.
	LaunchedAt time.Time
	// TookFrom is the name of the job that its runner was made for, if that is another.
	TookFrom string
}

// Report is the state of a workload at one time.
type Report struct {
	Jobs []Job
	// Sandboxes are running at Modal, Registrations are runners that GitHub knows, by name.
	Sandboxes, Registrations []string
	// Refusals is how many calls GitHub has refused because there were too many.
	Refusals int
}

// New joins what GitHub and Modal saw.
func New(github control.State, modal fakemodal.Snapshot) Report {
	madeFor := map[string]string{}  // the id of a job, by the sandbox's name, which is its runner's
	first := map[string]time.Time{} // by the id of the job
	names := map[string]string{}    // of jobs, by id
	r := Report{Refusals: github.API.PrimaryRefusals + github.API.SecondaryRefusals}
	for _, s := range modal.Sandboxes {
		id := s.Tags[jobTag]
		madeFor[s.Name] = id
		if _, ok := first[id]; !ok { // they come in the order of their creation
			first[id] = s.CreatedAt
		}
		if !s.Ended() {
			r.Sandboxes = append(r.Sandboxes, s.Name)
		}
	}
	for _, runner := range github.Runners {
		r.Registrations = append(r.Registrations, runner.Name)
	}
	for _, j := range github.Jobs {
		names[strconv.FormatInt(j.ID, 10)] = j.Name
	}
	for _, j := range github.Jobs {
		id := strconv.FormatInt(j.ID, 10)
		job := Job{Job: j, LaunchedAt: first[id]}
		if owner := madeFor[j.RunnerName]; owner != id {
			job.TookFrom = names[owner]
		}
		r.Jobs = append(r.Jobs, job)
	}
	return r
}

// Since is r without the jobs that there were before.
func (r Report) Since(before Report) Report {
	old := map[int64]bool{}
	for _, j := range before.Jobs {
		old[j.ID] = true
	}
	r.Jobs = slices.DeleteFunc(slices.Clone(r.Jobs), func(j Job) bool { return old[j.ID] })
	return r
}

// Runners are the names of all runners that there are, each with a sandbox, a registration, or both.
func (r Report) Runners() []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.Sandboxes, r.Registrations))))
}

// Surplus are those of Sandboxes that have run no job.
func (r Report) Surplus() []string {
	took := map[string]bool{}
	for _, j := range r.Jobs {
		took[j.RunnerName] = true
	}
	return slices.DeleteFunc(slices.Clone(r.Sandboxes), func(name string) bool { return took[name] })
}

// Span is from when the first job was queued to when the last one ended; both are zero without such a job.
func (r Report) Span() (began, ended time.Time) {
	for _, j := range r.Jobs {
		if began.IsZero() || (!j.QueuedAt.IsZero() && j.QueuedAt.Before(began)) {
			began = j.QueuedAt
		}
		if j.CompletedAt.After(ended) {
			ended = j.CompletedAt
		}
	}
	return began, ended
}

// Counts is how many jobs are how far; each is counted once.
type Counts struct{ Queued, Launched, Running, Succeeded, Failed int }

// Done is how many jobs have ended.
func (c Counts) Done() int { return c.Succeeded + c.Failed }

// Counts counts the jobs.
func (r Report) Counts() Counts {
	var c Counts
	for _, j := range r.Jobs {
		switch {
		case j.Conclusion == world.Success:
			c.Succeeded++
		case j.Status == world.Completed:
			c.Failed++
		case j.Status == world.InProgress:
			c.Running++
		case !j.LaunchedAt.IsZero():
			c.Launched++
		default:
			c.Queued++
		}
	}
	return c
}

// Leaked is how many sandboxes and registrations there are. It tells of leaks only when every job has ended.
func (r Report) Leaked() int { return len(r.Sandboxes) + len(r.Registrations) }

// Summary is the last line of the demo, for a workload of so many jobs. A job that has not ended is lost.
func (r Report) Summary(jobs int) string {
	c := r.Counts()
	return fmt.Sprintf("demo: %d jobs, %d succeeded, %d failed, %d lost, %d leaked", jobs, c.Succeeded, c.Failed, jobs-c.Done(), r.Leaked())
}

// Percentile returns the smallest of the durations that p percent of them do not exceed; 0 without any.
func Percentile(durations []time.Duration, p int) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	return sorted[max(0, (len(sorted)*p+99)/100-1)] //nolint:mnd // percent, rounded up
}
