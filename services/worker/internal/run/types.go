package run

import "time"

// Name identifies a runner: the job it was launched for and the how-many-th attempt it was, from 1. The zero Name is
// no runner of ours.
type Name struct {
	Job     int64 `json:"job,omitempty"`
	Attempt int   `json:"attempt,omitempty"`
}

// IsZero reports whether n is no runner of ours.
func (n Name) IsZero() bool { return n == Name{} }

// Job is what GitHub said of a job.
type Job struct {
	ID           int64    `json:"id"`
	RunID        int64    `json:"run_id,omitempty"`
	RunAttempt   int      `json:"run_attempt,omitempty"`
	Owner        string   `json:"owner"`
	Repo         string   `json:"repo"`
	RepoID       int64    `json:"repo_id,omitempty"`
	Installation int64    `json:"installation,omitempty"`
	OrgOwned     bool     `json:"org_owned,omitempty"`
	Private      bool     `json:"private,omitempty"`
	Fork         bool     `json:"fork,omitempty"`
	Labels       []string `json:"labels,omitempty"`
	// Pool is what a sandbox for it gets. Empty for a job that is not ours.
	Pool string `json:"pool,omitempty"`
	// Untrusted says why strangers may have written what it runs; empty for one that is trusted, or not vetted yet.
	Untrusted    string    `json:"untrusted,omitempty"`
	WorkflowName string    `json:"workflow_name,omitempty"`
	Name         string    `json:"name,omitempty"`
	HeadBranch   string    `json:"head_branch,omitempty"`
	HeadSHA      string    `json:"head_sha,omitempty"`
	CreatedAt    time.Time `json:"created_at,omitzero"`
	// Trace is where the job's trace goes on, whoever takes it up: a traceparent of W3C Trace Context, not GitHub's. Empty if the job
	// is not traced. It decides nothing.
	Trace string `json:"trace,omitempty"`
}

// State is where a Run is.
type State string

// The states of a Run. Done and Dead are terminal: a Run leaves them for nothing that happens, and Dead only when an
// operator wants it (Replayed).
const (
	// New is a job of which nothing is recorded.
	New State = ""
	// OnHold is a job that waits for an approval and wants no runner yet.
	OnHold State = "held"
	// Waiting is a job that wants a runner.
	Waiting State = "waiting"
	// Running is a job that a runner has taken.
	Running State = "running"
	// Done is a job that GitHub has completed, for whatever conclusion.
	Done State = "done"
	// Dead is a job that we gave up, for Run.Reason.
	Dead State = "dead"
)

// Terminal reports whether a Run in s is over, whatever happens at GitHub and Modal.
func (s State) Terminal() bool { return s == Done || s == Dead }

// Run is our record of serving one job.
type Run struct {
	Job   Job   `json:"job"`
	State State `json:"state"`
	// Runner is counted for the job while it waits. It stays when another runner takes the job, so that the step that
	// finds a new use for it can be asked for again.
	Runner Name `json:"runner,omitzero"`
	// RanOn is the runner of ours that took the job, and RanOnID GitHub's id of its registration.
	RanOn   Name  `json:"ran_on,omitzero"`
	RanOnID int64 `json:"ran_on_id,omitempty"`
	// Attempts is how many runners were launched for the job. Each had a name of its own.
	Attempts int `json:"attempts,omitempty"`
	// Forgiven is how many of Attempts don't count against MaxAttempts: their runners took other jobs, or the job was replayed
	// after them.
	Forgiven int `json:"forgiven,omitempty"`
	// Failures is how many launches in a row have failed. A wait for capacity or for a limit is no failure.
	Failures int `json:"failures,omitempty"`
	// InLine says that the job stands in line for a place. Whoever gives places has it looked at when there is one.
	InLine bool `json:"in_line,omitempty"`
	// Until is when a launch that waits for its turn at GitHub is tried again; until then nobody else need have it tried.
	Until time.Time `json:"until,omitzero"`
	// FreeSince is when it last began to wait though no limit held it back any more: its place or its turn at GitHub had come and was made
	// use of, or an operator had it tried once more. Zero if it did so from the beginning.
	FreeSince time.Time `json:"free_since,omitzero"`
	// Reason says what last kept the job from a runner, or why it was given up.
	Reason     string `json:"reason,omitempty"`
	Conclusion string `json:"conclusion,omitempty"`
	// QueuedAt is when the job began to wait; LastQueuedAt, the newest time at which GitHub said so. A hold that is older
	// than that comes too late.
	QueuedAt     time.Time `json:"queued_at,omitzero"`
	LastQueuedAt time.Time `json:"last_queued_at,omitzero"`
	HeldAt       time.Time `json:"held_at,omitzero"`
	StartedAt    time.Time `json:"started_at,omitzero"`
	FinishedAt   time.Time `json:"finished_at,omitzero"`
	// Notice is how far the job's author has been told.
	Notice Notice `json:"notice,omitzero"`
	// History tells what became of the job, oldest first. Of a long one the middle is missing.
	History []Note `json:"history,omitempty"`
}

// heldBack is r once it stands in line, or waits for its turn at GitHub until then, or neither.
func (r Run) heldBack(inLine bool, until, now time.Time) Run {
	if (r.InLine || !r.Until.IsZero()) && !inLine && until.IsZero() {
		r.FreeSince = now
	}
	r.InLine, r.Until = inLine, until
	return r
}

// Over reports whether GitHub has completed the job, which one that was given up may have had done by a runner of another job.
func (r Run) Over() bool { return !r.FinishedAt.IsZero() }

// HeldWith reports whether the job was held until an approval while runner, which it counts on, was there: then the runner had nothing
// to take.
func (r Run) HeldWith(runner Runner) bool {
	if r.State == OnHold {
		return true
	}
	there := runner.LaunchedAt // As far back as the record knows.
	if there.IsZero() {
		there = runner.EndedAt
	}
	return !r.HeldAt.IsZero() && there.Before(r.QueuedAt)
}

// RunnerState is where a Runner is.
type RunnerState string

// The states of a Runner. Ended is terminal.
const (
	// Unknown is a runner of which nothing is recorded.
	Unknown RunnerState = ""
	// Launching is a runner that a worker is creating, until Runner.Until.
	Launching RunnerState = "launching"
	// Launched is a runner whose sandbox exists: it is on its way or idle.
	Launched RunnerState = "launched"
	// Busy is a runner that has taken a job.
	Busy RunnerState = "busy"
	// Ended is a runner that will take no job any more.
	Ended RunnerState = "ended"
)

// Runner is our record of one registration at GitHub and its sandbox at Modal.
type Runner struct {
	Name  Name        `json:"name"`
	State RunnerState `json:"state"`
	// Job is what it was registered for: its labels, repository and pool.
	Job Job `json:"job"`
	// Scope is where it is registered: "owner/repo", "owner" for an organization, or what EnterpriseScope says. Empty is not known.
	Scope string `json:"scope,omitempty"`
	// For is the job that counts on it. Zero for a spare one. It stays when the runner takes another job.
	For int64 `json:"for,omitempty"`
	// Took is the job that it took; zero also for one that has a job of which no webhook told.
	Took int64 `json:"took,omitempty"`
	// JobOver says that GitHub has completed its job, so that whatever is left of it can be ended without asking it.
	JobOver bool `json:"job_over,omitempty"`
	// SpareSince is since when no job counts on it.
	SpareSince time.Time `json:"spare_since,omitzero"`
	// OccupiedSince is when it was first found to have a job of which no webhook told.
	OccupiedSince time.Time `json:"occupied_since,omitzero"`
	// Until is when another worker may take over a launch that has not ended.
	Until time.Time `json:"until,omitzero"`
	// Unasked says that neither a registration nor a sandbox was asked for under its name, in any launch of it: there is nothing to remove.
	Unasked bool `json:"unasked,omitempty"`
	// GitHubID is GitHub's id of the registration.
	GitHubID int64 `json:"github_id,omitempty"`
	// Replaced says that there was another registration before, which was removed: a sandbox that was asked for with it may come late.
	Replaced bool `json:"replaced,omitempty"`
	// SandboxID is Modal's id of the sandbox. Warm says that it had waited for a runner; of one that a sweep found nobody says so.
	SandboxID  string    `json:"sandbox_id,omitempty"`
	Warm       bool      `json:"warm,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	LaunchedAt time.Time `json:"launched_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	// Price is what its sandbox costs, in US dollars a second, as it was when it was launched.
	Price float64 `json:"price,omitempty"`
}

// MayComeLate reports whether a sandbox of the runner may exist or come to exist though none shows itself: one was asked for, or may have
// been.
func (r Runner) MayComeLate() bool { return r.GitHubID != 0 || r.Replaced }

// Cost is what the runner has cost until now, in US dollars: from its launch to its end, as far as the record knows them.
func (r Runner) Cost(now time.Time) float64 {
	if r.LaunchedAt.IsZero() {
		return 0
	}
	if !r.EndedAt.IsZero() {
		now = r.EndedAt
	}
	return r.Price * max(0, now.Sub(r.LaunchedAt).Seconds())
}

// Evidence is what a sandbox says of its runner.
type Evidence string

// What a sandbox can say. The words are the entrypoint's.
const (
	// Unscheduled is a sandbox that Modal has found no machine for: nothing has run in it. Modal says so, and not the sandbox.
	Unscheduled Evidence = "unscheduled"
	// Starting is a sandbox that can't tell yet: it has not started its runner.
	Starting Evidence = "starting"
	// Warm is a sandbox that waits for a runner to be given to it.
	Warm Evidence = "warm"
	// Idle is a runner that has no job.
	Idle Evidence = "idle"
	// HasJob is a runner that has one.
	HasJob Evidence = "busy"
	// ReleasedNow is a runner that had no job and will take none.
	ReleasedNow Evidence = "released"
	// Over is a sandbox that has ended.
	Over Evidence = "over"
	// Hangs is a sandbox that has not started its runner, or does not answer, though it has had its time.
	Hangs Evidence = "hangs"
)

// Fate is how a sandbox is, or how it ended.
type Fate struct {
	Running bool
	// How is in words for a person, without secrets, of at most 500 bytes.
	How string
}

// alive reports whether the runner may still take a job.
func (r Runner) alive() bool { return r.State == Launching || r.State == Launched }

// isOther reports whether what is known of the registration with that id is known of another runner than r, though their names
// are the same.
func (r Runner) isOther(githubID int64) bool {
	return githubID != 0 && r.GitHubID != 0 && githubID != r.GitHubID
}
