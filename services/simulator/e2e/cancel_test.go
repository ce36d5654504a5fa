package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// goneLimit is how long after the cancellation of a job its sandbox may still be there.
const goneLimit = 30 * time.Second

func TestACancelledMatrixLeavesNoSandbox(t *testing.T) {
	tests := []struct {
		name string
		jobs int
		// limit is for the last sandbox's end; without one the test takes no time, since a busy machine has its own idea of it.
		limit time.Duration
		long  bool
	}{
		{name: "of 24 jobs", jobs: 24},
		{name: "of 256 jobs within 30 s", jobs: 256, limit: goneLimit, long: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long {
				long(t)
			}
			covers(t, "F05")
			s := start(t, rig.Options{Workers: 2})
			s.dispatch(t.Context(), "octo/tools", task("elsewhere", 15))
			eventually(t, "the job elsewhere runs", func(ctx context.Context) bool { return s.job(ctx, "elsewhere").Status == world.InProgress })
			// Some runners of the matrix get a job at once, the others are not online when it is cancelled.
			const connect, begun = "runner.connect", 4
			s.faults(fault.Rule{Op: connect, Times: begun}, fault.Rule{Op: connect, Latency: fault.Duration(time.Hour)})
			s.dispatch(t.Context(), "acme/web", tasks(tt.jobs, "matrix", 300)...)
			within(t, 5*soon, "the matrix has its sandboxes, and some of its jobs have begun", func(ctx context.Context) bool {
				sandboxes, _ := s.left(ctx)
				return sandboxes >= tt.jobs && s.count(ctx, "matrix", world.InProgress) == begun
			})
			s.faults()
			s.dispatch(t.Context(), "acme/web", task("beside", 1))
			cancelled := time.Now()
			if err := s.Simulator.CancelRun(t.Context(), s.job(t.Context(), "matrix-1").RunID); err != nil {
				t.Fatal(err)
			}
			s.succeeds(2*soon, "beside", "elsewhere")
			within(t, 2*soon, "no sandbox is left", func(ctx context.Context) bool { return s.modal(ctx).Running == 0 })
			s.endedInTime(cancelled, tt.limit)
			// GitHub allows 900 points a minute, of which making and removing a registration takes more than ten.
			s.leavesNothing(6 * soon)
			if running := s.count(t.Context(), "matrix", world.InProgress); running > 0 {
				t.Errorf("%d jobs of the matrix still run", running)
			}
		})
	}
}

// Sandboxes that Modal has not scheduled can't be asked whether they have a job. They go all the same, and keep no worker from its work.
func TestSandboxesThatModalHasNotScheduledGoWithTheirJobs(t *testing.T) {
	s := start(t, rig.Options{Workers: 1})
	s.faults(fault.Rule{Op: "modal.schedule", Latency: fault.Duration(time.Hour)})
	const jobs = 24
	s.dispatch(t.Context(), "acme/web", tasks(jobs, "matrix", 300)...)
	eventually(t, "the matrix has its sandboxes", func(ctx context.Context) bool { return s.modal(ctx).Running == jobs })
	s.faults()
	if err := s.Simulator.CancelRun(t.Context(), s.job(t.Context(), "matrix-1").RunID); err != nil {
		t.Fatal(err)
	}
	s.dispatch(t.Context(), "acme/web", task("beside", 1))
	s.succeeds(2*soon, "beside")
	within(t, 2*soon, "no sandbox is left", func(ctx context.Context) bool { return s.modal(ctx).Running == 0 })
	beside := s.job(t.Context(), "beside").RunnerName
	for _, sandbox := range s.modal(t.Context()).Sandboxes {
		if sandbox.StartedAt.IsZero() == (sandbox.Name == beside) {
			t.Errorf("sandbox %s started at %v", sandbox.Name, sandbox.StartedAt)
		}
	}
	s.leavesNothing(6 * soon)
}

// count is how many jobs whose names begin so are in the status.
func (s *system) count(ctx context.Context, prefix string, status world.Status) int {
	s.t.Helper()
	state := s.github(ctx)
	n := 0
	for _, j := range state.Jobs {
		if strings.HasPrefix(j.Name, prefix) && j.Status == status {
			n++
		}
	}
	return n
}

// endedInTime checks that every sandbox outlived the job that it ran, and that those that ran none or a job of the matrix
// were gone in time. No limit means that this takes as long as it takes.
func (s *system) endedInTime(cancelled time.Time, limit time.Duration) {
	s.t.Helper()
	modal := s.modal(s.t.Context())
	github := s.github(s.t.Context())
	served := map[string]world.Job{}
	for _, j := range github.Jobs {
		served[j.RunnerName] = j
	}
	var slowest time.Duration
	for _, sandbox := range modal.Sandboxes {
		j, worked := served[sandbox.Name]
		if worked && sandbox.EndedAt.Before(j.CompletedAt) {
			s.t.Errorf("the sandbox of job %s ended at %s, the job at %s", j.Name, sandbox.EndedAt, j.CompletedAt)
		}
		if !worked || strings.HasPrefix(j.Name, "matrix") {
			slowest = max(slowest, sandbox.EndedAt.Sub(cancelled))
		}
	}
	s.t.Logf("of %d sandboxes the last one of the matrix ended %s after the cancellation", len(modal.Sandboxes), slowest.Round(time.Millisecond))
	if limit > 0 && slowest > limit {
		s.t.Errorf("the last sandbox of the matrix ended %s after the cancellation, want at most %s", slowest, limit)
	}
}
