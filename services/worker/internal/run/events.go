package run

import (
	"fmt"
	"time"
)

// Event is what happened to a Run.
type Event interface {
	// cause is what the notes of a Run's timeline name as theirs: see Note.Event.
	cause() string
}

// What an Event comes of if not of a delivery of GitHub's.
const (
	// AskedGitHub is that we asked GitHub.
	AskedGitHub = "asked GitHub"
	// BySweep is that a sweep found out by our own records.
	BySweep = "by a sweep"
	// ByOperator is that a person wants it.
	ByOperator = "by an operator"
)

// Where these have a field Event, it says what they come of: GitHub's id of the delivery, or one of the above. It decides
// nothing.
type (
	// Queued says that GitHub queued the job. A copy of it comes whenever a Run is to be looked at again; Event is empty in
	// one that we ask for.
	Queued struct {
		Job   Job
		At    time.Time
		Event string
	}
	// Held says that GitHub holds the job until an approval.
	Held struct {
		Job   Job
		At    time.Time
		Event string
	}
	// Started says that a runner took the job. Runner is zero if it is not ours. GitHubID is the id of its registration, by which
	// it is told from an earlier or later one of that name: a ledger that was restored from a backup may use a name again.
	Started struct {
		Job      Job
		Runner   Name
		GitHubID int64
		At       time.Time
		Event    string
	}
	// Finished says that GitHub completed the job. Runner is zero if it is not ours, or if no runner had taken it. GitHubID is as
	// in Started.
	Finished struct {
		Job        Job
		Runner     Name
		GitHubID   int64
		Conclusion string
		Event      string
	}
	// Lost says that Runner will not serve the job, for Reason: it took another, or it has ended. Spare is what may serve
	// it instead; From is the job that Spare was counted for. Event tells of the job that it took. Blameless says that its launch
	// did not fail: the runner serves another job.
	Lost struct {
		Runner    Name
		Spare     Runner
		From      int64
		Reason    string
		Event     string
		Blameless bool
	}
	// Failed says that a launch failed, for Reason. Permanent means that another try can't help; Limited, that room or
	// budget was lacking, which is no failure of the launch; InLine, that the job stands in line for a place. Until is as in Run.
	Failed struct {
		Until     time.Time
		Reason    string
		Permanent bool
		Limited   bool
		InLine    bool
	}
	// Claimed says that Runner counts for the job now. Launching says that its launch has not ended.
	Claimed struct {
		Runner    Name
		Launching bool
	}
	// Vetted says whether the job is trusted, as GitHub says of its origin, and which pool it goes to by that: Job has both.
	Vetted struct{ Job Job }
	// Placed says that a launch succeeded: the sandbox of Runner exists.
	Placed struct{ Runner Name }
)

func (e Queued) cause() string   { return e.Event }
func (e Held) cause() string     { return e.Event }
func (e Started) cause() string  { return e.Event }
func (e Finished) cause() string { return e.Event }
func (e Lost) cause() string     { return e.Event }
func (Failed) cause() string     { return "" }
func (Claimed) cause() string    { return "" }
func (Vetted) cause() string     { return AskedGitHub }
func (Placed) cause() string     { return "" }

// JobOf is the job that a Queued, Held, Started or Finished is about. Of any other event GitHub does not tell, and JobOf panics.
func JobOf(ev Event) Job {
	switch ev := ev.(type) {
	case Queued:
		return ev.Job
	case Held:
		return ev.Job
	case Started:
		return ev.Job
	case Finished:
		return ev.Job
	}
	panic(fmt.Sprintf("run: not an event of GitHub's: %T", ev))
}

// RunnerEvent is what happened to a Runner.
type RunnerEvent interface{ runnerEvent() }

type (
	// Wanted says that Job wants the runner to live, at Price; see Runner.
	Wanted struct {
		Name  Name
		Job   Job
		Scope string
		Price float64
	}
	// Found says that a sandbox of that name, created at CreatedAt, runs. The ledger may have forgotten it.
	Found struct {
		Name      Name
		Job       Job
		Scope     string
		Price     float64
		SandboxID string
		CreatedAt time.Time
	}
	// Registered says that GitHub knows the runner, under the id GitHubID; zero, that it does not: none was ever used, unless Replaced
	// says that the one on record was removed so that another can be made.
	Registered struct {
		GitHubID int64
		Replaced bool
	}
	// Created says that the runner's sandbox exists, since At; zero is just now, as far as is known. GitHubID is zero if it is not known.
	// Warm says that the sandbox had waited for a runner, and was given this one.
	Created struct {
		GitHubID  int64
		SandboxID string
		Warm      bool
		At        time.Time
	}
	// GivenUp says that the worker that was launching the runner until Until stopped trying; another may try at once. Unasked is as in
	// Runner.
	GivenUp struct {
		Until   time.Time
		Reason  string
		Unasked bool
	}
	// Taken says that the runner took the job By, of which Event told: the runner whose registration is GitHubID, if that is known.
	// Spare is what By had counted on.
	Taken struct {
		Name     Name
		GitHubID int64
		By       int64
		Spare    Name
		Event    string
	}
	// Counted says that the runner, counted for From so far, counts for For.
	Counted struct{ For, From int64 }
	// Released says that the job From counts on the runner no longer.
	Released struct {
		Name Name
		From int64
	}
	// Occupied says that the runner has a job, by the evidence from inside its sandbox, while the job that counts on it
	// waits at GitHub.
	Occupied struct{}
	// Overdue says that the runner has been there for so long without a job that it is to be looked at, whatever else is told of it.
	Overdue struct{}
	// Gone says that the runner has ended, or is to end, for Reason. JobOver says that GitHub has completed its job: that of the
	// runner whose registration is GitHubID.
	Gone struct {
		Reason   string
		JobOver  bool
		GitHubID int64
	}
)

func (Wanted) runnerEvent()     {}
func (Found) runnerEvent()      {}
func (Registered) runnerEvent() {}
func (Created) runnerEvent()    {}
func (GivenUp) runnerEvent()    {}
func (Taken) runnerEvent()      {}
func (Counted) runnerEvent()    {}
func (Released) runnerEvent()   {}
func (Occupied) runnerEvent()   {}
func (Overdue) runnerEvent()    {}
func (Gone) runnerEvent()       {}

// Effect is what is to be done once the record that asks for it is saved. Each can be done twice.
type Effect interface{ effect() }

type (
	// Launch asks that Runner lives, for Job.
	Launch struct {
		Runner Name
		Job    Job
	}
	// Take asks that Runner, whose registration is GitHubID, is recorded as busy with the job By, of which Event told. Spare is
	// what By had counted on.
	Take struct {
		Runner   Name
		GitHubID int64
		By       int64
		Spare    Name
		Event    string
	}
	// Lose asks that Job is told that it lost Runner, for Reason. Spare, counted for From, is offered in its place. Event and
	// Blameless are as in Lost.
	Lose struct {
		Job           int64
		Runner, Spare Name
		From          int64
		Reason        string
		Event         string
		Blameless     bool
	}
	// Count asks that Runner, counted for From so far, counts for For.
	Count struct {
		Runner    Name
		For, From int64
	}
	// Confirm asks whether Job still counts on Runner, which counts for it now; Launching is as in Claimed.
	Confirm struct {
		Job       int64
		Runner    Name
		Launching bool
	}
	// Release asks that Runner counts for From no longer.
	Release struct {
		Runner Name
		From   int64
	}
	// Settle asks whether the sandbox of Runner, whose registration was GitHubID and whose job is over, has ended by itself. If
	// not, the event at hand comes again at Again.
	Settle struct {
		Runner   Name
		GitHubID int64
		Again    time.Time
	}
	// Retire asks that whatever is left of Runner, whose registration was GitHubID, ends: its job is over.
	Retire struct {
		Runner   Name
		GitHubID int64
	}
	// Requeue asks that Job, queued at QueuedAt, is looked at again now.
	Requeue struct {
		Job      Job
		QueuedAt time.Time
	}
	// Later asks that the event at hand comes again at At.
	Later struct{ At time.Time }
	// Bury asks that Job is put among the dead letters, for Reason.
	Bury struct {
		Job    Job
		Reason string
	}
	// Create asks that the registration and the sandbox of Runner are made, to be given up at Runner.Until. Runner.Unasked is as it was
	// before.
	Create struct{ Runner Runner }
	// Inspect asks whether the sandbox of Runner still lives.
	Inspect struct{ Runner Runner }
	// Dismiss asks that the sandbox of Runner ends, if the runner has no job.
	Dismiss struct{ Runner Runner }
	// End asks that the sandbox and the registration of Runner end.
	End struct{ Runner Runner }
)

func (Launch) effect()  {}
func (Take) effect()    {}
func (Lose) effect()    {}
func (Count) effect()   {}
func (Confirm) effect() {}
func (Release) effect() {}
func (Settle) effect()  {}
func (Retire) effect()  {}
func (Requeue) effect() {}
func (Later) effect()   {}
func (Bury) effect()    {}
func (Create) effect()  {}
func (Inspect) effect() {}
func (Dismiss) effect() {}
func (End) effect()     {}
