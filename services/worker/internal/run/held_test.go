package run_test

import (
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

func TestARunnerIsBlamedForTheTimeOnlyInWhichItsJobWasNotHeld(t *testing.T) {
	approved := func(at time.Time) run.Run {
		return waiting(func(r *run.Run) { r.HeldAt, r.QueuedAt = ago(time.Hour), at })
	}
	launched := func(at time.Time) run.Runner {
		return run.Runner{Name: runner(1, 1), State: run.Ended, LaunchedAt: at, EndedAt: now}
	}
	unlaunched := func(ended time.Time) run.Runner {
		return run.Runner{Name: runner(1, 1), State: run.Ended, EndedAt: ended}
	}
	for name, test := range map[string]struct {
		run    run.Run
		runner run.Runner
		want   bool
	}{
		"its job was never held":                           {waiting(), launched(ago(time.Hour)), false},
		"its job is held":                                  {waiting(func(r *run.Run) { r.State = run.OnHold }), launched(ago(time.Hour)), true},
		"its job was approved after it was launched":       {approved(ago(time.Minute)), launched(ago(2 * time.Minute)), true},
		"its job was approved before it was launched":      {approved(ago(2 * time.Minute)), launched(ago(time.Minute)), false},
		"its job was approved after its launch had failed": {approved(ago(time.Minute)), unlaunched(ago(2 * time.Minute)), true},
		"its launch failed after its job was approved":     {approved(ago(2 * time.Minute)), unlaunched(ago(time.Minute)), false},
	} {
		if got := test.run.HeldWith(test.runner); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
