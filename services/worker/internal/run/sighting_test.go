package run_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/run"
)

func TestWhatGitHubSaysIsTheEventThatDidNotCome(t *testing.T) {
	in := func(s run.State) run.Run { return run.Run{Job: job(1), State: s} }
	says := func(status string) run.Sighting { return run.Sighting{Status: status} }
	over := run.Sighting{Status: "completed", Conclusion: "cancelled", Runner: runner(4, 1)}
	finished := run.Finished{Job: job(1), Conclusion: "cancelled", Runner: runner(4, 1), Event: run.AskedGitHub}
	tests := []struct {
		name string
		run  run.Run
		seen run.Sighting
		want run.Event
	}{
		{"a waiting job that is queued is as it was", in(run.Waiting), says("queued"), nil},
		{"one that runs has begun", in(run.Waiting), run.Sighting{Status: "in_progress", Runner: runner(3, 1)}, run.Started{Job: job(1), Runner: runner(3, 1), At: now, Event: run.AskedGitHub}},
		{"one that is held waits for an approval", in(run.Waiting), says("waiting"), run.Held{Job: job(1), At: now, Event: run.AskedGitHub}},
		{"one that is completed has ended", in(run.Waiting), over, finished},
		{"one that GitHub does not show has ended", in(run.Waiting), run.Sighting{Gone: true}, run.Finished{Job: job(1), Conclusion: "gone", Event: run.AskedGitHub}},
		{"one in a state of GitHub's that is new is as it was", in(run.Waiting), says("pondering"), nil},
		{"a held job that is queued waits from now on", in(run.OnHold), says("queued"), run.Queued{Job: job(1), At: now, Event: run.AskedGitHub}},
		{"one that is held is as it was", in(run.OnHold), says("waiting"), nil},
		{"a running job that runs is as it was", in(run.Running), says("in_progress"), nil},
		{"one that is said to be queued is as it was: what has begun is never queued again, and GitHub's lists lag", in(run.Running), says("queued"), nil},
		{"one that is completed has ended, too", in(run.Running), over, finished},
		{"a job that is done is over whatever GitHub says", in(run.Done), says("queued"), nil},
		{"one that was given up too", in(run.Dead), over, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.run.Unheard(tt.seen, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestARunnerWithAJobThatNobodyToldOfIsLost(t *testing.T) {
	since := func(age time.Duration) func(*run.Runner) { return func(r *run.Runner) { r.OccupiedSince = ago(age) } }
	lose := []run.Effect{run.Lose{Job: 1, Runner: runner(1, 1), From: 1, Reason: "it has a job of which no webhook told us", Blameless: true}}
	unused := func(r *run.Runner) { r.For = 0 }
	checkDecideRunner(t, []decidedRunner{
		{"not at once: the webhook may be on its way", launched(), run.Occupied{}, launched(since(0)), []run.Effect{run.Later{At: in(run.OccupiedFor)}}},
		{"not before its time", launched(since(time.Second)), run.Occupied{}, launched(since(time.Second)), []run.Effect{run.Later{At: in(run.OccupiedFor - time.Second)}}},
		{"then the job is told", launched(since(run.OccupiedFor)), run.Occupied{}, launched(since(run.OccupiedFor), busyWith(0)), lose},
		{"and told again", launched(busyWith(0)), run.Occupied{}, launched(busyWith(0)), lose},
		{"also if it asks", launched(busyWith(0)), run.Wanted{Name: runner(1, 1), Job: job(1)}, launched(busyWith(0)), lose},
		{"a spare one is busy, and no job is told", launched(unused, since(time.Hour)), run.Occupied{}, launched(unused, since(time.Hour), busyWith(0)), nil},
		{"one whose job was told of in the meantime is all right", launched(busyWith(2)), run.Occupied{}, launched(busyWith(2)), nil},
		{"one that has ended too", launched(ended), run.Occupied{}, launched(ended), nil},
	})
}

// What comes again of before a hold does not end it: else a job that waits for an approval would want a runner, all day.
func TestOnlyWhatComesAfterAHoldEndsIt(t *testing.T) {
	held := run.Run{Job: job(1), State: run.OnHold, HeldAt: now, LastQueuedAt: ago(time.Minute)}
	for _, at := range []time.Time{ago(time.Minute), now} {
		if after, effects := run.Decide(held, run.Queued{Job: job(1), At: at}, in(time.Hour)); after.State != run.OnHold || effects != nil {
			t.Errorf("queued at %v: %+v, %v", at, after, effects)
		}
	}
	if after, _ := run.Decide(held, run.Queued{Job: job(1), At: in(time.Second)}, in(time.Hour)); after.State != run.Waiting {
		t.Errorf("queued after it: %+v", after)
	}
}

// A job whose runners serve other jobs is not given up for that, however often it happens.
func TestARunnerThatServesAnotherJobIsNoFailedAttempt(t *testing.T) {
	for _, blameless := range []bool{true, false} {
		r, _ := run.Decide(run.Run{}, run.Queued{Job: job(1), At: now}, now)
		for range 2 * run.MaxAttempts {
			r, _ = run.Decide(r, run.Lost{Runner: r.Runner, Reason: "gone", Blameless: blameless}, now)
			r, _ = run.Decide(r, run.Queued{Job: job(1), At: now}, now)
		}
		if given := r.State == run.Dead; given == blameless {
			t.Errorf("blameless %v: %s after %d attempts", blameless, r.State, r.Attempts)
		}
	}
}
