package launch_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// A worker is refused for good and stands still before it can say so. Another takes the launch over, and is not refused any more: what
// the first one says once it goes on is of no matter.
func TestARefusalThatComesAfterAnotherHasMadeTheRunnerGivesNoJobUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var refused atomic.Bool
		asked := 0
		w.registerErr = func(run.Runner) error {
			if asked++; asked > 1 {
				return nil
			}
			refused.Store(true)
			return &run.PermanentError{Err: errors.New("no such runner group"), Advice: "make it"}
		}
		w.lag = func() time.Duration {
			if refused.CompareAndSwap(true, false) {
				return 3 * time.Minute
			}
			return 0
		}
		queued := message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			w.deliver(t.Context(), queued, nil)
		}()
		time.Sleep(run.LaunchTimeout + time.Second)
		w.deliver(t.Context(), queued, nil)
		if w.live(1) == nil {
			t.Fatal("nobody took the launch over")
		}
		<-gone
		if r := w.runs[1].record; r.State != run.Waiting || w.live(1) == nil || w.buried[1] != "" {
			t.Errorf("the job is %s (%s), its runner %+v", r.State, r.Reason, w.runners[run.Name{Job: 1, Attempt: 1}].record)
		}
	})
}
