package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// maxConflicts is how often a step is decided anew because somebody else changed its record in between. A record has
// few writers, and each of them writes a few times, so that more means that something is wrong.
const maxConflicts = 8

// Options is what a Launcher works with. All of it is required, but for Tried.
type Options struct {
	Ledger   Ledger
	Forge    Forge
	Authors  Authors
	Fleet    Fleet
	Queue    Queue
	Places   Places
	Observer Observer
	// PoolOf returns what a sandbox for the job gets, or why it can have none until an operator or the job's author mends it.
	PoolOf func(run.Job) (run.Pool, error)
	// Rules are the limits that places are given by.
	Rules places.Rules
	// Admit returns the job as GitHub says that it is, with the pool that takes it by that. The error says why none does, if it is a
	// run.PermanentError, and else that GitHub can't be asked now; with it comes the zero Job, unless it is known what the job is.
	Admit func(context.Context, run.Job) (run.Job, error)
	// Ready returns nil if a sandbox for the job can be created now, else a run.LimitedError that says why not. It asks nobody.
	Ready func(run.Job) error
	// Tried returns the version of GitHub's runner that is to blame for the end of the runner, which was to try it before others get it;
	// empty if it is to blame as any other. Nil if none is ever tried.
	Tried  func(context.Context, run.Runner) (version string, err error)
	Tracer trace.Tracer
	Log    *slog.Logger
	// Now is the clock. Whatever is decided at one time is decided by one reading of it.
	Now func() time.Time
	// Rand gives the jitter of retries.
	Rand *rand.Rand
}

// Launcher handles what happened to jobs. It is safe for concurrent use, and keeps nothing of a job between two calls.
type Launcher struct {
	Options

	rndMu sync.Mutex
	// warned holds the owners of whom an operator was told that authors can't be told.
	warned sync.Map
}

// New makes a Launcher.
func New(o Options) *Launcher { return &Launcher{Options: o} }

// Handle does all that follows from what happened to the job. Called again with the same event, it ends what an earlier
// call has left undone. The zero time means that nothing more is to be done; another, that the event is to be handled
// again then. After an error it is to be handled again soon.
func (l *Launcher) Handle(ctx context.Context, job int64, ev run.Event) (again time.Time, err error) {
	h := handling{Launcher: l, began: l.Now()}
	if hold, ok := ev.(run.Held); ok {
		ev, err = h.heldStill(ctx, job, hold)
	}
	if err == nil && ev != nil {
		_, err = h.decide(ctx, job, ev)
	}
	h.inform(ctx)
	return h.verdict(err)
}

// HandleRunner does all that follows from what was found out about a runner; otherwise it is as Handle.
func (l *Launcher) HandleRunner(ctx context.Context, name run.Name, ev run.RunnerEvent) (again time.Time, err error) {
	h := handling{Launcher: l, began: l.Now()}
	_, err = h.decideRunner(ctx, name, ev)
	h.inform(ctx)
	return h.verdict(err)
}

// handling is the handling of one event.
type handling struct {
	*Launcher

	began time.Time
	// abroad is the time that GitHub and Modal took.
	abroad time.Duration
	again  time.Time
	// notices are what authors are to be told in the end.
	notices []run.Tell
	// done is a sandbox that was asked and will have no job any more, so that it need not be asked again; released is the same one if it
	// has yet to end.
	done, released string
	// left are registrations that GitHub has not removed though no sandbox can use them any more. A job that is told that it has lost its
	// runner goes on without this event: then the registration is the sweep's.
	left []leftover
}

// verdict is when to handle the event again. For lack of room or budget that is once there may be some, and no error.
func (h *handling) verdict(err error) (again time.Time, _ error) {
	for _, l := range h.left {
		err = cmp.Or(err, l.err)
	}
	if limited, ok := errors.AsType[*run.LimitedError](err); ok {
		return limited.Until.Add(h.backoff(1)), nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return h.again, nil
}

// decide takes one step of the job's record, does what follows, and returns the record.
func (h *handling) decide(ctx context.Context, job int64, ev run.Event) (run.Run, error) {
	for range maxConflicts {
		before, revision, err := h.Ledger.LoadRun(ctx, job)
		if err != nil {
			return run.Run{}, fmt.Errorf("load run %d: %w", job, err)
		}
		after, effects := run.Decide(before, ev, h.Now())
		after, notices := run.Inform(after, ev, h.Now())
		effects = append(effects, notices...)
		if !reflect.DeepEqual(before, after) {
			revision, err = h.Ledger.SaveRun(ctx, after, revision)
			if errors.Is(err, run.ErrConflict) {
				continue
			}
			if err != nil {
				return run.Run{}, fmt.Errorf("save run %d: %w", job, err)
			}
			h.observe(ctx, before, after)
		}
		if started, ok := ev.(run.Started); ok {
			h.strayed(ctx, after, started.Runner)
		}
		return after, h.apply(ctx, effects, revision)
	}
	return run.Run{}, fmt.Errorf("run %d: %w, %d times", job, run.ErrConflict, maxConflicts)
}

// decideRunner takes one step of the runner's record, does what follows, and returns the record.
func (h *handling) decideRunner(ctx context.Context, name run.Name, ev run.RunnerEvent) (run.Runner, error) {
	for range maxConflicts {
		before, revision, err := h.Ledger.LoadRunner(ctx, name)
		if err != nil {
			return run.Runner{}, fmt.Errorf("load runner %v: %w", name, err)
		}
		after, effects := run.DecideRunner(before, ev, h.Now())
		if !reflect.DeepEqual(before, after) {
			if _, err = h.Ledger.SaveRunner(ctx, after, revision); errors.Is(err, run.ErrConflict) {
				continue
			}
			if err != nil {
				return run.Runner{}, fmt.Errorf("save runner %v: %w", name, err)
			}
		}
		return after, h.apply(ctx, effects, 0)
	}
	return run.Runner{}, fmt.Errorf("runner %v: %w, %d times", name, run.ErrConflict, maxConflicts)
}

// apply does effects in their order. The first error ends it: the event comes again, and with it all of them.
func (h *handling) apply(ctx context.Context, effects []run.Effect, revision uint64) error {
	for _, e := range effects {
		if err := h.applyOne(ctx, e, revision); err != nil {
			return err
		}
	}
	return nil
}

func (h *handling) applyOne(ctx context.Context, e run.Effect, revision uint64) (err error) {
	switch e := e.(type) {
	case run.Launch:
		return h.want(ctx, e)
	case run.Take:
		return h.taken(ctx, e)
	case run.Lose:
		return h.lose(ctx, e)
	case run.Count:
		_, err = h.decideRunner(ctx, e.Runner, run.Counted{For: e.For, From: e.From})
	case run.Confirm:
		_, err = h.decide(ctx, e.Job, run.Claimed{Runner: e.Runner, Launching: e.Launching})
	case run.Release:
		_, err = h.decideRunner(ctx, e.Runner, run.Released{Name: e.Runner, From: e.From})
	case run.Settle:
		return h.settle(ctx, e)
	case run.Retire:
		_, err = h.decideRunner(ctx, e.Runner, run.Gone{Reason: "its job was completed", JobOver: true, GitHubID: e.GitHubID})
	case run.Requeue:
		return h.Queue.Requeue(ctx, e.Job, e.QueuedAt, revision)
	case run.Later:
		h.at(e.At)
	case run.Bury:
		return h.bury(ctx, e)
	case run.Tell:
		h.notices = append(h.notices, e)
	case run.Create:
		return h.create(ctx, e.Runner)
	case run.Inspect:
		return h.inspect(ctx, e.Runner)
	case run.Dismiss:
		return h.dismiss(ctx, e.Runner)
	case run.End:
		return h.end(ctx, e.Runner)
	}
	return err
}

// want sees to it that a runner lives that the job can count on.
func (h *handling) want(ctx context.Context, e run.Launch) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // It may wait for a place though there was room at GitHub, which is for others then.
	known, _, err := h.Ledger.LoadRunner(ctx, e.Runner)
	if err != nil {
		return fmt.Errorf("load runner %v: %w", e.Runner, err)
	}
	switch known.State {
	case run.Unknown, run.Launching:
		if e.Job, err = h.admitted(ctx, e.Job); err != nil || e.Job.ID == 0 {
			return err
		}
		if err := h.enter(ctx, e, known); err != nil {
			return h.awaits(ctx, e.Job, err)
		}
	case run.Launched:
		if _, err := h.PoolOf(e.Job); err != nil { // Its pool was taken away since.
			return h.noPool(ctx, e.Job, err)
		}
	case run.Busy, run.Ended:
	}
	r, err := h.decideRunner(ctx, e.Runner, run.Wanted{
		Name: e.Runner, Job: e.Job, Scope: h.Forge.Scope(e.Job), Price: h.Rules.Sandbox(e.Job).Price,
	})
	if err == nil && r.State == run.Ended && r.SandboxID == "" && !r.MayComeLate() { // It was released when it had its place already.
		return h.free(ctx, r)
	}
	return err
}

// taken records that the runner took a job.
func (h *handling) taken(ctx context.Context, e run.Take) error {
	before, _, err := h.Ledger.LoadRunner(ctx, e.Runner)
	if err != nil {
		return fmt.Errorf("load runner %v: %w", e.Runner, err)
	}
	r, err := h.decideRunner(ctx, e.Runner, run.Taken{Name: e.Runner, GitHubID: e.GitHubID, By: e.By, Spare: e.Spare, Event: e.Event})
	// Of one that is not on record only its name is known. What was on record already, as at the end of its job, says nothing of how
	// launches of the pool go now.
	if err != nil || r.Took != e.By || r.Job.ID == 0 || before.Took == e.By {
		return err
	}
	return h.tell(ctx, func(record places.Record) places.Record { return record.Started(places.KindOf(r.Job, h.Rules)) })
}

// lose tells a job that its runner will not serve it, and what may serve it instead.
func (h *handling) lose(ctx context.Context, e run.Lose) error {
	var spare run.Runner
	if !e.Spare.IsZero() {
		var err error
		if spare, _, err = h.Ledger.LoadRunner(ctx, e.Spare); err != nil {
			return fmt.Errorf("load runner %v: %w", e.Spare, err)
		}
	}
	e, err := h.blame(ctx, e)
	if err != nil {
		return err
	}
	h.left = slices.DeleteFunc(h.left, func(l leftover) bool { return l.runner == e.Runner })
	_, err = h.decide(ctx, e.Job, run.Lost{
		Runner: e.Runner, Spare: spare, From: e.From, Reason: e.Reason, Event: e.Event, Blameless: e.Blameless,
	})
	return err
}

// at has the event come again at t, or earlier if something else asks for that.
func (h *handling) at(t time.Time) {
	if h.again.IsZero() || t.Before(h.again) {
		h.again = t
	}
}

// backoff draws how long to wait after so many failures in a row.
func (l *Launcher) backoff(failures int) time.Duration { return run.Backoff(failures, l.random()) }

// random draws from [0, 1).
func (l *Launcher) random() float64 {
	l.rndMu.Lock()
	defer l.rndMu.Unlock()
	return l.Rand.Float64()
}
