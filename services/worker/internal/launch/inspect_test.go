package launch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/run"
)

// A job waits on a runner that was launched for it. What the sandbox and GitHub say, a minute later and again, decides
// whether it goes on waiting for it.
func TestARunnerThatTakesNoJobIsLookedAt(t *testing.T) {
	faultstest.Cover(t, "F05", "F06", "F47")
	first, second := run.Name{Job: 1, Attempt: 1}, run.Name{Job: 1, Attempt: 2}
	ends := func(w *world) { w.sandboxes[0].running = false }
	noLooks := &run.LimitedError{Err: errors.New("no room")}
	tests := []struct {
		name   string
		change func(*world)
		after  time.Duration
		state  run.State
		runner run.Name
		ranOn  run.Name
		reason string
	}{
		{name: "one that is idle is waited for", change: func(*world) {}, after: 10 * time.Minute, state: run.Waiting, runner: first},
		{name: "one that can't be asked is waited for", change: func(w *world) { w.askErr = errors.New("away") }, after: 11 * time.Minute, state: run.Waiting, runner: first},
		{
			name: "and for longer, if GitHub knows of a job that it has", state: run.Waiting, runner: first, after: 20 * time.Minute,
			change: func(w *world) { w.askErr, w.busy = errors.New("away"), true },
		},
		{name: "else it hangs, and is replaced", change: func(w *world) { w.askErr = errors.New("away") }, after: 13*time.Minute + 30*time.Second, state: run.Waiting, runner: second},
		{
			name: "one that is idle although its job was cancelled is needed no more", state: run.Done, runner: first, after: 62 * time.Second,
			change: func(w *world) {
				w.sightings = map[int64]run.Sighting{1: {Status: "completed", Conclusion: "cancelled"}}
			},
		},
		{name: "one whose sandbox has ended is replaced within a minute", change: ends, after: 62 * time.Second, state: run.Waiting, runner: second},
		{name: "one that has not started is waited for until the pool's limit", change: func(w *world) { w.evidence = run.Starting }, after: 5 * time.Minute, state: run.Waiting, runner: first},
		{name: "then it is replaced", change: func(w *world) { w.evidence = run.Starting }, after: 7 * time.Minute, state: run.Waiting, runner: second},
		{
			name: "unless GitHub knows of a job that it has: a job can spoil what answers", state: run.Waiting, runner: first, after: 20 * time.Minute,
			change: func(w *world) { w.evidence, w.busy = run.Starting, true },
		},
		{
			name: "one that was asked to end, of which a restored record does not know, is replaced", state: run.Waiting, runner: second, after: 62 * time.Second,
			change: func(w *world) { w.evidence = run.ReleasedNow },
		},
		{name: "one that Modal has not scheduled is waited for until the pool's limit", change: func(w *world) { w.unscheduled = true }, after: 5 * time.Minute, state: run.Waiting, runner: first},
		{name: "then it is given up", change: func(w *world) { w.unscheduled = true }, after: 7 * time.Minute, state: run.Waiting, runner: second},
		{
			name: "one whose pool was taken away serves nobody", state: run.Dead, runner: first, after: 20 * time.Minute,
			change: func(w *world) { w.poolsGone.Store(true) }, reason: `pool: must be one of the pools file (got "default")`,
		},
		{
			name: "one that has the job runs it, though no webhook told", state: run.Running, runner: first, ranOn: first, after: 62 * time.Second,
			change: func(w *world) {
				w.evidence, w.sightings = run.HasJob, map[int64]run.Sighting{1: {Status: "in_progress", Runner: first}}
			},
		},
		{
			name: "one that has another job, while its own waits at GitHub, is waited for a little", state: run.Waiting, runner: first, after: 80 * time.Second,
			change: func(w *world) { w.evidence = run.HasJob },
		},
		{
			name: "then its own job gets another runner", state: run.Waiting, runner: second, after: 95 * time.Second,
			change: func(w *world) { w.evidence = run.HasJob },
		},
		{
			name: "also while GitHub has no room for looks that can wait", state: run.Waiting, runner: second, after: 95 * time.Second,
			change: func(w *world) { w.evidence, w.looksErr = run.HasJob, noLooks },
		},
		{
			name: "one that hangs is replaced then, too", state: run.Waiting, runner: second, after: 7 * time.Minute,
			change: func(w *world) { w.evidence, w.looksErr = run.Starting, noLooks },
		},
		{
			name: "and one that Modal has not scheduled", state: run.Waiting, runner: second, after: 7 * time.Minute,
			change: func(w *world) { w.unscheduled, w.looksErr = true, noLooks },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				noLooks.Until = time.Now().Add(time.Hour)
				w := newWorld()
				w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
				w.settle(t, time.Second)
				tt.change(w)
				w.settle(t, tt.after)
				got := w.runs[1].record
				if got.State != tt.state || got.Runner != tt.runner || got.RanOn != tt.ranOn || got.Reason != tt.reason {
					t.Errorf("got %+v", got)
				}
				if tt.runner == first {
					return
				}
				lost := w.runners[first].record
				if busy := w.evidence == run.HasJob; busy != (lost.State == run.Busy) || busy && !w.sandboxes[0].running {
					t.Errorf("the runner that was lost: %+v", lost)
				}
			})
		})
	}
}

// limitedForge has no room for questions until then.
type limitedForge struct {
	launch.Forge

	until time.Time
}

func (f limitedForge) Sight(context.Context, run.Job) (run.Sighting, error) {
	return run.Sighting{}, &run.LimitedError{Until: f.until, Err: errors.New("no room")}
}

// A look that GitHub has no room for comes again once it has: to come in each minute would be to come in vain, as long as GitHub is limited
// again a minute later.
func TestALookThatIsHeldBackComesAgainWhenItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
		w.settle(t, time.Second)
		time.Sleep(3 * time.Minute)
		l, until := launcher(w, nil), time.Now().Add(20*time.Second)
		l.Forge = limitedForge{l.Forge, until}
		again, err := l.Handle(t.Context(), 1, run.Queued{Job: job(1), At: time.Now()})
		if err != nil || again.Before(until) || again.After(until.Add(5*time.Second)) {
			t.Errorf("it comes again in %v, %v, want soon after 20s", time.Until(again), err)
		}
	})
}

// A sandbox that says that its runner has a job is left alone, whatever the record says, until GitHub has completed the job.
func TestARunnerThatWorksIsNotEnded(t *testing.T) {
	name := run.Name{Job: 1, Attempt: 1}
	always := func(ev run.RunnerEvent) func(int64) run.RunnerEvent { return func(int64) run.RunnerEvent { return ev } }
	completed := func(off int64) func(int64) run.RunnerEvent {
		return func(githubID int64) run.RunnerEvent {
			return run.Gone{Reason: "its job was completed", JobOver: true, GitHubID: githubID + off}
		}
	}
	tests := []struct {
		name  string
		says  run.Evidence
		event func(githubID int64) run.RunnerEvent
		ends  bool
	}{
		{"not for whatever made it seem to be gone", run.HasJob, always(run.Gone{Reason: "its launch did not come to an end"}), false},
		{"not because no job counts on it", run.HasJob, always(run.Released{Name: name, From: 1}), false},
		{"but once its job is over, whatever it says", run.HasJob, completed(0), true},
		{"not because the job of an earlier runner of its name is over", run.HasJob, completed(-1), false},
		{"and one without a job is", run.ReleasedNow, always(run.Gone{Reason: "its launch did not come to an end"}), true},
		{"and one that never started is, if it was given its time", run.Starting, always(run.Released{Name: name, From: 1}), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
				w.settle(t, time.Second)
				time.Sleep(time.Hour) // Long after anything that might be under way.
				w.evidence = tt.says
				event := tt.event(w.sandboxes[0].githubID())
				again, err := launcher(w, nil).HandleRunner(t.Context(), name, event)
				for err == nil && !again.IsZero() && again.Before(time.Now().Add(30*time.Second)) {
					time.Sleep(time.Until(again))
					again, err = launcher(w, nil).HandleRunner(t.Context(), name, event)
				}
				if err != nil {
					t.Fatal(err)
				}
				if w.sandboxes[0].running == tt.ends {
					t.Errorf("it runs: %v; its record: %+v", w.sandboxes[0].running, w.runners[name].record)
				}
			})
		})
	}
}

// GitHub takes a job back for an approval while its launch waits for room. It is left alone until the approval, and then served.
func TestAHoldThatComesWhileALaunchWaitsEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		full := time.Now().Add(3 * time.Minute)
		w.createErr = func(run.Runner) (bool, error) {
			if time.Now().Before(full) {
				return false, &run.LimitedError{Until: full, Err: errors.New("no room")}
			}
			return true, nil
		}
		w.queue = []message{
			{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()},
			{job: 1, ev: run.Held{Job: job(1), At: time.Now().Add(5 * time.Second)}, at: time.Now().Add(5 * time.Second)},
		}
		w.settle(t, 5*time.Second)
		w.sightings = map[int64]run.Sighting{1: {Status: "waiting"}}
		w.settle(t, 30*time.Hour)
		if r := w.runs[1].record; r.State != run.OnHold || len(r.History) > 6 {
			t.Fatalf("after 30 hours it is %s, with %d notes", r.State, len(r.History))
		}
		w.sightings = nil
		w.queue = append(w.queue, message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()})
		w.settle(t, 10*time.Second)
		if r := w.runs[1].record; r.State != run.Waiting || w.live(1) == nil {
			t.Errorf("approved, it is %+v", r)
		}
	})
}
