package launch_test

import (
	"errors"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// A worker may die at each of its calls: whatever was asked for before or after GitHub had no room is removed with the job's need of it.
func TestAWorkerThatDiesWhileGitHubHasNoRoomLeavesNothing(t *testing.T) {
	for name, limited := range map[string]func(try int) bool{
		"at first":    func(try int) bool { return try == 0 },
		"in between":  func(try int) bool { return try == 1 },
		"all along":   func(int) bool { return true },
		"alternating": func(try int) bool { return try%2 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			dyingAtEachCall(t, 10, func(t *testing.T, f *fuse) {
				w := newWorld()
				tries := 0
				w.registerErr = func(run.Runner) error {
					tries++
					if limited(tries - 1) {
						return &run.LimitedError{Until: time.Now().Add(20 * time.Second), Err: errors.New("GitHub's points are used up")}
					}
					return nil
				}
				w.createErr = func(run.Runner) (bool, error) { return tries%3 == 0, errors.New("no answer") }
				for range 2 {
					w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, f)
					time.Sleep(25 * time.Second)
				}
				w.deliver(t.Context(), message{job: 1, ev: run.Started{Job: job(1), Runner: run.Name{Job: 2, Attempt: 1}}}, f)
				w.settle(t, 10*time.Minute)
				if len(w.registrations) != 0 || w.running() != 0 {
					t.Errorf("registrations %v, %d run; runners %+v", w.registrations, w.running(), w.runners)
				}
			})
		})
	}
}
