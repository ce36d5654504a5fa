package launch_test

import (
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// held has GitHub hold the job from now on, and the workers hear of it.
func (w *world) held(t *testing.T, id int64) {
	t.Helper()
	w.deliver(t.Context(), message{job: id, ev: run.Held{Job: job(id), At: time.Now()}}, nil)
	w.sightings[id] = run.Sighting{Status: "waiting"}
	if s := w.runs[id].record.State; s != run.OnHold {
		t.Fatalf("job %d is %s, want it held", id, s)
	}
}

// approved has GitHub queue the job again.
func (w *world) approved(id int64) {
	delete(w.sightings, id)
	w.queued(job(id))
}

// idledOut has the sandboxes end, whose runners got no job in their time, and the sweep finds that.
func (w *world) idledOut(t *testing.T) {
	t.Helper()
	for _, s := range w.sandboxes {
		if !s.running {
			continue
		}
		s.running = false
		delete(w.registrations, s.name)
		if _, err := launcher(w, nil).HandleRunner(t.Context(), s.name, run.Gone{Reason: "its sandbox is not there any more"}); err != nil {
			t.Fatal(err)
		}
	}
}

// A copy of the hold that comes after the approval is the last that GitHub says: nothing would queue the job again.
func TestAHoldThatIsOverHoldsNothingThoughGitHubHasNoRoomForLooksThatCanWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deliver(t.Context(), queuedNow(1), nil)
		time.Sleep(20 * time.Second)
		w.looksErr = &run.LimitedError{Until: time.Now().Add(time.Hour), Err: errCrashed}
		w.deliver(t.Context(), message{job: 1, ev: run.Held{Job: job(1), At: time.Now()}}, nil)
		if s := w.runs[1].record.State; s != run.Waiting {
			t.Errorf("it is %s, want it to wait", s)
		}
	})
}

// The runner of a job that is held until an approval waits in vain, and ends by itself, as it should. No launch has failed.
func TestTheRunnersOfHeldJobsCountAgainstNoPool(t *testing.T) {
	const jobs = 8 // More than a breaker takes.
	for name, test := range map[string]struct {
		end  func(*testing.T, *world)
		want places.BreakerState
	}{
		"they end while their jobs are held": {end: func(t *testing.T, w *world) {
			t.Helper()
			w.idledOut(t)
		}},
		"their end is found once the jobs were approved": {end: func(t *testing.T, w *world) {
			t.Helper()
			for id := range int64(jobs) {
				w.deliver(t.Context(), message{job: id + 1, ev: run.Queued{Job: job(id + 1), At: time.Now()}}, nil)
			}
			w.idledOut(t)
		}},
		"the next ones, after the approval, are held by nothing": {want: places.Open, end: func(t *testing.T, w *world) {
			t.Helper()
			w.idledOut(t)
			for id := range int64(jobs) {
				w.approved(id + 1)
			}
			w.settle(t, time.Minute)
			w.idledOut(t)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.sightings = map[int64]run.Sighting{}
				for id := range int64(jobs) {
					w.queued(job(id + 1))
				}
				w.settle(t, 5*time.Second)
				time.Sleep(time.Second)
				for id := range int64(jobs) {
					w.held(t, id+1)
				}
				time.Sleep(time.Minute)
				test.end(t, w)
				p := w.places.Pools["default"]
				if got := p.Breaker(time.Now()); got != test.want {
					t.Errorf("the breaker is %v, want %v: %d failed, %q", got, test.want, len(p.Failed), p.Why)
				}
			})
		})
	}
}

// One whose launch was put off when the hold came, and was not gone on with, is none that failed either.
func TestALaunchThatAHoldBrokeOffCountsAgainstNoPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.sightings = map[int64]run.Sighting{}
		w.registerErr = func(run.Runner) error { return &run.LimitedError{Until: time.Now().Add(time.Hour), Err: errCrashed} }
		w.deliver(t.Context(), queuedNow(1), nil)
		time.Sleep(time.Second)
		w.held(t, 1)
		name := run.Name{Job: 1, Attempt: 1}
		if s := w.runners[name].record.State; s != run.Launching {
			t.Fatalf("its runner is %s, want it to be launched still", s)
		}
		if _, err := launcher(w, nil).HandleRunner(t.Context(), name, run.Gone{Reason: "its launch was abandoned"}); err != nil {
			t.Fatal(err)
		}
		if p := w.places.Pools["default"]; len(p.Failed) != 0 {
			t.Errorf("it failed: %q", p.Why)
		}
	})
}

// What was found out about a job stays when it is approved: while the runner that it counted on lives, nobody asks again.
func TestAnApprovedJobOfAForkIsOneStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.untrusted[1] = true
		w.sightings = map[int64]run.Sighting{}
		w.queued(job(1))
		w.settle(t, 5*time.Second)
		time.Sleep(time.Second)
		w.held(t, 1)
		time.Sleep(time.Second)
		w.approved(1)
		w.settle(t, 5*time.Second)
		if r := w.runs[1].record; r.State != run.Waiting || r.Job.Untrusted != untrusted || r.Job.Pool != "forks" {
			t.Errorf("it is %s, untrusted for %q, of pool %s; want it to wait, for %q, of pool forks", r.State, r.Job.Untrusted, r.Job.Pool, untrusted)
		}
	})
}
