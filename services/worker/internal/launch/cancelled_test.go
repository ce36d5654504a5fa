package launch_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// A job is cancelled at each moment of its launch. What it held is for others within the minute, though no sweep comes by: a launch that
// has asked Modal for nothing has nothing to come late. Nor is there a sandbox if GitHub was not even asked when the job was known to be over.
func TestAJobThatIsCancelledWhileItIsLaunchedGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	for moment := time.Duration(0); moment < 2*time.Second; moment += 50 * time.Millisecond {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.lag = func() time.Duration { return 100 * time.Millisecond }
				launched := make(chan struct{})
				go func() {
					defer close(launched)
					w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				}()
				time.Sleep(moment)
				w.deliver(t.Context(), message{job: 1, ev: run.Finished{Job: job(1), Conclusion: "cancelled"}}, nil)
				w.mu.Lock()
				early := len(w.registrations)+len(w.sandboxes) == 0
				w.mu.Unlock()
				<-launched
				w.settle(t, time.Minute)
				if early && len(w.sandboxes) > 0 {
					t.Errorf("%d sandboxes were made", len(w.sandboxes))
				}
				if r := w.runners[run.Name{Job: 1, Attempt: 1}].record; len(w.places.Held) > 0 || w.running() > 0 || len(w.registrations) > 0 {
					t.Errorf("%d places are held, %d sandboxes run, %d registrations are left; its runner %+v", len(w.places.Held), w.running(), len(w.registrations), r)
				}
			})
		})
	}
}
