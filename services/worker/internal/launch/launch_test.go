package launch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/run"
)

func launcher(w *world, f *fuse) *launch.Launcher {
	as := worker{world: w, fuse: f}
	return launch.New(launch.Options{
		Ledger: as, Forge: as, Authors: as, Fleet: as, Queue: as, Places: as, Rules: specified{w.rules, w.spec}, Observer: discard{}, Log: slog.New(w.log),
		PoolOf: func(j run.Job) (run.Pool, error) {
			if j.Untrusted != "" && j.Pool != "forks" {
				return run.Pool{}, errors.New("not for untrusted jobs")
			}
			if j.Pool != "default" && j.Pool != "forks" || w.poolsGone.Load() {
				return run.Pool{}, fmt.Errorf("pool: %w (got %q)", run.ErrNoPool, j.Pool)
			}
			only := w.onlyPrivate.Load() && j.Pool == "default"
			return run.Pool{Name: j.Pool, Timeout: 6 * time.Hour, IdleLimit: 5 * time.Minute, OnlyPrivate: only}, nil
		},
		Admit: w.admit, Tried: w.tried,
		Ready: func(run.Job) error { return w.readyErr }, Tracer: noop.NewTracerProvider().Tracer(""), Now: time.Now, Rand: rand.New(rand.NewPCG(1, 1)),
	})
}

func job(id int64, labels ...string) run.Job {
	return run.Job{ID: id, Owner: "octo", Repo: "repo", Pool: "default", Labels: append([]string{"modal"}, labels...)}
}

// settle handles what is on the queue, with workers that live, until nothing is left to be done before the horizon.
func (w *world) settle(t *testing.T, horizon time.Duration) {
	t.Helper()
	end := time.Now().Add(horizon)
	for range 10_000 {
		w.mu.Lock()
		next := -1
		for n, m := range w.queue {
			if next < 0 || m.at.Before(w.queue[next].at) {
				next = n
			}
		}
		if next < 0 || w.queue[next].at.After(end) {
			w.mu.Unlock()
			return
		}
		m := w.queue[next]
		w.queue = slices.Delete(w.queue, next, next+1)
		w.mu.Unlock()
		time.Sleep(time.Until(m.at))
		w.deliver(t.Context(), m, nil)
	}
	t.Error("the queue never came to rest")
}

// deliver gives m to a worker with that fuse, and does with the verdict what intake would do.
func (w *world) deliver(ctx context.Context, m message, f *fuse) {
	again, err := launcher(w, f).Handle(ctx, m.job, m.ev)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, errCrashed):
		w.queue = append(w.queue, message{job: m.job, ev: m.ev, at: time.Now().Add(30 * time.Second)}) // AckWait
	case err != nil:
		w.queue = append(w.queue, message{job: m.job, ev: m.ev, at: time.Now().Add(time.Second)})
	case !again.IsZero():
		w.queue = slices.DeleteFunc(w.queue, func(q message) bool {
			return q.copied && q.job == m.job && reflect.TypeOf(q.ev) == reflect.TypeOf(m.ev) && q.at.After(time.Now())
		})
		w.queue = append(w.queue, message{job: m.job, ev: m.ev, at: again, copied: true})
	}
}

// A worker may die at each of its calls, before or after the call has taken effect: the job gets exactly one runner
// that can serve it.
func TestAWorkerThatDiesAtAnyCallOfALaunchLeavesTheJobOneLiveRunner(t *testing.T) {
	faultstest.Cover(t, "F41", "F51")
	dyingAtEachCall(t, 8, func(t *testing.T, f *fuse) {
		w := newWorld()
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, f)
		w.settle(t, 3*time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		running := 0
		for _, s := range w.sandboxes {
			if s.running {
				running++
			}
		}
		if live := w.live(1); live == nil || running != 1 || w.runs[1].record.Runner != live.name {
			t.Errorf("live runner %v, %d sandboxes running, want the one on record: %+v", live, running, w.runs[1].record)
		}
		if len(w.violations) > 0 {
			t.Error(w.violations)
		}
	})
}

func TestWhatGitHubAndModalAnswerBecomesOfTheJob(t *testing.T) {
	faultstest.Cover(t, "F07", "F08", "F10", "F45", "F46")
	boom := errors.New("boom")
	once := func(err error) func(run.Runner) error {
		return func(run.Runner) error { e := err; err = nil; return e }
	}
	tests := []struct {
		name    string
		prepare func(*world)
		job     run.Job
		state   run.State
		runner  run.Name
		reason  string
		fails   int
	}{
		{name: "a job whose launch goes well waits for its first runner", job: job(1), state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1}},
		{
			name: "an unknown error of GitHub is tried again under the same name", job: job(1),
			prepare: func(w *world) { w.registerErr = once(boom) },
			state:   run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a rate limit is waited for and is no failure", job: job(1),
			prepare: func(w *world) {
				w.registerErr = once(&run.LimitedError{Until: time.Now().Add(time.Minute), Err: boom})
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a permanent refusal of GitHub gives the job up with the reason", job: job(1),
			prepare: func(w *world) { w.registerErr = once(&run.PermanentError{Advice: "do this", Err: boom}) },
			state:   run.Dead, runner: run.Name{Job: 1, Attempt: 1}, reason: "register runner: boom; do this",
		},
		{
			name: "a registration that is left over is replaced", job: job(1),
			prepare: func(w *world) { w.registrations[run.Name{Job: 1, Attempt: 1}] = "lost" },
			state:   run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a registration that was recorded and is gone was used: the name is not used again", job: job(1),
			prepare: func(w *world) {
				w.runners[run.Name{Job: 1, Attempt: 1}] = versioned[run.Runner]{
					run.Runner{Name: run.Name{Job: 1, Attempt: 1}, State: run.Launching, Job: job(1), For: 1, GitHubID: 5, Until: time.Now()}, 1,
				}
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 2},
		},
		{
			name: "one that was replaced, and then met a limit, is made under the same name", job: job(1),
			prepare: func(w *world) {
				name := run.Name{Job: 1, Attempt: 1}
				w.registrations[name] = "lost"
				w.runners[name] = versioned[run.Runner]{run.Runner{Name: name, State: run.Launching, Job: job(1), For: 1, GitHubID: 5, Until: time.Now()}, 1}
				calls := 0
				w.registerErr = func(run.Runner) error {
					if calls++; calls == 2 { // The first finds the old one, the second makes the new one.
						return &run.LimitedError{Until: time.Now().Add(time.Minute), Err: boom}
					}
					return nil
				}
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a sandbox and a registration that are left over are adopted", job: job(1),
			prepare: func(w *world) {
				w.registrations[run.Name{Job: 1, Attempt: 1}] = "known"
				w.sandboxes = []*sandbox{{id: "sb-0", name: run.Name{Job: 1, Attempt: 1}, jit: "known", running: true}}
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a sandbox without its registration is ended, and the next attempt made", job: job(1),
			prepare: func(w *world) {
				w.sandboxes = []*sandbox{{id: "sb-0", name: run.Name{Job: 1, Attempt: 1}, jit: "gone", running: true}}
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 2},
		},
		{
			name: "a create call whose answer is lost made the sandbox, which is adopted", job: job(1),
			prepare: func(w *world) {
				w.createErr = func(run.Runner) (bool, error) { w.createErr = nil; return true, boom }
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a lack of room at Modal is waited for and is no failure", job: job(1),
			prepare: func(w *world) {
				w.createErr = func(run.Runner) (bool, error) {
					w.createErr = nil
					return false, &run.LimitedError{Until: time.Now().Add(time.Minute), Err: boom}
				}
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a job of a repository that may not is given up", job: run.Job{ID: 1, Owner: "octo", Repo: "forbidden", Pool: "default"},
			state: run.Dead, reason: "repository not allowed; name it", runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "an untrusted job is launched in the pool for such", job: job(1),
			prepare: func(w *world) { w.untrusted[1] = true },
			state:   run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a limit of GitHub's on asking for a job's origin is waited for and is no failure", job: job(1),
			prepare: func(w *world) {
				w.admitErr = func() error {
					w.admitErr = nil
					return &run.LimitedError{Until: time.Now().Add(time.Minute), Err: boom}
				}
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "an outage of GitHub while a job's origin is asked for costs no attempt", job: job(1),
			prepare: func(w *world) {
				left := 12 // More than run.MaxAttempts.
				w.admitErr = func() error {
					if left--; left < 0 {
						return nil
					}
					return boom
				}
			},
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a job of a pool that is not configured is given up", job: run.Job{ID: 1, Owner: "octo", Repo: "repo", Pool: "gone"},
			state: run.Dead, reason: `pool: must be one of the pools file (got "gone")`, runner: run.Name{Job: 1, Attempt: 1},
		},
		{
			name: "a new job of a pool that is configured minutes later is launched then",
			prepare: func(w *world) {
				w.poolsGone.Store(true)
				time.AfterFunc(9*time.Minute, func() { w.poolsGone.Store(false) })
			},
			job:   run.Job{ID: 1, Owner: "octo", Repo: "repo", Pool: "default", CreatedAt: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}, // A bubble's begin.
			state: run.Waiting, runner: run.Name{Job: 1, Attempt: 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				if tt.prepare != nil {
					tt.prepare(w)
				}
				w.queue = []message{{job: 1, ev: run.Queued{Job: tt.job, At: time.Now()}, at: time.Now()}}
				w.settle(t, 20*time.Minute)
				w.mu.Lock()
				defer w.mu.Unlock()
				got := w.runs[1].record
				if got.State != tt.state || got.Runner != tt.runner || got.Reason != tt.reason || got.Failures != tt.fails {
					t.Errorf("got %+v", got)
				}
				if live := w.live(1); (live != nil) != (tt.state == run.Waiting) {
					t.Errorf("live runner: %+v", live)
				}
				if w.buried[1] != tt.reason {
					t.Errorf("buried with %q, want %q", w.buried[1], tt.reason)
				}
				if len(w.violations) > 0 {
					t.Error(w.violations)
				}
			})
		})
	}
}

// Messages come twice and out of order, and are handled by many workers at once that overtake each other at each call.
// GitHub gives each job to any runner that covers it. In calm weather each job is served long before anything that was
// forgotten would be looked at again, also while GitHub's limit holds launches back; in a storm, where workers die and calls fail, it is served in the end. Then
// nothing is left.
func TestEachJobIsServedAndNothingIsLeft(t *testing.T) {
	faultstest.Cover(t, "F02", "F04", "F06", "F42")
	for _, weather := range []struct {
		name  string
		seeds uint64
		sky   sky
		limit time.Duration
	}{
		{"in calm weather", 300, calm, 3 * time.Minute},
		{"while GitHub's limit lets few through", 300, limited, 4 * time.Minute},
		{"in a storm", 300, storm, 30 * time.Minute},
	} {
		for seed := range weather.seeds {
			t.Run(fmt.Sprintf("%s, seed %d", weather.name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { chaos(t, seed, weather.sky, weather.limit) })
			})
		}
	}
}

const chaosJobs = 12

type sky int

const (
	calm sky = iota
	limited
	storm
)

func chaos(t *testing.T, seed uint64, sky sky, limit time.Duration) {
	t.Helper()
	rnd := &dice{rnd: rand.New(rand.NewPCG(seed, seed))}
	w := newWorld()
	w.lag = func() time.Duration { return time.Duration(rnd.roll(300)) * time.Millisecond }
	switch sky {
	case calm:
	case limited:
		start := time.Now()
		w.registerErr = func(run.Runner) error {
			if time.Since(start) < 90*time.Second && rnd.roll(2) == 0 {
				return &run.LimitedError{Until: time.Now().Add(30 * time.Second), Err: errors.New("too many requests")}
			}
			return nil
		}
	case storm:
		flaky := func() error {
			if rnd.roll(8) == 0 {
				return errors.New("boom")
			}
			return nil
		}
		w.registerErr = func(run.Runner) error { return flaky() }
		w.createErr = func(run.Runner) (bool, error) { err := flaky(); return err == nil || rnd.roll(2) == 0, err }
	}
	waiting := map[int64]run.Job{}
	for id := int64(1); id <= chaosJobs; id++ {
		j := job(id)
		if rnd.roll(3) == 0 {
			j = job(id, "gpu")
		}
		w.untrusted[id] = rnd.roll(4) == 0
		waiting[id] = j
		w.post(rnd, j.ID, run.Queued{Job: j, At: time.Now()})
		if rnd.roll(4) == 0 { // An approval: queued, waiting, queued.
			w.post(rnd, j.ID, run.Held{Job: j, At: time.Now().Add(time.Millisecond)})
			w.post(rnd, j.ID, run.Queued{Job: j, At: time.Now().Add(2 * time.Millisecond)})
		}
	}
	var workers sync.WaitGroup
	for end := time.Now().Add(limit); len(waiting) > 0 && time.Now().Before(end); time.Sleep(time.Second) {
		for {
			m, ok := w.due(rnd)
			if !ok {
				break
			}
			var f *fuse
			if sky == storm && rnd.roll(2) == 0 {
				f = &fuse{left: rnd.roll(30), after: rnd.roll(2) == 0}
			}
			workers.Go(func() { w.deliver(t.Context(), m, f) })
		}
		w.assign(rnd, waiting)
	}
	workers.Wait()
	w.registerErr, w.createErr, w.lag = nil, nil, nil
	for id := range waiting {
		t.Errorf("job %d was not served within %v: %+v", id, limit, w.runs[id].record)
	}
	w.settle(t, 10*time.Minute)
	for id, v := range w.runs {
		if v.record.State != run.Done {
			t.Errorf("job %d ended %+v", id, v.record)
		}
	}
	for _, s := range w.sandboxes {
		if s.running {
			t.Errorf("sandbox %v still runs though every job is over: %+v", s.name, w.runners[s.name].record)
		}
	}
	if len(w.violations) > 0 {
		t.Error(w.violations)
	}
}

// dice are seeded randomness for many goroutines.
type dice struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (d *dice) roll(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.IntN(n)
}

// due takes a random message whose time has come off the queue.
func (w *world) due(rnd *dice) (message, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []int
	for n, m := range w.queue {
		if !m.at.After(time.Now()) {
			due = append(due, n)
		}
	}
	if len(due) == 0 {
		return message{}, false
	}
	n := due[rnd.roll(len(due))]
	m := w.queue[n]
	w.queue = slices.Delete(w.queue, n, n+1)
	return m, true
}

// post puts an event on the queue, once or twice, now or a little later.
func (w *world) post(rnd *dice, id int64, ev run.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range 1 + rnd.roll(2) {
		w.queue = append(w.queue, message{job: id, ev: ev, at: time.Now().Add(time.Duration(rnd.roll(20_000)) * time.Millisecond)})
	}
}

// assign is GitHub's: it gives one waiting job to any runner that covers it, and tells of its start and end. Such a
// runner takes no other job, and its registration goes.
func (w *world) assign(rnd *dice, waiting map[int64]run.Job) {
	for id, j := range waiting {
		w.mu.Lock()
		online := w.online(j)
		if len(online) == 0 {
			w.mu.Unlock()
			continue
		}
		taker := online[rnd.roll(len(online))]
		delete(w.registrations, taker.name)
		w.mu.Unlock()
		delete(waiting, id)
		w.post(rnd, id, run.Started{Job: j, Runner: taker.name, GitHubID: taker.githubID(), At: time.Now()})
		w.post(rnd, id, run.Finished{Job: j, Runner: taker.name, GitHubID: taker.githubID(), Conclusion: "success"})
		return
	}
}
