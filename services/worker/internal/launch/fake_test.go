package launch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
)

// errCrashed is what every call of a worker returns once it is dead: nothing that it does has an effect any more.
var errCrashed = errors.New("the worker is dead")

// fuse kills a worker at one of its calls, before or after the call has taken effect. The nil fuse never blows.
type fuse struct {
	mu    sync.Mutex
	left  int
	after bool
	blown bool
}

// dyingAtEachCall plays once for each call that a worker makes in it, at which the worker dies, before or after the call has taken
// effect; and last with none. There are to be at least so many calls: with fewer the fuse would miss most of what is played.
func dyingAtEachCall(t *testing.T, calls int, play func(t *testing.T, f *fuse)) {
	t.Helper()
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			f := &fuse{left: n, after: after}
			t.Run(fmt.Sprintf("call %d, effect %v", n, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { play(t, f) })
			})
			if !f.blown {
				if n < calls {
					t.Errorf("%d calls were made, want %d or more", n, calls)
				}
				break
			}
		}
	}
}

// call runs do unless the worker is dead. It reports whether the worker may have the answer.
func (f *fuse) call(do func()) bool {
	if f == nil {
		do()
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blown {
		return false
	}
	f.left--
	f.blown = f.left < 0
	if !f.blown || f.after {
		do()
	}
	return !f.blown
}

// sandbox is one of Modal's. Its runner can take a job only if its registration is still there. One without a JIT configuration is warm.
type sandbox struct {
	id, jit string
	name    run.Name
	running bool
}

// githubID is the id of the registration that its JIT configuration is for.
func (s *sandbox) githubID() (id int64) {
	if _, err := fmt.Sscanf(s.jit, "jit-%d", &id); err != nil {
		panic(err)
	}
	return id
}

// message is on the queue, to be delivered at at.
type message struct {
	job int64
	ev  run.Event
	at  time.Time
	// copied is set on a scheduled copy, of which the queue keeps the last of each job and kind.
	copied bool
}

// world is GitHub, Modal and NATS as the launcher sees them, kept in memory.
type world struct {
	mu            sync.Mutex
	runs          map[int64]versioned[run.Run]
	runners       map[run.Name]versioned[run.Runner]
	registrations map[run.Name]string // the JIT configuration of each
	sandboxes     []*sandbox
	queue         []message
	buried        map[int64]string
	notices       map[int64][]string // what each check run of a job says
	informErr     error              // what Inform answers instead
	informs       int                // how often it was asked
	places        places.Record
	rules         placestest.Rules
	serial        int
	roomErr       error                  // what Room answers
	keepsRoom     context.Context        //nolint:containedctx // that of who was let pass last
	registerErr   func(run.Runner) error // what Register answers instead, if not nil
	createErr     func(run.Runner) (effect bool, err error)
	giveErr       func() (effect bool, err error) // what Give answers instead, if not nil
	spec          string                          // of all sandboxes; those that are warm are of "as the pool"
	untrusted     map[int64]bool                  // jobs that go to the pool forks
	noForks       atomic.Bool                     // there is no pool for them
	onlyPrivate   atomic.Bool                     // the pool default trusts no public repository
	log           slog.Handler
	admitErr      func() error // what Admit answers instead, if not nil
	readyErr      error        // what Ready answers
	tried         func(context.Context, run.Runner) (version string, err error)
	poolsGone     atomic.Bool            // nobody has a pools file with the pool any more
	sightings     map[int64]run.Sighting // what GitHub says of a job, if that is not that it is queued
	evidence      run.Evidence           // what Ask answers instead, if not empty
	askErr        error
	unscheduled   bool  // whether Modal has found no machine for any sandbox
	busy          bool  // what GitHub says of any runner
	looksErr      error // what questions are answered that are not urgent, if not nil
	violations    []string
	// lag is how long the next call takes, so that workers overtake each other. Nil means no time.
	lag func() time.Duration
}

type versioned[T any] struct {
	record   T
	revision uint64
}

func newWorld() *world {
	return &world{
		runs: map[int64]versioned[run.Run]{}, runners: map[run.Name]versioned[run.Runner]{},
		registrations: map[run.Name]string{}, buried: map[int64]string{}, notices: map[int64][]string{},
		untrusted: map[int64]bool{}, log: slog.DiscardHandler,
	}
}

const untrusted = "its code is that of mallory/repo"

// admit asks GitHub about a job.
func (w *world) admit(_ context.Context, j run.Job) (run.Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.admitErr != nil {
		if err := w.admitErr(); err != nil {
			return run.Job{}, err
		}
	}
	if j.Repo == "forbidden" {
		return run.Job{}, &run.PermanentError{Err: errors.New("repository not allowed"), Advice: "name it"}
	}
	if !w.untrusted[j.ID] {
		return j, nil
	}
	j.Untrusted, j.Pool = untrusted, "default"
	if w.noForks.Load() {
		return j, &run.PermanentError{Err: errors.New("pool default refuses untrusted jobs"), Advice: "have a pool for them"}
	}
	j.Pool = "forks"
	return j, nil
}

// worker is the world as one worker sees it, for as long as it lives.
type worker struct {
	*world

	fuse *fuse
}

func (w worker) do(f func()) error {
	if w.lag != nil {
		time.Sleep(w.lag())
	}
	if !w.fuse.call(func() { w.mu.Lock(); defer w.mu.Unlock(); f() }) {
		return errCrashed
	}
	return nil
}

func (w worker) LoadRun(_ context.Context, job int64) (r run.Run, revision uint64, err error) {
	err = w.do(func() { v := w.runs[job]; r, revision = v.record, v.revision })
	return r, revision, err
}

func (w worker) LoadRunner(_ context.Context, name run.Name) (r run.Runner, revision uint64, err error) {
	err = w.do(func() { v := w.runners[name]; r, revision = v.record, v.revision })
	return r, revision, err
}

func (w worker) SaveRun(_ context.Context, r run.Run, revision uint64) (next uint64, err error) {
	crash := w.do(func() { next, err = save(w.world, w.runs, r.Job.ID, r, revision) })
	return next, errors.Join(crash, err)
}

func (w worker) SaveRunner(_ context.Context, r run.Runner, revision uint64) (next uint64, err error) {
	crash := w.do(func() { next, err = save(w.world, w.runners, r.Name, r, revision) })
	return next, errors.Join(crash, err)
}

func save[K comparable, T any](w *world, records map[K]versioned[T], key K, record T, revision uint64) (uint64, error) {
	if records[key].revision != revision {
		return 0, run.ErrConflict
	}
	w.serial++
	records[key] = versioned[T]{record, uint64(w.serial)}
	return uint64(w.serial), nil
}

func (worker) Scope(j run.Job) string { return j.Owner + "/" + j.Repo }

func (w worker) Room(ctx context.Context, _ run.Job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keepsRoom = ctx
	return w.roomErr
}

func (w worker) Register(_ context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	crash := w.do(func() {
		if w.registerErr != nil {
			if err = w.registerErr(r); err != nil {
				return
			}
		}
		if _, ok := w.registrations[r.Name]; ok {
			err = run.ErrExists
			return
		}
		w.serial++
		w.registrations[r.Name] = fmt.Sprintf("jit-%d", w.serial)
		id, jit = int64(w.serial), config.NewSecret(w.registrations[r.Name])
	})
	return id, jit, errors.Join(crash, err)
}

func (w worker) Deregister(_ context.Context, r run.Runner) error {
	return w.do(func() { delete(w.registrations, r.Name) })
}

func (w worker) Create(_ context.Context, r run.Runner, _ run.Pool, jit config.Secret) (id string, err error) {
	crash := w.do(func() {
		if w.find(r.Name) != nil {
			err = run.ErrExists
			return
		}
		effect := true
		if w.createErr != nil {
			effect, err = w.createErr(r)
		}
		if !effect {
			return
		}
		if other := w.live(r.Name.Job); other != nil {
			w.violations = append(w.violations, fmt.Sprintf("%v was created while %v lives for the same job", r.Name, other.name))
		}
		if most := w.rules.Fleet.Max; most > 0 && w.running() >= most {
			w.violations = append(w.violations, fmt.Sprintf("%v was created though %d run, which is the most", r.Name, most))
		}
		w.serial++
		w.sandboxes = append(w.sandboxes, &sandbox{id: fmt.Sprintf("sb-%d", w.serial), name: r.Name, jit: jit.Reveal(), running: true})
		id = fmt.Sprintf("sb-%d", w.serial)
	})
	return id, errors.Join(crash, err)
}

func (w worker) Give(_ context.Context, id string, r run.Runner, jit config.Secret) (err error) {
	crash := w.do(func() {
		n := slices.IndexFunc(w.sandboxes, func(s *sandbox) bool { return s.id == id })
		effect := n >= 0 && w.sandboxes[n].running
		if effect && w.giveErr != nil {
			effect, err = w.giveErr()
		} else if !effect {
			err = run.ErrNotMade
		}
		if !effect {
			return
		}
		switch s := w.sandboxes[n]; {
		case s.jit == "":
			s.name, s.jit = r.Name, jit.Reveal()
		case s.name != r.Name || s.jit != jit.Reveal():
			err = run.ErrNotMade
		}
	})
	return errors.Join(crash, err)
}

func (w worker) Find(_ context.Context, name run.Name) (id string, err error) {
	err = w.do(func() {
		if s := w.find(name); s != nil {
			id = s.id
		}
	})
	return id, err
}

func (w worker) LaunchedFor(_ context.Context, job int64) (ids []string, err error) {
	err = w.do(func() {
		for _, s := range w.sandboxes {
			if s.running && s.name.Job == job {
				ids = append(ids, s.id)
			}
		}
	})
	return ids, err
}

func (w worker) Ask(_ context.Context, id string, release bool) (answer run.Evidence, err error) {
	crash := w.do(func() {
		answer = run.Over
		for _, s := range w.sandboxes {
			if s.id != id || !s.running {
				continue
			}
			if w.unscheduled {
				answer = run.Unscheduled
				if release {
					answer, s.running = run.ReleasedNow, false
				}
				return
			}
			if s.jit == "" && w.askErr == nil {
				answer = run.Warm
				if release {
					answer, s.running = run.ReleasedNow, false
				}
				return
			}
			answer = run.HasJob
			if w.evidence != "" || w.askErr != nil {
				answer, err = w.evidence, w.askErr
				return
			}
			if w.registrations[s.name] == s.jit {
				answer = run.Idle
				if release {
					answer, s.running = run.ReleasedNow, false
				}
			}
		}
	})
	return answer, errors.Join(crash, err)
}

type urgent struct{}

func (worker) Urgent(ctx context.Context) context.Context {
	return context.WithValue(ctx, urgent{}, true)
}

// look is what a question is answered before anything else.
func (w worker) look(ctx context.Context) error {
	if ctx.Value(urgent{}) != nil {
		return nil
	}
	return w.looksErr
}

func (w worker) Sight(ctx context.Context, j run.Job) (seen run.Sighting, err error) {
	if err := w.look(ctx); err != nil {
		return run.Sighting{}, err
	}
	err = w.do(func() {
		var ok bool
		if seen, ok = w.sightings[j.ID]; !ok {
			seen.Status = "queued"
		}
	})
	return seen, err
}

func (w worker) Busy(ctx context.Context, _ run.Runner) (busy bool, err error) {
	if err := w.look(ctx); err != nil {
		return false, err
	}
	err = w.do(func() { busy = w.busy })
	return busy, err
}

// Inform is GitHub with a look before each word, as forge.Inform.
func (w worker) Inform(_ context.Context, j run.Job, reason string) (err error) {
	found := 0
	if crash := w.do(func() { w.informs++; found, err = len(w.notices[j.ID]), w.informErr }); crash != nil || err != nil {
		return errors.Join(crash, err)
	}
	return w.do(func() {
		switch {
		case found > 0:
			w.notices[j.ID][0] = reason
		case reason != "":
			w.notices[j.ID] = append(w.notices[j.ID], reason)
		}
	})
}

func (w worker) Fate(_ context.Context, id string, _ bool) (fate run.Fate, err error) {
	err = w.do(func() {
		fate.How = "its sandbox ended: failure; its log ends: boom"
		for _, s := range w.sandboxes {
			fate.Running = fate.Running || s.id == id && s.running
		}
	})
	return fate, err
}

func (w worker) Terminate(_ context.Context, id string) error {
	return w.do(func() {
		for _, s := range w.sandboxes {
			if s.id == id {
				s.running = false
			}
		}
	})
}

func (w worker) Requeue(_ context.Context, j run.Job, queuedAt time.Time, _ uint64) error {
	return w.do(func() {
		w.queue = append(w.queue, message{job: j.ID, ev: run.Queued{Job: j, At: queuedAt}, at: time.Now()})
	})
}

func (w worker) Bury(_ context.Context, j run.Job, reason string) error {
	return w.do(func() { w.buried[j.ID] = reason })
}

// Change is a compare-and-set that meets no other: a worker can die before it or after it.
func (w worker) Change(_ context.Context, change func(places.Record) places.Record) (revision uint64, err error) {
	err = w.do(func() {
		w.places = change(w.places)
		claimed := map[string]string{}
		for runner, place := range w.places.Held {
			if other, twice := claimed[place.SandboxID]; twice && place.SandboxID != "" {
				w.violations = append(w.violations, fmt.Sprintf("%s and %s have claimed sandbox %s", runner, other, place.SandboxID))
			}
			claimed[place.SandboxID] = runner
		}
	})
	return 1, err
}

// find returns the running sandbox of that name. The caller holds mu.
func (w *world) find(name run.Name) *sandbox {
	for _, s := range w.sandboxes {
		if s.running && s.name == name {
			return s
		}
	}
	return nil
}

// live returns a running sandbox launched for the job whose runner can still take a job. The caller holds mu.
func (w *world) live(job int64) *sandbox {
	for _, s := range w.sandboxes {
		if s.running && s.name.Job == job && w.registrations[s.name] == s.jit {
			return s
		}
	}
	return nil
}

// online lists the runners that GitHub could give j to. The caller holds mu.
func (w *world) online(j run.Job) []*sandbox {
	var out []*sandbox
	for _, s := range w.sandboxes {
		if s.running && w.registrations[s.name] == s.jit && covers(w.runners[s.name].record.Job.Labels, j.Labels) {
			out = append(out, s)
		}
	}
	return out
}

// covers is GitHub's rule, written anew.
func covers(have, want []string) bool {
	for _, l := range want {
		if !slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, l) }) {
			return false
		}
	}
	return true
}

// discard is an observer that nobody asks.
type discard struct{}

func (discard) Launched(string, string)             {}
func (discard) QueueToLaunch(string, time.Duration) {}
func (discard) QueueToStart(string, time.Duration)  {}
func (discard) Step(string, time.Duration)          {}
func (discard) Buried()                             {}
