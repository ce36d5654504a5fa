package sweep

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// tidyTime is how long after its job's end a runner may still be there: the message that ends it comes after run.Grace.
const tidyTime = run.Grace + time.Minute

// lateTime is how long after its launch a runner without a job is looked at by this sweep, too: an idle one has mostly ended by then.
const lateTime = 10 * time.Minute

// Orphans finds sandboxes without a living runner, and runners without a sandbox or without a use.
type Orphans struct {
	Fleet   Fleet
	Ledger  Ledger
	Handler Handler
	Places  Book
	Rules   places.Rules
	Now     func() time.Time
	// Clock asks for the time by which Record.ChangedAt goes. The worker's own may be minutes off.
	Clock func(context.Context) (time.Time, error)
	// Scope is where the runner of a job is registered.
	Scope func(run.Job) string
	// Deployment is the id of these workers. What has another one's is never touched.
	Deployment func(context.Context) (string, error)
	// Each calls do for each of n; nil for all at once, each by a goroutine of its own.
	Each func(n int, do func(i int))

	// Those that have a sandbox, and the others; warm sandboxes.
	present, absent, strays, cooled turn
	// lookedAt is when late runners were looked at last.
	lookedAt time.Time
	// unfinished is when what was begun about a runner can come to its end.
	unfinished map[run.Name]time.Time
}

// survey is what Modal and the ledger say.
type survey struct {
	began      time.Time // by Clock
	deployment string
	// before are the places as they were when it began.
	before places.Record
	// listed are the sandboxes of runners, warm those that wait for one.
	listed, warm []Sandbox
	sandboxes    map[run.Name]Sandbox
	runs         map[int64]Record[run.Run]
	looks        bool // at late runners, this time
	// unfinished are the runners about which something that an earlier run began can come to its end now.
	unfinished map[run.Name]bool
}

// RunOnce looks once. The same may be found again until what follows from it has come to its end.
func (o *Orphans) RunOnce(ctx context.Context) (Report, error) {
	s, runners, err := o.look(ctx)
	if err != nil {
		return o.waits(ctx, o.Now()), err
	}
	now := o.Now()
	if s.looks = now.Sub(o.lookedAt) >= run.LookAfter; s.looks {
		o.lookedAt = now
	}
	s.unfinished = o.due(now)
	t := tally{Report: s.census(runners)}
	record, err := o.recount(ctx, s, runners)
	if t.found("", err) {
		return t.result()
	}
	if err == nil { // First: a worker that dies often may never come to the end of the others.
		o.rewarm(ctx, s, record, &t)
	}
	for some := range slices.Chunk(o.inTurn(o.findings(s, runners)), atOnce) {
		if o.act(ctx, some, &t) {
			break
		}
	}
	return t.result()
}

// look reads the places first, then Modal, then the ledger: a launch takes its place, puts its intent on record and makes its sandbox, in
// that order, so that what is seen of it has a record by the time the ledger is read.
func (o *Orphans) look(ctx context.Context) (survey, []Record[run.Runner], error) {
	s := survey{sandboxes: map[run.Name]Sandbox{}, runs: map[int64]Record[run.Run]{}}
	var err error
	if s.began, err = o.Clock(ctx); err != nil {
		return survey{}, nil, fmt.Errorf("time of the ledger: %w", err)
	}
	if s.before, _, err = o.Places.Read(ctx); err != nil {
		return survey{}, nil, fmt.Errorf("read places: %w", err)
	}
	if s.deployment, err = o.Deployment(ctx); err != nil {
		return survey{}, nil, fmt.Errorf("deployment: %w", err)
	}
	sandboxes, err := o.Fleet.List(ctx)
	if err != nil {
		return survey{}, nil, fmt.Errorf("list sandboxes: %w", err)
	}
	for _, sandbox := range sandboxes {
		switch {
		case sandbox.Warm != "":
			s.warm = append(s.warm, sandbox)
		case !sandbox.Name.IsZero():
			s.listed = append(s.listed, sandbox)
			s.sandboxes[sandbox.Name] = sandbox
		}
	}
	runners, err := o.Ledger.Runners(ctx)
	if err != nil {
		return survey{}, nil, err
	}
	runs, err := o.Ledger.Runs(ctx)
	if err != nil {
		return survey{}, nil, err
	}
	for _, record := range runs {
		s.runs[record.Value.Job.ID] = record
	}
	return s, runners, nil
}

// finding is what is wrong with a runner, and what happened to it then. Nothing is wrong if event is nil.
type finding struct {
	name  run.Name
	kind  Kind
	event run.RunnerEvent
	// missing is the runner, if it is said to be gone for no other reason than that its sandbox was not listed.
	missing *run.Runner
}

func (s survey) judge(record Record[run.Runner]) finding {
	r := record.Value
	sandbox, listed := s.sandboxes[r.Name]
	ours, old := listed && sandbox.Deployment == s.deployment, s.old(record.ChangedAt)
	switch r.State {
	case run.Launching:
		switch {
		case !s.old(r.Until): // Somebody may be launching it, or is to.
		case ours:
			return finding{kind: Abandoned, event: run.Created{SandboxID: sandbox.ID, At: sandbox.CreatedAt}}
		case !listed && !s.counted(r): // A job that counts on it has it launched again, when there is room for it.
			return finding{kind: Abandoned, event: run.Gone{Reason: "its launch did not come to an end"}, missing: r}
		}
	case run.Launched:
		switch {
		case r.For == 0 && s.began.Sub(r.SpareSince) >= run.SpareTime:
			return finding{kind: Spare, event: run.Released{Name: r.Name}}
		case old && !listed:
			return finding{kind: Vanished, event: run.Gone{Reason: "its sandbox is not there any more"}, missing: r}
		case old && r.For != 0 && !s.counted(r): // The job itself is asked, and lets it go if that is so.
			return finding{kind: Uncounted, event: run.Counted{For: r.For, From: r.For}}
		case r.For != 0 && s.began.Sub(r.LaunchedAt) >= lateTime && s.looks: // What looks at it otherwise is a message, which may be lost.
			return finding{kind: Late, event: run.Overdue{}}
		}
	case run.Busy:
		switch job, ok := s.runs[r.Took]; {
		case ok && job.Value.Over() && s.began.Sub(job.Value.FinishedAt) >= tidyTime:
			return finding{kind: Unfinished, event: run.Gone{Reason: "its job was completed", JobOver: true, GitHubID: job.Value.RanOnID}}
		case old && !listed:
			return finding{kind: Vanished, event: run.Gone{Reason: "its sandbox is not there any more"}, missing: r}
		}
	case run.Ended:
		switch {
		case s.unfinished[r.Name]: // It was found before.
			return finding{event: run.Gone{}}
		case !old || !ours:
		case sandbox.ID != r.SandboxID: // It was not on record when the runner ended.
			return finding{kind: Outlived, event: run.Created{SandboxID: sandbox.ID, At: sandbox.CreatedAt}}
		default:
			return finding{kind: Outlived, event: run.Gone{}}
		}
	case run.Unknown:
	}
	return finding{}
}

// counted reports whether the job that the runner counts for may count on it too. What has just changed may.
func (s survey) counted(r *run.Runner) bool {
	job, ok := s.runs[r.For]
	if !ok {
		return false
	}
	return !s.old(job.ChangedAt) || job.Value.State == run.Waiting && job.Value.Runner == r.Name
}

func (s survey) old(at time.Time) bool { return s.began.Sub(at) >= grace }

// unrecorded is a sandbox without a record. It gets one, as a runner that no job counts on: it may have a job all the same.
func (o *Orphans) unrecorded(sandbox Sandbox, s survey) finding {
	job := s.madeFor(sandbox)
	return finding{name: sandbox.Name, kind: Unrecorded, event: run.Found{
		Name: sandbox.Name, Job: job, Scope: o.Scope(job), Price: o.Rules.Sandbox(job).Price, SandboxID: sandbox.ID, CreatedAt: sandbox.CreatedAt,
	}}
}

// madeFor is the job that a sandbox was made for, by its record or else by what the sandbox says.
func (s survey) madeFor(sandbox Sandbox) run.Job {
	if record, ok := s.runs[sandbox.Name.Job]; ok && record.Value.Job.ID != 0 {
		return record.Value.Job
	}
	owner, repo, _ := strings.Cut(sandbox.Repo, "/")
	// As if the owner were an organization. If not, GitHub answers with an error, and not that it knows of no such runner.
	return run.Job{ID: sandbox.Name.Job, Owner: owner, Repo: repo, OrgOwned: true, Pool: sandbox.Pool}
}
