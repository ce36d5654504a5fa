package sweep

import (
	"context"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Record is a record of the ledger. Value is never nil, and shared by all lists that have this revision, as copies of so many would
// cost more than the sweeps do: nobody may change it. ChangedAt is when the revision was stored, by the server's clock.
type Record[T any] struct {
	Value     *T
	Revision  uint64
	ChangedAt time.Time
}

// Ledger lists the records. A list is complete, or there is an error.
type Ledger interface {
	Runs(ctx context.Context) ([]Record[run.Run], error)
	Runners(ctx context.Context) ([]Record[run.Runner], error)
}

// Reader reads single records; see launch.Ledger.
type Reader interface {
	LoadRun(ctx context.Context, job int64) (run.Run, uint64, error)
	LoadRunner(ctx context.Context, name run.Name) (run.Runner, uint64, error)
}

// Handler does what follows from what was found out about a runner; see launch.Launcher.HandleRunner.
type Handler interface {
	HandleRunner(ctx context.Context, name run.Name, ev run.RunnerEvent) (again time.Time, err error)
}

// Queue has a worker handle what was found out about a job. Each call returns once the server has stored it. The revision is
// that of the record which was looked at; telling the same twice with one revision is telling it once.
type Queue interface {
	// Report takes a run.Queued, run.Held, run.Started or run.Finished.
	Report(ctx context.Context, ev run.Event, revision uint64) error
}

// Sandbox is a running sandbox of our kind.
type Sandbox struct {
	ID string
	// Name is the runner's; zero for a name that we do not give. Warm is the name of one that no runner was given to; else empty.
	Name      run.Name
	Warm      string
	CreatedAt time.Time
	// Deployment is the id of the workers that created it.
	Deployment string
	// Repo is "owner/repo" of the job that it was created for; Pool, what it got.
	Repo, Pool string
}

// Fleet knows the sandboxes at Modal.
type Fleet interface {
	// List lists all running sandboxes of our kind. The list is complete, or there is an error.
	List(ctx context.Context) ([]Sandbox, error)
	// Find returns the id of the running sandbox of that name, or "" if none runs.
	Find(ctx context.Context, name run.Name) (id string, err error)
	// Fate tells how the sandbox is or how it ended, with the end of its log if withLog is set.
	Fate(ctx context.Context, id string, withLog bool) (run.Fate, error)
	Asker
}

// Asker asks sandboxes, and ends them.
type Asker interface {
	// Ask asks a sandbox whether its runner has a job, or whether it waits for one. With release, one without a job is ended at once, and
	// takes no runner any more, unless it is run.Starting. A sandbox that gives no answer is an error.
	Ask(ctx context.Context, id string, release bool) (run.Evidence, error)
	// Terminate ends a sandbox. Nil if it has ended.
	Terminate(ctx context.Context, id string) error
}

// Registration is a runner of ours as GitHub lists it. Online and Busy may be a minute old.
type Registration struct {
	Name         run.Name
	ID           int64
	Online, Busy bool
}

// Registrar knows the registrations at GitHub.
type Registrar interface {
	// Registrations lists all that bear names of ours in a scope. j is any job whose runners belong there.
	Registrations(ctx context.Context, j run.Job, scope string) ([]Registration, error)
	// DeregisterID removes one by GitHub's id. Nil if there is none; a busy one is an error.
	DeregisterID(ctx context.Context, j run.Job, scope string, id int64) error
}

// Jobs knows the jobs at GitHub.
type Jobs interface {
	// Sight asks for one job.
	Sight(ctx context.Context, j run.Job) (run.Sighting, error)
	// Queued lists the jobs of a repository that want a runner, whatever their labels. It is complete, or there is an error; what
	// it holds is true in any case.
	Queued(ctx context.Context, in Repo) ([]run.Job, error)
}

// Repo is a repository. Installation is the App's that may act there; zero if it is not known.
type Repo struct {
	Owner, Name  string
	Installation int64
}

// Delivery is one attempt of GitHub's to send us an event. All attempts to send one event have its GUID.
type Delivery struct {
	ID          int64
	GUID, Event string
	// Repo is GitHub's id of the repository that the event is about; zero if it is about none.
	Repo int64
	OK   bool
	// Unreadable says that the answer was that the event can't be read. So ingress says of what no ingress of its version can read, but of
	// what was mutilated on its way as well, and something before it may say so of anything.
	Unreadable bool
	At         time.Time
}

// Hook is a webhook that events come by: a repository's; an organization's if Repo is empty; the App's if all is zero.
type Hook struct {
	Owner, Repo string
	ID          int64
}

// Hooks knows the webhooks at GitHub. An error holds a run.PermanentError if a webhook does not exist or is not ours to see.
type Hooks interface {
	// Hooks lists those of a repository that bring events of jobs to us; those of an organization if in has no Name.
	Hooks(ctx context.Context, in Repo) ([]Hook, error)
	// Deliveries lists the attempts since then, newest first, as far back as GitHub remembers. It is complete, or there is
	// an error.
	Deliveries(ctx context.Context, hook Hook, since time.Time) ([]Delivery, error)
	// Redeliver has GitHub make another attempt.
	Redeliver(ctx context.Context, hook Hook, id int64) error
}

// Cursors keeps for each webhook, by its id, the time before which no delivery needs to be looked at; zero if none was set.
type Cursors interface {
	Cursor(ctx context.Context, hook int64) (time.Time, error)
	SetCursor(ctx context.Context, hook int64, at time.Time) error
}
