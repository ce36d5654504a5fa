package launch_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// obstacles are what may come in the way of a launch that has its place, and what takes them away again.
var obstacles = map[places.Kind]struct{ happen, pass func(*world) }{
	places.Paused: {
		func(w *world) { w.places = w.places.Pause(places.PoolScope("default"), true, time.Now()) },
		func(w *world) { w.places = w.places.Pause(places.PoolScope("default"), false, time.Now()) },
	},
	places.Broken: {
		func(w *world) { w.places = w.places.Failed("default", "99.1", "no such image", true, time.Now()) },
		func(w *world) { w.places = w.places.Started("default") },
	},
	places.Spent: {
		func(w *world) {
			dear := places.Ask{Runner: "99.1", Job: 99, Pool: "default", Owner: "octo", Repo: "repo", Sandbox: places.Sandbox{Price: 1}}
			w.places, _ = w.places.Adopt(dear, time.Now().Add(-time.Minute)).Free(dear.Runner, time.Now())
		},
		func(w *world) { w.places.Spent = nil },
	},
}

func TestALaunchThatMustWaitAfterItTookItsPlaceGivesItBack(t *testing.T) {
	t.Parallel()
	for kind, tt := range obstacles {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Hour) // It was midnight.
				w, seen := newWorld(), &outcomes{}
				w.rules.Fleet.Budget = 5
				w.registerErr = func(run.Runner) error { tt.happen(w); w.registerErr = nil; return nil }
				l := launcher(w, nil)
				l.Observer = seen
				again, err := l.Handle(t.Context(), 1, run.Queued{Job: job(1), At: time.Now()})
				if err != nil || again.Before(time.Now().Add(comeBackAtLeast)) {
					t.Fatalf("looked at again at %v, %v", again, err)
				}
				if r := w.runs[1].record; len(w.sandboxes) != 0 || len(w.places.Held) != 0 || !r.InLine || r.Failures != 0 || r.State != run.Waiting {
					t.Errorf("sandboxes %v, places %v, record %+v", w.sandboxes, w.places.Held, r)
				}
				if len(seen.all) != 1 || seen.all[0] != string(kind) {
					t.Errorf("outcomes %v, want %s", seen.all, kind)
				}
				w.serve()
				w.settle(t, time.Second)
				if len(w.sandboxes) != 0 {
					t.Error("a sandbox was created all the same")
				}
				tt.pass(w)
				w.serve()
				w.settle(t, time.Second)
				if w.running() != 1 || w.runs[1].record.Attempts != 1 {
					t.Errorf("%d run once nothing is in the way, record %+v", w.running(), w.runs[1].record)
				}
			})
		})
	}
}

// comeBackAtLeast is when a job that waits for a place looks by itself, at the earliest.
const comeBackAtLeast = 5 * time.Minute

// Of an earlier try there may be a sandbox: then it counts until it is known that there is none, and no other is made.
func TestALaunchThatIsTriedAgainWaitsForWhatCameInTheWaySince(t *testing.T) {
	t.Parallel()
	for kind, tt := range obstacles {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Hour) // It was midnight.
				w := newWorld()
				w.rules.Fleet.Budget = 5
				w.createErr = func(run.Runner) (bool, error) { return false, errors.New("unavailable") }
				w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				w.createErr = nil
				tt.happen(w)
				if kind == places.Broken {
					w.places = w.places.Failed("default", "98.1", "no such image", true, time.Now())
					w.places, _ = w.places.Take(places.AskFor(run.Name{Job: 98, Attempt: 1}, job(98), w.rules), w.rules, time.Now().Add(time.Minute))
				}
				w.settle(t, 4*time.Minute)
				if r := w.runs[1].record; len(w.sandboxes) != 0 || !r.InLine || r.Failures != 1 {
					t.Fatalf("sandboxes %v, record %+v", w.sandboxes, r)
				}
				if _, held := w.places.Held["1.1"]; !held {
					t.Errorf("places %v, want its own until a sweep finds no sandbox", w.places.Held)
				}
				w.places, _ = w.places.Free("1.1", time.Now()) // The sweep's part.
				tt.pass(w)
				w.serve()
				w.settle(t, time.Second)
				if w.running() != 1 {
					t.Errorf("%d run once nothing is in the way: %+v", w.running(), w.runs[1].record)
				}
			})
		})
	}
}

// The worker dies at any of its calls, and all is paused at that moment: nothing is launched until it is resumed, and then each job
// has one runner.
func TestAPauseHoldsWhereverItsWorkerDied(t *testing.T) {
	dyingAtEachCall(t, 1, func(t *testing.T, f *fuse) {
		w := newWorld()
		w.rules.Fleet.Max = 1
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, f)
		before := len(w.sandboxes)
		w.places = w.places.Pause(places.All, true, time.Now())
		for range 10 {
			w.settle(t, time.Minute)
			w.serve()
			time.Sleep(time.Minute)
		}
		if len(w.sandboxes) != before {
			t.Errorf("%d sandboxes were created while all was paused", len(w.sandboxes)-before)
		}
		if _, held := w.places.Held["1.1"]; held && before == 0 {
			w.places, _ = w.places.Free("1.1", time.Now()) // The sweep's part.
		}
		w.places = w.places.Pause(places.All, false, time.Now())
		for range 20 {
			w.settle(t, time.Minute)
			w.serve()
			time.Sleep(time.Minute)
		}
		if w.running() != 1 || w.live(1) == nil || len(w.places.Held) != 1 {
			t.Errorf("%d run, places %v, record %+v", w.running(), w.places.Held, w.runs[1].record)
		}
	})
}
