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

	// LaunchedAt is when the sandbox that ran it was made. That may be before the job was queued: GitHub gives a job to
	// any idle runner that fits.
	LaunchedAt time.Time
	// AnsweredAt is when the first sandbox was made on account of this job, whichever job that ran.
	AnsweredAt time.Time
}

// Report is the state of a workload at one time.
type Report struct {
	Jobs []Job
	// Sandboxes are running at Modal, Registrations are runners that GitHub knows, by name.
	Sandboxes, Registrations []string
}

// New joins what GitHub and Modal saw.
func New(github control.State, modal fakemodal.Snapshot) Report {
	made := map[string]time.Time{}  // by the sandbox's name, which is its runner's
	first := map[string]time.Time{} // by the id of the job
	var r Report
	for _, s := range modal.Sandboxes {
		made[s.Name] = s.CreatedAt
		if _, ok := first[s.Tags[jobTag]]; !ok { // they come in the order of their creation
			first[s.Tags[jobTag]] = s.CreatedAt
		}
		if !s.Ended() {
			r.Sandboxes = append(r.Sandboxes, s.Name)
		}
	}
	for _, runner := range github.Runners {
		r.Registrations = append(r.Registrations, runner.Name)
	}
	for _, j := range github.Jobs {
		r.Jobs = append(r.Jobs, Job{Job: j, LaunchedAt: made[j.RunnerName], AnsweredAt: first[strconv.FormatInt(j.ID, 10)]})
	}
	return r
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
		case !j.AnsweredAt.IsZero():
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
