package launch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// serve does what the worker that leads does: it promises places to those in line, and has them looked at.
func (w *world) serve() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var line []places.Waiting
	for _, v := range w.runs {
		if standing, ok := w.places.Standing(&v.record, w.rules); ok {
			line = append(line, standing)
		}
	}
	var served []places.Waiting
	w.places, served = w.places.Serve(line, w.rules, time.Now())
	for _, s := range served {
		r := w.runs[s.Job].record
		w.queue = append(w.queue, message{job: s.Job, ev: run.Queued{Job: r.Job, At: r.LastQueuedAt}, at: time.Now()})
	}
}

func (w *world) running() (n int) {
	for _, s := range w.sandboxes {
		if s.running {
			n++
		}
	}
	return n
}

func TestAJobWithoutAPlaceIsNothingYetButInLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.rules.Fleet.Max = 1
		for id := range int64(2) {
			w.deliver(t.Context(), message{job: id + 1, ev: run.Queued{Job: job(id + 1), At: time.Now()}}, nil)
		}
		waits := w.runs[2].record
		if len(w.sandboxes) != 1 || len(w.registrations) != 1 || w.runners[waits.Runner].record.State != run.Unknown {
			t.Errorf("sandboxes %v, registrations %v, runner %+v; want nothing of the second", w.sandboxes, w.registrations, w.runners[waits.Runner])
		}
		if !waits.InLine || waits.Attempts != 1 || waits.Failures != 0 || waits.Reason != "the whole fleet has as many sandboxes as it may: max_sandboxes is 1" {
			t.Errorf("record %+v", waits)
		}
		w.settle(t, time.Minute)
		if w.running() != 1 {
			t.Errorf("%d run, want 1", w.running())
		}
	})
}

// Who waits for a place wants nothing of GitHub: the points that were kept for it are another's at once.
func TestALaunchThatWaitsForAPlaceKeepsNoRoomAtGitHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.rules.Fleet.Max = 1
		w.registerErr = func(run.Runner) error {
			if kept := w.keepsRoom; kept.Err() != nil {
				t.Error("its room at GitHub was given away before it registered its runner")
			}
			return nil
		}
		for id := range int64(2) {
			w.deliver(t.Context(), message{job: id + 1, ev: run.Queued{Job: job(id + 1), At: time.Now()}}, nil)
			if w.keepsRoom.Err() == nil {
				t.Errorf("job %d keeps its room at GitHub", id+1)
			}
		}
	})
}

// Thousands may wait for GitHub at a time: none of them has a place, a record of a runner, or a failure.
func TestAJobThatMustWaitForGitHubIsNothingYetAndStandsInNoLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.roomErr = &run.LimitedError{Until: time.Now().Add(time.Minute), Err: errors.New("GitHub's points are used up")}
		w.registerErr = func(run.Runner) error { t.Error("GitHub was asked"); return nil }
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		waits := w.runs[1].record
		if len(w.places.Held) != 0 || len(w.runners) != 0 {
			t.Errorf("places %v, runners %v; want none", w.places.Held, w.runners)
		}
		if waits.State != run.Waiting || waits.InLine || waits.Failures != 0 || waits.Reason != "GitHub's points are used up" {
			t.Errorf("record %+v", waits)
		}
		w.roomErr, w.registerErr = nil, nil
		w.settle(t, 2*time.Minute)
		if w.running() != 1 {
			t.Errorf("%d run once there is room, want 1", w.running())
		}
	})
}

// The last points may be taken between the look for them and the call that needs them. The message comes again by itself, so that no
// sweep need send another.
func TestALaunchThatMustWaitForGitHubAfterAllIsTriedAgainByItselfOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		until := time.Now().Add(4 * time.Minute)
		w.registerErr = func(run.Runner) error {
			return &run.LimitedError{Until: until, Err: errors.New("GitHub's points are used up")}
		}
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		if r := w.runs[1].record; r.State != run.Waiting || r.Until.Before(until) || r.InLine || r.Failures != 0 || len(w.places.Held) != 0 {
			t.Errorf("record %+v with places %v, want one that waits until %v, and none", r, w.places.Held, until)
		}
		w.registerErr = nil
		w.settle(t, 5*time.Minute)
		if r := w.runs[1].record; w.running() != 1 || !r.Until.IsZero() {
			t.Errorf("%d run, the job waits until %v", w.running(), r.Until)
		}
	})
}

// Of thousands of launches that wait for GitHub many are served by another's runner. To look for registrations that were never asked for
// would cost GitHub's points, and hold up messages until there are some.
func TestALaunchThatAskedForNothingLeavesNothingToRemove(t *testing.T) {
	t.Parallel()
	lost, full := errors.New("no answer"), errors.New("GitHub's points are used up")
	for name, tt := range map[string]struct {
		tries []error // what becomes of each try to register; the last, of all that follow
		want  []string
	}{
		"GitHub had no room":                             {[]error{full}, nil},
		"an answer was lost, and then there was no room": {[]error{lost, full}, []string{"deregister"}},
		"an answer was lost after there was no room":     {[]error{full, lost}, []string{"deregister"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				tries := 0
				w.registerErr = func(run.Runner) error {
					err := tt.tries[min(tries, len(tt.tries)-1)]
					tries++
					if errors.Is(err, full) {
						return &run.LimitedError{Until: time.Now().Add(time.Minute), Err: full}
					}
					return err
				}
				w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				w.settle(t, 65*time.Second)
				if tries < 2 {
					t.Fatalf("%d tries, want more", tries)
				}
				l := launcher(w, nil)
				s := &scripted{Fleet: l.Fleet, Forge: l.Forge}
				l.Fleet, l.Forge = s, s
				for range 2 { // A message may come twice.
					if again, err := l.Handle(t.Context(), 1, run.Started{Job: job(1), Runner: run.Name{Job: 2, Attempt: 1}}); err != nil || !again.IsZero() {
						t.Errorf("it comes again at %v, %v", again, err)
					}
				}
				if r := w.runners[run.Name{Job: 1, Attempt: 1}].record; r.State != run.Ended || len(w.places.Held) != 0 {
					t.Errorf("runner %+v, places %v", r, w.places.Held)
				}
				if got := slices.Compact(s.calls); !slices.Equal(got, tt.want) {
					t.Errorf("calls %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// What has been launched needs nothing of GitHub's that it could have to wait for.
func TestARunnerThatIsThereDoesNotWaitForGitHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		queued := message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}
		w.deliver(t.Context(), queued, nil)
		before := w.runs[1].record
		w.roomErr = &run.LimitedError{Until: time.Now().Add(time.Minute), Err: errors.New("GitHub's points are used up")}
		w.deliver(t.Context(), queued, nil)
		if after := w.runs[1].record; after.Reason != before.Reason || after.State != before.State {
			t.Errorf("the job of a runner that was launched: %+v, want %+v", after, before)
		}
	})
}

func TestAPlaceIsGivenBackOnceTheSandboxIsGone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ends bool // by itself, with its job
		free bool // two seconds after the job's end
	}{
		"of a runner that ends with its job":             {true, true},
		"of a runner that tidies up, not before it ends": {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.rules.USD = 0.5
				w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				name := w.runs[1].record.Runner
				w.deliver(t.Context(), message{job: 1, ev: run.Started{Job: job(1), Runner: name}}, nil)
				delete(w.registrations, name)
				w.deliver(t.Context(), message{job: 1, ev: run.Finished{Job: job(1), Runner: name, GitHubID: w.sandboxes[0].githubID(), Conclusion: "success"}}, nil)
				if len(w.places.Held) != 1 {
					t.Fatalf("places %v, want its own while it runs", w.places.Held)
				}
				w.sandboxes[0].running = !tt.ends
				w.settle(t, 3*time.Second)
				if free := len(w.places.Held) == 0; free != tt.free {
					t.Errorf("given back: %v, want %v", free, tt.free)
				}
				w.settle(t, time.Minute)
				if w.running() != 0 || len(w.places.Held) != 0 || w.places.Cost(places.All, time.Now()) == 0 {
					t.Errorf("%d run, places %v, cost %v", w.running(), w.places.Held, w.places.Spent)
				}
			})
		})
	}
}

// A worker may die at each of its calls: the limit holds, and once the places are served each job has had its runner.
func TestAWorkerThatDiesAtAnyCallNeitherExceedsALimitNorStrandsAJob(t *testing.T) {
	dyingAtEachCall(t, 1, func(t *testing.T, f *fuse) {
		w := newWorld()
		w.rules.Fleet.Max = 1
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		w.deliver(t.Context(), message{job: 2, ev: run.Queued{Job: job(2), At: time.Now()}}, nil)
		first := w.runs[1].record.Runner
		w.deliver(t.Context(), message{job: 1, ev: run.Started{Job: job(1), Runner: first}}, nil)
		w.sandboxes[0].running = false
		delete(w.registrations, first)
		w.deliver(t.Context(), message{job: 1, ev: run.Finished{Job: job(1), Runner: first, GitHubID: w.sandboxes[0].githubID(), Conclusion: "success"}}, f)
		for range 100 {
			w.settle(t, time.Second)
			w.serve()
			if w.running() > 1 {
				t.Fatalf("%d run, and one may", w.running())
			}
			time.Sleep(time.Second)
		}
		if live := w.live(2); live == nil {
			t.Errorf("the second has no runner: %+v, places %+v", w.runs[2].record, w.places)
		}
	})
}

// A create call that was not answered in time may work late, also when its registration has been removed for another try since. Until a
// sweep finds no sandbox, the place is nobody else's.
func TestAPlaceWhoseSandboxMayComeLateIsNobodyElsesHoweverItsNextTryGoes(t *testing.T) {
	t.Parallel()
	full := errors.New("GitHub's points are used up")
	for name, again := range map[string]error{
		"GitHub has no room":    full,
		"GitHub does not work":  errors.New("502"),
		"GitHub allows no more": &run.PermanentError{Err: errors.New("403"), Advice: "mend it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.rules.Fleet.Max = 1
				w.createErr = func(run.Runner) (bool, error) { return false, context.DeadlineExceeded }
				w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				w.createErr = nil
				replaced := false
				w.registerErr = func(r run.Runner) error {
					if _, exists := w.registrations[r.Name]; exists {
						return nil
					}
					replaced = true
					if errors.Is(again, full) {
						return &run.LimitedError{Until: time.Now().Add(5 * time.Second), Err: full}
					}
					return again
				}
				w.settle(t, 15*time.Second)
				if !replaced {
					t.Fatal("it was not tried again")
				}
				if _, held := w.places.Held["1.1"]; !held {
					t.Errorf("places %v, want its own", w.places.Held)
				}
				w.registerErr = nil
				w.settle(t, 5*time.Minute)
				if dead := w.runs[1].record.State == run.Dead; !dead && w.running() != 1 {
					t.Errorf("%d run once there is room: %+v", w.running(), w.runs[1].record)
				}
			})
		})
	}
}

func TestWhatModalSaysOfAPoolHoldsForAllItsLaunches(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		kind places.Kind
	}{
		"no room": {&run.LimitedError{Until: time.Now(), Err: errors.New("boom")}, places.Pace},
		"refused": {&run.RefusedError{Err: errors.New("boom"), Advice: "mend it"}, places.Broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.createErr = func(run.Runner) (bool, error) { return false, tt.err }
				w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				w.createErr = nil
				w.deliver(t.Context(), message{job: 2, ev: run.Queued{Job: job(2), At: time.Now()}}, nil)
				if r := w.runs[2].record; !r.InLine || len(w.sandboxes) != 0 || r.State != run.Waiting {
					t.Errorf("the second: %+v, sandboxes %v", r, w.sandboxes)
				}
				if len(w.places.Held) != 0 {
					t.Errorf("places %v", w.places.Held)
				}
				_, o := w.places.Take(places.AskFor(run.Name{Job: 3, Attempt: 1}, job(3), w.rules), w.rules, time.Now())
				if o == nil || o.Kind != tt.kind {
					t.Errorf("a third waits for %v, want %s", o, tt.kind)
				}
			})
		})
	}
}

// How launches go now, a job that ends says nothing of: its runner came long ago.
func TestTheEndOfAnOldJobDoesNotCloseABreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		name := w.runs[1].record.Runner
		w.deliver(t.Context(), message{job: 1, ev: run.Started{Job: job(1), Runner: name}}, nil)
		time.Sleep(3 * time.Hour)
		for n := range 5 {
			w.places = w.places.Failed("default", fmt.Sprintf("%d.1", 100+n), "runner version refused", false, time.Now())
		}
		ended := run.Finished{Job: job(1), Runner: name, GitHubID: w.sandboxes[0].githubID(), Conclusion: "success"}
		w.deliver(t.Context(), message{job: 1, ev: ended}, nil)
		if got := w.places.Pools["default"].Breaker(time.Now()); got != places.Open {
			t.Errorf("the breaker is %v, want it open still", got)
		}
	})
}
