package launch_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
)

// asPool is the Spec of sandboxes that are as their pool has them.
const asPool = "as the pool"

// specified are rules by which all sandboxes have that Spec.
type specified struct {
	placestest.Rules

	spec string
}

func (r specified) Sandbox(j run.Job) places.Sandbox {
	s := r.Rules.Sandbox(j)
	s.Spec = r.spec
	return s
}

// warmed is a world in which so many sandboxes of the pool wait for a runner. Jobs want just such.
func warmed(count int) *world {
	w := newWorld()
	w.spec, w.places.Warm = asPool, map[string]places.Warm{}
	for n := range count {
		s := &sandbox{id: fmt.Sprintf("sb-warm-%d", n+1), running: true}
		w.sandboxes = append(w.sandboxes, s)
		w.places.Warm[fmt.Sprintf("warm-%d", n+1)] = places.Warm{Place: places.Place{
			Ask: places.Ask{Pool: "default", Sandbox: places.Sandbox{Spec: asPool}}, Since: time.Now(), SandboxID: s.id,
		}}
	}
	return w
}

// steps keeps the steps of launches.
type steps struct {
	outcomes

	steps []string
}

func (s *steps) Step(step string, _ time.Duration) { s.steps = append(s.steps, step) }

func TestAJobGetsASandboxThatWaitsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, seen := warmed(1), &steps{}
		l := launcher(w, nil)
		l.Observer = seen
		for id := int64(1); id <= 2; id++ {
			if _, err := l.Handle(t.Context(), id, run.Queued{Job: job(id), At: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"warm", "launched"}; !slices.Equal(seen.all, want) {
			t.Errorf("outcomes %q, want %q", seen.all, want)
		}
		if want := []string{"origin", "intent", "jit", "give", "record", "origin", "intent", "jit", "create", "record"}; !slices.Equal(seen.steps, want) {
			t.Errorf("steps %q, want %q", seen.steps, want)
		}
		first := w.runners[run.Name{Job: 1, Attempt: 1}].record
		if live := w.live(1); live == nil || live.id != "sb-warm-1" || first.SandboxID != live.id || first.GitHubID != live.githubID() {
			t.Errorf("the first runner: %+v in %+v", first, live)
		}
		if live := w.live(2); live == nil || live.id == "sb-warm-1" || len(w.places.Warm) > 0 {
			t.Errorf("the second runner: %+v; warm are %v", live, w.places.Warm)
		}
		if claims := w.places.WarmOf("1.1"); claims != "" || len(w.places.Held) != 2 {
			t.Errorf("the first runner still claims %s; places %v", claims, w.places.Held)
		}
	})
}

// As many sandboxes exist as may, and one of them waits for just such a job. It stands in nobody's way.
func TestWhereThereIsRoomForNoOtherSandboxAJobGetsTheWarmOne(t *testing.T) {
	dyingAtEachCall(t, 12, func(t *testing.T, f *fuse) {
		w := warmed(1)
		w.rules.Fleet.Max = 1
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, f)
		w.settle(t, 150*time.Second)
		if live := w.live(1); live == nil || live.id != "sb-warm-1" || w.running() != 1 || len(w.violations) > 0 {
			t.Errorf("it has %+v, and %d run: %+v; %v", live, w.running(), w.runs[1].record, w.violations)
		}
	})
}

// A worker may die at each of its calls. Whoever goes on gives the job the sandbox that was claimed for it; or one of its own, if none was,
// and then the other one is another's to claim.
func TestAWorkerThatDiesAtAnyCallGivesAWarmSandboxToOneRunner(t *testing.T) {
	faultstest.Cover(t, "F41", "F51")
	given := 0
	dyingAtEachCall(t, 12, func(t *testing.T, f *fuse) {
		w := warmed(1)
		w.rules.Fleet.Max = 2
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, f)
		w.settle(t, 150*time.Second)
		live := w.live(1)
		if live == nil || w.runs[1].record.Runner != live.name || len(w.violations) > 0 || len(w.places.Held) != 1 {
			t.Fatalf("live runner %+v, places %v, record %+v; %v", live, w.places.Held, w.runs[1].record, w.violations)
		}
		own, waits := 0, len(w.places.Warm)
		if warm := w.runners[live.name].record.Warm; warm != (live.id == "sb-warm-1") {
			t.Errorf("it has sandbox %s, and its record says %t of its having waited", live.id, warm)
		}
		if live.id == "sb-warm-1" {
			given++
		} else {
			own = 1
		}
		if waits != own || w.running() != 1+own {
			t.Errorf("it has sandbox %s, %d wait and %d run", live.id, waits, w.running())
		}
	})
	if given < 30 {
		t.Errorf("it was given %d times only", given)
	}
}

// Two jobs come at once, and their workers die at any of their calls.
func TestTwoJobsNeverGetOneWarmSandbox(t *testing.T) {
	dyingAtEachCall(t, 24, func(t *testing.T, f *fuse) {
		w := warmed(1)
		for id := int64(1); id <= 2; id++ {
			w.deliver(t.Context(), message{job: id, ev: run.Queued{Job: job(id), At: time.Now()}}, f)
		}
		w.settle(t, 150*time.Second)
		if w.live(1) == nil || w.live(2) == nil || w.running() != 2 || len(w.violations) > 0 {
			t.Errorf("live runners %+v, %+v, %d run; %v", w.live(1), w.live(2), w.running(), w.violations)
		}
	})
}

func TestWhatBecomesOfAJobWhoseWarmSandboxIsNotGivenToIt(t *testing.T) {
	boom := errors.New("boom")
	ends := func(w *world) { w.sandboxes[0].running = false }
	once := func(w *world, effect bool, err error) func() (bool, error) {
		return func() (bool, error) { w.giveErr = nil; return effect, err }
	}
	for _, tt := range []struct {
		name    string
		prepare func(*world)
		within  time.Duration
		others  int      // how many are other runners'
		runner  run.Name // if it is not the first
		own     bool     // it gets a sandbox of its own
		warm    int      // how many are left
		broken  bool     // launches of its pool count as failed
	}{
		{name: "it ended while it waited", prepare: ends, own: true},
		{name: "it ends at the last moment", prepare: func(w *world) {
			w.giveErr = func() (bool, error) { w.giveErr = nil; ends(w); return false, run.ErrNotMade }
		}, own: true},
		{name: "its waiting was over, and it is yet to end", prepare: func(w *world) {
			w.giveErr = func() (bool, error) {
				w.giveErr = nil
				w.evidence, w.sandboxes[0].jit = run.ReleasedNow, "jit-0"
				time.AfterFunc(500*time.Millisecond, func() { w.mu.Lock(); defer w.mu.Unlock(); w.evidence = ""; ends(w) })
				return false, run.ErrNotMade
			}
		}, within: 5 * time.Second, own: true},
		{name: "it is another's, which a backup has forgotten", prepare: func(w *world) {
			w.registrations[run.Name{Job: 2, Attempt: 1}] = "jit-0"
			w.sandboxes[0].name, w.sandboxes[0].jit = run.Name{Job: 2, Attempt: 1}, "jit-0"
		}, within: 5 * time.Second, own: true, others: 1},
		{name: "the answer is lost", prepare: func(w *world) { w.giveErr = once(w, true, boom) }, within: 5 * time.Second},
		{name: "the call was lost", prepare: func(w *world) { w.giveErr = once(w, false, boom) }, within: 5 * time.Second},
		{name: "Modal wants fewer calls", prepare: func(w *world) {
			w.giveErr = once(w, false, &run.LimitedError{Until: time.Now().Add(time.Second), Err: boom})
		}, within: 5 * time.Second},
		{name: "Modal refuses the call", prepare: func(w *world) {
			w.giveErr = once(w, false, &run.PermanentError{Err: boom, Advice: "mend it"})
		}, within: 5 * time.Second},
		{
			name: "it can't be given for long: it is let go", within: 5 * time.Minute, own: true,
			prepare: func(w *world) { w.giveErr = func() (bool, error) { return false, boom } },
		},
		{
			name: "it does not answer any more: it is waited for as any other", within: 20 * time.Minute, own: true,
			prepare: func(w *world) { w.giveErr, w.askErr = func() (bool, error) { return false, boom }, boom },
			runner:  run.Name{Job: 1, Attempt: 2}, broken: true,
		},
		{name: "it is none of those that the job wants", prepare: func(w *world) { w.spec = "with a GPU" }, own: true, warm: 1},
		{name: "the job chose something that no warm one has", prepare: func(w *world) { w.spec = "" }, own: true, warm: 1},
		{name: "it is being ended", prepare: func(w *world) {
			e := w.places.Warm["warm-1"]
			e.Ends = true
			w.places.Warm["warm-1"] = e
		}, own: true, warm: 1},
		{name: "it is on its way", prepare: func(w *world) {
			e := w.places.Warm["warm-1"]
			e.SandboxID = ""
			w.places.Warm["warm-1"] = e
		}, own: true, warm: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := warmed(1)
				w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
				tt.prepare(w)
				w.settle(t, max(tt.within, time.Second))
				got, live := w.runs[1].record, w.live(1)
				if tt.runner.IsZero() {
					tt.runner = run.Name{Job: 1, Attempt: 1}
				}
				if got.State != run.Waiting || got.Runner != tt.runner || live == nil || live.name != tt.runner {
					t.Fatalf("it has %+v: %+v", live, got)
				}
				if own := live.id != "sb-warm-1"; own != tt.own || len(w.places.Warm) != tt.warm {
					t.Errorf("it has sandbox %s, want one of its own: %v; warm are %v", live.id, tt.own, w.places.Warm)
				}
				if w.running() != 1+tt.warm+tt.others || len(w.registrations) != 1+tt.others || len(w.violations) > 0 {
					t.Errorf("%d run, registrations %v; %v", w.running(), w.registrations, w.violations)
				}
				if !tt.broken {
					unblamed(t, w)
				}
			})
		})
	}
}

// A job whose launch must wait, or is not needed any more, takes nobody's warm sandbox.
func TestALaunchThatDoesNotGoOnClaimsNoWarmSandbox(t *testing.T) {
	for name, happen := range map[string]func(*world){
		"all is paused": func(w *world) { w.places = w.places.Pause(places.All, true, time.Now()) },
		"the job is not there any more": func(w *world) {
			name := run.Name{Job: 1, Attempt: 1}
			v := w.runners[name]
			v.record, _ = run.DecideRunner(v.record, run.Released{Name: name, From: 1}, time.Now())
			w.runners[name] = v
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := warmed(1)
				w.registerErr = func(run.Runner) error { happen(w); w.registerErr = nil; return nil }
				w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				w.settle(t, time.Minute)
				if len(w.places.Warm) != 1 || w.running() != 1 || w.sandboxes[0].jit != "" {
					t.Errorf("warm are %v, and %d run", w.places.Warm, w.running())
				}
			})
		})
	}
}

// A sandbox that was taken for a runner's, as by a sweep, may never have been given to it.
func TestARunnerWhoseSandboxIsWarmIsReplacedAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := warmed(0)
		w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
		w.settle(t, time.Second)
		w.sandboxes[0].jit = ""
		w.settle(t, 62*time.Second)
		if live := w.live(1); live == nil || live.name.Attempt != 2 || w.running() != 1 {
			t.Errorf("it has %+v, and %d run", live, w.running())
		}
	})
}
