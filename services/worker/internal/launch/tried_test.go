package launch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// The first runner of a job ends without one. It may have been on trial for others.
func TestARunnerThatTriedAVersionInVainCountsAgainstNobody(t *testing.T) {
	down := errors.New("NATS is down")
	for name, test := range map[string]struct {
		tried   func(context.Context, run.Runner) (string, error)
		excused bool
	}{
		"none is ever tried":                {nil, false},
		"it had the version of all others":  {func(context.Context, run.Runner) (string, error) { return "", nil }, false},
		"it tried one":                      {func(context.Context, run.Runner) (string, error) { return "2.338.0", nil }, true},
		"that can't be found out for a bit": {afterAWhile(down, "2.338.0"), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.tried = func(ctx context.Context, r run.Runner) (string, error) {
					if r.State != run.Ended || r.Job.Pool != "default" {
						t.Errorf("asked of %+v", r)
					}
					return test.tried(ctx, r)
				}
				if test.tried == nil {
					w.tried = nil
				}
				w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
				w.settle(t, time.Second)
				w.sandboxes[0].running = false
				w.settle(t, 70*time.Second)
				got := w.runs[1].record
				if got.State != run.Waiting || got.Attempts != 2 || w.live(1) == nil {
					t.Fatalf("the job: %+v, want a second runner", got)
				}
				var lost string
				for _, note := range got.History {
					if strings.HasPrefix(note.Text, "lost: ") {
						lost = note.Text
					}
				}
				const why = "lost: it was to try version 2.338.0 of the runner, and it ended: "
				if failed := len(w.places.Pools["default"].Failed); test.excused {
					unblamed(t, w)
					if got.Forgiven != 1 || !strings.HasPrefix(lost, why) {
						t.Errorf("the job: %+v", got)
					}
				} else if failed != 1 || got.Forgiven != 0 || strings.HasPrefix(lost, why) {
					t.Errorf("%d failed in the pool, and the job: %+v", failed, got)
				}
			})
		})
	}
}

// afterAWhile fails at first.
func afterAWhile(err error, version string) func(context.Context, run.Runner) (string, error) {
	asked := 0
	return func(context.Context, run.Runner) (string, error) {
		if asked++; asked < 3 {
			return "", err
		}
		return version, nil
	}
}
