package rollout

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// lookEvery is how often the record, and that of the runner that tries a release, are looked at.
	lookEvery = 5 * time.Second
	// offerEvery is how often GitHub is asked for the newest release, and retryOffer how soon again if it did not answer.
	offerEvery = 24 * time.Hour
	retryOffer = time.Minute
)

// Options is what a Rollout works with. All of it is required.
type Options struct {
	JS jetstream.JetStream
	// Pinned says that this worker's sandboxes get a release that an operator has chosen: it tries none.
	Pinned bool
	// Latest asks GitHub for the newest release.
	Latest func(context.Context) (run.RunnerRelease, error)
	// Runner returns the record of a runner, zero if there is none.
	Runner func(context.Context, run.Name) (run.Runner, error)
	// Well reports whether no other runner of the runner's pool has failed to start since the last one that did not.
	Well    func(context.Context, run.Runner) (bool, error)
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// Rollout is a worker's part in it. It is safe for concurrent use.
type Rollout struct {
	Options

	book *book

	mu   sync.Mutex
	seen State // as it was read last
}

// New makes a Rollout. The bucket need not exist yet. It calls nobody.
func New(o Options) *Rollout { return &Rollout{Options: o, book: newBook(o.JS)} }

// Run looks for newer releases and at how the trial goes, until ctx ends. One that is Pinned has nothing to look for.
func (r *Rollout) Run(ctx context.Context) {
	offerAt, reason := r.Now(), ""
	for ctx.Err() == nil && !r.Pinned {
		err := r.look(ctx)
		if now := r.Now(); err == nil && !now.Before(offerAt) {
			if _, err = r.offer(ctx); err == nil {
				offerAt, reason = now.Add(offerEvery), ""
			} else {
				offerAt = now.Add(retryOffer)
			}
		}
		if err != nil && ctx.Err() == nil && err.Error() != reason {
			reason = err.Error()
			r.Log.LogAttrs(ctx, slog.LevelWarn, "runner versions not looked at", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// look reads the record, and acts on how the trial went.
func (r *Rollout) look(ctx context.Context) error {
	s, err := r.Read(ctx)
	if err != nil {
		return err
	}
	if s.Trying {
		runner, err := r.Runner(ctx, s.Runner)
		if err != nil {
			return fmt.Errorf("runner that tries version %s: %w", s.Candidate.Version, err)
		}
		if _, err := r.judge(ctx, runner); err != nil {
			return err
		}
	}
	if s.Aged(r.Now()).Candidate.Version != s.Candidate.Version {
		_, err = r.change(ctx, func(s State) State { return s.Aged(r.Now()) })
	}
	return err
}

func (r *Rollout) offer(ctx context.Context) (State, error) {
	newest, err := r.Latest(ctx)
	if err != nil {
		return State{}, err
	}
	return r.change(ctx, func(s State) State { return s.Offered(newest) })
}

// judge puts on record what the record of the runner says of the release that it tries.
func (r *Rollout) judge(ctx context.Context, runner run.Runner) (State, error) {
	well := true
	if verdictOn(runner) == failed {
		var err error
		if well, err = r.Well(ctx, runner); err != nil {
			return State{}, err
		}
	}
	return r.change(ctx, func(s State) State { return s.Judged(runner, well, r.Now()) })
}

// Release is the one that all sandboxes are to have. GitHub is asked if there is none on record.
func (r *Rollout) Release(ctx context.Context) (run.RunnerRelease, error) {
	s, err := r.Read(ctx)
	if err != nil || s.Good.Version != "" {
		return s.Good, err
	}
	s, err = r.offer(ctx)
	return s.Good, err
}

// Good is the release that all sandboxes are to have, Candidate the one that is to be tried, as was known some seconds ago: zero if
// there is none, and always for a worker that is Pinned.
func (r *Rollout) Good() run.RunnerRelease { return r.known().Good }

// Candidate is as in Good.
func (r *Rollout) Candidate() run.RunnerRelease { return r.known().Candidate }

// Due reports whether the candidate is to be tried by the next sandbox that is created, as in Good.
func (r *Rollout) Due() bool { return r.known().due(r.Now()) }

func (r *Rollout) known() State {
	if r.Pinned {
		return State{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// Try reports whether the sandbox of the runner, which is to be created next, is the one that tries the version: at most one does at a
// time, and none soon after one that failed. The version is empty if there is no image with a candidate; a trial that the runner was on
// is void then. Whoever asks again gets the same answer.
func (r *Rollout) Try(ctx context.Context, name run.Name, version string) (tries bool, err error) {
	_, err = r.change(ctx, func(s State) (next State) {
		next, tries = s.Begun(name, version, r.Now())
		return next
	})
	return tries, err
}

// Tried returns the version that is to blame since the runner, which has ended, tried it. It is empty if the runner is, or its pool, as
// with any other.
func (r *Rollout) Tried(ctx context.Context, runner run.Runner) (version string, err error) {
	s, err := r.Read(ctx)
	if err == nil && s.Trying && s.Runner == runner.Name {
		s, err = r.judge(ctx, runner)
	}
	if err != nil || !s.failedWith(runner.Name) {
		return "", err
	}
	return cmp.Or(s.Refused.Version, s.Candidate.Version), nil
}

// Again has the refused release be the candidate again, and returns it; zero if none was refused.
func (r *Rollout) Again(ctx context.Context) (refused run.RunnerRelease, err error) {
	_, err = r.change(ctx, func(s State) State {
		refused = s.Refused
		return s.Again()
	})
	return refused, err
}

// Read returns what is on record.
func (r *Rollout) Read(ctx context.Context) (State, error) {
	s, _, err := r.book.read(ctx)
	if err != nil {
		return State{}, err
	}
	r.saw(s)
	return s, nil
}

// change changes the record, tells of that in the log, and returns what is on record then.
func (r *Rollout) change(ctx context.Context, change func(State) State) (State, error) {
	before, after, err := r.book.change(ctx, change)
	if err != nil {
		return State{}, err
	}
	r.saw(after)
	r.tell(ctx, before, after)
	return after, nil
}

func (r *Rollout) saw(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = s
	if !r.Pinned {
		r.Metrics.show(s)
	}
}

// tell logs what has changed.
func (r *Rollout) tell(ctx context.Context, before, after State) {
	version := func(of run.RunnerRelease) slog.Attr { return slog.String("runner_version", of.Version) }
	job := func(of State) slog.Attr { return slog.Int64("job_id", of.Runner.Job) }
	attempt := func(of State) slog.Attr { return slog.Int("attempt", of.Runner.Attempt) }
	switch {
	case before.Good.Version != after.Good.Version:
		r.Log.LogAttrs(ctx, slog.LevelInfo, "runner version is in use", version(after.Good))
	case before.Refused.Version == "" && after.Refused.Version != "":
		r.Log.LogAttrs(ctx, slog.LevelError, "runner version refused", version(after.Refused), job(after), attempt(after), slog.String("reason", after.Why))
	case len(before.Failed) < len(after.Failed):
		r.Log.LogAttrs(ctx, slog.LevelWarn, "trial of a runner version failed", version(after.Candidate), job(after), attempt(after),
			slog.Int("trials", len(after.Failed)), slog.String("reason", after.Why))
	case before.Candidate.Version != after.Candidate.Version && after.Candidate.Version != "":
		r.Log.LogAttrs(ctx, slog.LevelInfo, "runner version is to be tried", version(after.Candidate))
	case !before.Trying && after.Trying:
		r.Log.LogAttrs(ctx, slog.LevelInfo, "runner version is tried", version(after.Candidate), job(after), attempt(after))
	case before.Trying && !after.Trying:
		r.Log.LogAttrs(ctx, slog.LevelInfo, "trial of a runner version proved nothing", version(before.Candidate), job(before), attempt(before))
	}
}
