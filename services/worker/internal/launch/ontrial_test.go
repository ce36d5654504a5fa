package launch_test

import (
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// While no runner of a pool starts, one job after the other finds out whether they do again. That is no fault of its own, unless no other
// job's runner failed.
func TestAJobIsGivenUpForItsOwnRunnersThatDoNotStartAndNotForItsPools(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		jobs int
		dead bool
	}{
		"the only one": {1, true},
		"one of eight": {8, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.lag = func() time.Duration { return 200 * time.Millisecond }
				w.comes(t, 1, tt.jobs, "default")
				for range 3 * 60 * 6 { // three hours
					w.play(t, 10*time.Second)
					w.mu.Lock()
					for _, s := range w.sandboxes {
						s.running = false
					}
					w.mu.Unlock()
				}
				if len(w.sandboxes) > 60 {
					t.Errorf("%d sandboxes were made in vain", len(w.sandboxes))
				}
				w.play(t, 17*time.Minute)
				w.started(t)
				w.play(t, 2*time.Minute)
				for id, v := range w.runs {
					if r := v.record; (r.State == run.Dead) != tt.dead || !tt.dead && w.live(id) == nil && r.State == run.Waiting {
						t.Errorf("job %d: %v, %d attempts of which %d count not: %s", id, r.State, r.Attempts, r.Forgiven, r.Reason)
					}
				}
			})
		})
	}
}
