package world

import (
	"errors"
	"strings"
	"time"
)

// Errors that the methods of World wrap; callers tell them apart with errors.Is.
var (
	ErrNotFound       = errors.New("not found")
	ErrExists         = errors.New("already exists")
	ErrInvalid        = errors.New("invalid")
	ErrState          = errors.New("not possible in this state")
	ErrHostedGroup    = errors.New("runner group belongs to GitHub-hosted runners")
	ErrRunnerBusy     = errors.New("runner is running a job")
	ErrDeregistered   = errors.New("runner registration has been deleted")
	ErrBadCredentials = errors.New("runner credentials are not valid")
	ErrConflict       = errors.New("a session for this runner already exists")
	ErrDeprecated     = errors.New("runner version is deprecated")
)

// Status is where a job, a step or a run stands.
type Status string

// The statuses that GitHub's webhooks and REST answers carry for self-hosted jobs.
const (
	Queued     Status = "queued"
	Waiting    Status = "waiting"
	InProgress Status = "in_progress"
	Completed  Status = "completed"
)

// Conclusion is how something ended; empty until it did.
type Conclusion string

// The conclusions that the model produces.
const (
	Success   Conclusion = "success"
	Failure   Conclusion = "failure"
	Cancelled Conclusion = "cancelled"
	Skipped   Conclusion = "skipped"
)

// Owner is a user or an organization.
type Owner struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Org   bool   `json:"org"`
	// Enterprise is the slug of the one that the organization is in; empty for none.
	Enterprise string `json:"enterprise,omitempty"`
}

// Group is a runner group.
type Group struct {
	ID   int64
	Name string
}

// Repo is a repository; Owner is its owner's login.
type Repo struct {
	ID        int64     `json:"id"`
	Owner     string    `json:"owner"`
	Name      string    `json:"name"`
	Private   bool      `json:"private"`
	CreatedAt time.Time `json:"created_at"`
}

// FullName is "owner/name".
func (r Repo) FullName() string { return r.Owner + "/" + r.Name }

// Installation of an App in an account. Without Repos it covers all repositories of the owner.
type Installation struct {
	ID int64 `json:"id"`
	// App is the id of another App than that with the webhook.
	App       int64     `json:"app,omitempty"`
	Owner     string    `json:"owner"`
	Repos     []string  `json:"repos,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Scope is where a runner is registered: one repository, a whole organization if Repo is empty, or an enterprise if Owner is, too.
type Scope struct {
	Enterprise string `json:"enterprise,omitempty"` // its slug
	Owner      string `json:"owner"`
	Repo       string `json:"repo,omitempty"`
}

// Path is that of the scope's page, relative to GitHub's.
func (s Scope) Path() string {
	if s.Enterprise != "" {
		return "enterprises/" + s.Enterprise
	}
	return strings.TrimSuffix(s.Owner+"/"+s.Repo, "/")
}

// Workflow is what one dispatch starts.
type Workflow struct {
	Repo   string    `json:"repo"`             // "owner/name"
	Name   string    `json:"name,omitempty"`   // default "CI"
	Event  string    `json:"event,omitempty"`  // default "push"
	Branch string    `json:"branch,omitempty"` // default "main"
	Head   string    `json:"head,omitempty"`   // "owner/name" of the fork that the commit is of; default the repository itself
	Jobs   []JobSpec `json:"jobs"`
}

// JobSpec is one job of a workflow. With an Environment it waits for Approve before it is queued.
type JobSpec struct {
	Name        string     `json:"name"`
	Labels      []string   `json:"labels"`
	Environment string     `json:"environment,omitempty"`
	Steps       []StepSpec `json:"steps,omitempty"`
}

// StepSpec is a shell command. Its default name is "Run " and the command's first line.
type StepSpec struct {
	Name string `json:"name,omitempty"`
	Run  string `json:"run"`
}

// Run is a workflow run.
type Run struct {
	ID         int64      `json:"id"`
	Number     int        `json:"number"`
	Attempt    int        `json:"attempt"`
	Repo       string     `json:"repo"`
	Workflow   string     `json:"workflow"`
	Event      string     `json:"event"`
	Branch     string     `json:"branch"`
	Head       string     `json:"head"` // the repository that the commit is of
	SHA        string     `json:"sha"`
	Status     Status     `json:"status"`
	Conclusion Conclusion `json:"conclusion,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  time.Time  `json:"started_at"` // of this attempt
	UpdatedAt  time.Time  `json:"updated_at"`
}

// Job is one job of one attempt of a run.
type Job struct {
	ID          int64      `json:"id"`
	RunID       int64      `json:"run_id"`
	Attempt     int        `json:"attempt"`
	Repo        string     `json:"repo"`
	Enterprise  string     `json:"enterprise,omitempty"` // that the repository's owner is in
	Name        string     `json:"name"`
	Labels      []string   `json:"labels"`
	Environment string     `json:"environment,omitempty"`
	Status      Status     `json:"status"`
	Conclusion  Conclusion `json:"conclusion,omitempty"`
	Reason      string     `json:"reason,omitempty"` // why GitHub, not the runner, ended it
	CreatedAt   time.Time  `json:"created_at"`
	QueuedAt    time.Time  `json:"queued_at,omitzero"`
	AssignedAt  time.Time  `json:"assigned_at,omitzero"`
	StartedAt   time.Time  `json:"started_at,omitzero"`
	CompletedAt time.Time  `json:"completed_at,omitzero"`
	Requeued    int        `json:"requeued,omitempty"` // how often no runner took it after it was assigned
	RunnerID    int64      `json:"runner_id,omitempty"`
	RunnerName  string     `json:"runner_name,omitempty"`
	GroupID     int64      `json:"runner_group_id,omitempty"`
	GroupName   string     `json:"runner_group_name,omitempty"`
	ExitCode    int        `json:"exit_code"` // of the step that failed, else 0
	Steps       []Step     `json:"steps,omitempty"`
}

// Step of a job that a runner took. Number counts from 1; the first and the last are GitHub's own.
type Step struct {
	Number      int        `json:"number"`
	Name        string     `json:"name"`
	Run         string     `json:"run,omitempty"`
	Status      Status     `json:"status"`
	Conclusion  Conclusion `json:"conclusion,omitempty"`
	ExitCode    int        `json:"exit_code"`
	Output      string     `json:"output,omitempty"`
	StartedAt   time.Time  `json:"started_at,omitzero"`
	CompletedAt time.Time  `json:"completed_at,omitzero"`
}

// Runner is a registration. It is online while its program holds a session.
type Runner struct {
	ID           int64     `json:"id"`
	Name         string    `json:"name"`
	Scope        Scope     `json:"scope"`
	Labels       []string  `json:"labels"` // lower case, as GitHub stores them
	GroupID      int64     `json:"group_id"`
	GroupName    string    `json:"group_name"`
	OS           string    `json:"os"` // "unknown" until it connected
	Version      string    `json:"version,omitempty"`
	Online       bool      `json:"online"`
	Busy         bool      `json:"busy"`
	RegisteredAt time.Time `json:"registered_at"`
	ConnectedAt  time.Time `json:"connected_at,omitzero"`
}

// Event is a change that GitHub tells its webhooks, with everything a payload needs as it was at that moment.
type Event struct {
	Action       string // "queued", "waiting", "in_progress" or "completed"
	Job          Job
	Run          Run
	Repo         Repo
	Owner        Owner
	Installation int64 // the App's installation that covers the repository; 0 without one
	At           time.Time
}
