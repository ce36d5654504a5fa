package e2e_test

import (
	"context"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fault"
)

// TestAnotherWorkerTakesOverALaunch stops a worker in the middle of a launch. Another may take it over after a minute.
func TestAnotherWorkerTakesOverALaunch(t *testing.T) {
	long(t)
	t.Parallel()
	const (
		jit    = "github.generate-jitconfig"
		create = "modal.SandboxCreateV2"
		late   = fault.Duration(5 * time.Second)
	)
	tests := []struct {
		name   string
		faults []string
		slow   fault.Rule
		strike func(*system) error
	}{
		{
			"of one that hangs while GitHub makes the configuration",
			[]string{"F34"},
			fault.Rule{Op: jit, Latency: late, Times: 1},
			func(s *system) error { return s.Worker(0).Freeze() },
		},
		{
			"of one that hangs while Modal makes the sandbox",
			[]string{"F34"},
			fault.Rule{Op: create, Latency: late, Times: 1},
			func(s *system) error { return s.Worker(0).Freeze() },
		},
		{
			"of one that dies while GitHub makes the configuration",
			[]string{"F41"},
			fault.Rule{Op: jit, Latency: late, Times: 1},
			func(s *system) error { return s.Worker(0).Kill() },
		},
		{
			"of one that dies before it has recorded the sandbox",
			[]string{"F41", "F51"},
			fault.Rule{Op: create, Latency: late, Times: 1},
			func(s *system) error { return s.Worker(0).Kill() },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			covers(t, tt.faults...)
			s := start(t, rig.Options{Workers: 2})
			s.do(s.Worker(1).Stop(stopLimit))
			s.faults(tt.slow)
			s.dispatch(t.Context(), "acme/api", task("handed over", 0))
			eventually(t, "the launch is under way", func(ctx context.Context) bool { return s.strikes(ctx, tt.slow.Op) == 1 })
			s.do(tt.strike(s))
			s.do(s.StartWorker(t.Context(), 1))
			s.succeeds(3*soon, "handed over")
			s.do(s.Worker(0).Continue()) // Nothing happens to a dead one.
			s.dispatch(t.Context(), "acme/api", task("next", 0))
			s.succeeds(soon, "next")
			s.leavesNothing(3 * soon)
		})
	}
}
