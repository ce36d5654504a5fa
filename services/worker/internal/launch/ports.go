package launch

import (
	"context"
	"time"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// Ledger keeps the records. A record that does not exist loads as zero with revision 0; saving with revision 0 creates
// it. Save returns run.ErrConflict if the record is no longer at the given revision, and nothing is written.
type Ledger interface {
	LoadRun(ctx context.Context, job int64) (run.Run, uint64, error)
	SaveRun(ctx context.Context, r run.Run, revision uint64) (uint64, error)
	LoadRunner(ctx context.Context, name run.Name) (run.Runner, uint64, error)
	SaveRunner(ctx context.Context, r run.Runner, revision uint64) (uint64, error)
}

// Witness tells what GitHub knows.
type Witness interface {
	// Sight asks GitHub for a job.
	Sight(ctx context.Context, j run.Job) (run.Sighting, error)
	// Busy reports whether GitHub knows of a job of the runner. It may be wrong for a minute after the job began or ended.
	Busy(ctx context.Context, r run.Runner) (bool, error)
	// Urgent is ctx for a question without whose answer a job gets no runner: there is as much room for it as for Register.
	Urgent(ctx context.Context) context.Context
}

// Forge registers runners at GitHub.
type Forge interface {
	Witness

	// Scope is where the runner of a job is registered; see run.Runner.
	Scope(j run.Job) string
	// Room returns a run.LimitedError if it is known that Register would, and else nil. It asks nobody. Register is expected soon, unless
	// ctx is done.
	Room(ctx context.Context, j run.Job) error
	// Register makes a registration under the runner's name. jit lets exactly one runner be this registration; it goes to
	// Fleet.Create and nowhere else. Register returns run.ErrExists if there is a registration of that name; after any
	// other error there may be one.
	Register(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error)
	// Deregister removes the registration of the runner's name. Nil if there is none.
	Deregister(ctx context.Context, r run.Runner) error
}

// Authors are told at GitHub what became of their jobs.
type Authors interface {
	// Inform shows the author of a job, where GitHub shows the checks of its commit, the reason for which the job was given up;
	// without a reason, that it was not after all, if the author was told so. Said again, it changes what was said before, as long
	// as no two say something at once. After an error it may have been said; a run.PermanentError says that it never can be.
	Inform(ctx context.Context, j run.Job, reason string) error
}

// Inventory knows which sandboxes run at Modal.
type Inventory interface {
	// Find returns the id of the running sandbox of that name, or "" if none runs.
	Find(ctx context.Context, name run.Name) (id string, err error)
	// LaunchedFor returns the ids of the running sandboxes that were created for the job. The list is complete, or there is an error.
	LaunchedFor(ctx context.Context, job int64) (ids []string, err error)
}

// Housing gives runners their sandboxes.
type Housing interface {
	// Create starts the sandbox of the runner, under the runner's name. It returns run.ErrExists if one of that name
	// runs; after any other error there may be one, unless it says that there is none; see run.ErrNotMade.
	Create(ctx context.Context, r run.Runner, p run.Pool, jit config.Secret) (id string, err error)
	// Give has a warm sandbox become the runner's, whose registration jit is of. Given again to one runner and registration it is given
	// once. run.ErrNotMade says for sure that it has not, and never will: it has ended, or is another's; after any other error it may have.
	Give(ctx context.Context, id string, r run.Runner, jit config.Secret) error
}

// Fleet runs sandboxes at Modal.
type Fleet interface {
	Inventory
	Housing

	// Ask asks a sandbox whether its runner has a job. With release, a runner that has none is ended at once, and takes
	// none any more, unless it is run.Starting; so is a warm sandbox. A sandbox that gives no answer is an error.
	Ask(ctx context.Context, id string, release bool) (run.Evidence, error)
	// Fate tells how a sandbox is or how it ended, with the end of its log if withLog is set.
	Fate(ctx context.Context, id string, withLog bool) (run.Fate, error)
	// Terminate ends a sandbox. Nil if it has ended.
	Terminate(ctx context.Context, id string) error
}

// Queue publishes what is to be handled by whichever worker is free. Each call returns once the server has stored it.
type Queue interface {
	// Requeue has the job, queued at queuedAt, looked at again now. The revision is that of the record which asks for it;
	// asking twice with one revision is asking once.
	Requeue(ctx context.Context, j run.Job, queuedAt time.Time, revision uint64) error
	// Bury puts the job among the dead letters. Burying it twice leaves one.
	Bury(ctx context.Context, j run.Job, reason string) error
}

// Places has the record of who may have a sandbox; see places.Book.
type Places interface {
	// Change makes the record what change makes of it, by compare-and-set. change may be asked more than once.
	Change(ctx context.Context, change func(places.Record) places.Record) (revision uint64, err error)
}

// Observer is told what happened, for metrics. It must not block.
type Observer interface {
	// Launched is told how each launch ended: launched, warm, adopted, unwanted, no_image, rate_limited, capacity, refused, invalid,
	// timeout or error; or what it had to wait for, a places.Kind.
	Launched(pool, outcome string)
	// QueueToLaunch is the time from the webhook to the sandbox.
	QueueToLaunch(pool string, d time.Duration)
	// QueueToStart is the time from the webhook to the runner's taking the job.
	QueueToStart(pool string, d time.Duration)
	// Step is the time that one step of a launch took: origin, intent, jit, give, create or record.
	Step(step string, d time.Duration)
	// Buried is told of each dead letter.
	Buried()
}
