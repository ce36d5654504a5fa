package e2e_test

import (
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
	"modal-github-runner/services/simulator/internal/fault"
)

func TestAWorkerKilledHalfWayLosesNothing(t *testing.T) {
	tests := []struct {
		name    string
		jobs    int
		restart bool
		long    bool
	}{
		{name: "the other worker takes over what it had in hand", jobs: 60, long: true},
		{name: "it takes up again itself what it had in hand", jobs: 15, restart: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long {
				long(t)
			}
			covers(t, "F41")
			s, killed := start(t, rig.Options{Workers: 2}), false
			s.serve(workload.Options{Jobs: tt.jobs, Seed: 3}, func(now report.Report) error {
				c := now.Counts()
				if killed || 2*(c.Launched+c.Running+c.Done()) < tt.jobs {
					return nil
				}
				killed = true
				if err := s.Worker(0).Kill(); err != nil || !tt.restart {
					return err
				}
				return s.StartWorker(t.Context(), 0)
			})
			if !killed {
				t.Error("no worker was killed")
			}
		})
	}
}

func TestAWorkerStopsInOrderUnderLoad(t *testing.T) {
	long(t)
	s, stopped := start(t, rig.Options{Workers: 2}), false
	s.serve(workload.Options{Jobs: 60, Seed: 4}, func(now report.Report) error {
		if c := now.Counts(); stopped || c.Launched+c.Running == 0 {
			return nil
		}
		stopped = true
		return s.Worker(1).Stop(stopLimit) // an error for a late end and for any exit code but 0
	})
	if !stopped {
		t.Error("no worker was stopped")
	}
}

func TestJobsOutliveErrorsOfGitHubAndModal(t *testing.T) {
	long(t)
	s := start(t, rig.Options{Workers: 2})
	tests := []struct {
		name   string
		faults []string
		rule   fault.Rule
	}{
		{"GitHub fails to make configurations", []string{"F11"}, fault.Rule{Op: "github.generate-jitconfig", Error: "500", Times: 6}},
		{"GitHub makes configurations, and their answers are lost", []string{"F07", "F11"}, fault.Rule{Op: "github.generate-jitconfig", Error: "502", Times: 3, After: true}},
		{"GitHub has just revoked the token", []string{"F09"}, fault.Rule{Op: "github.generate-jitconfig", Error: "401", Times: 2}},
		{"GitHub limits the rate", []string{"F10"}, fault.Rule{Op: "github.generate-jitconfig", Error: "429", Times: 2}},
		{"Modal is unavailable", []string{"F65"}, fault.Rule{Op: "modal.SandboxCreateV2", Error: "UNAVAILABLE", Times: 12}},
		{"Modal makes sandboxes, and their answers are lost", []string{"F45"}, fault.Rule{Op: "modal.SandboxCreateV2", Error: "INTERNAL", Times: 2, After: true}},
		{"Modal has no room", []string{"F46"}, fault.Rule{Op: "modal.SandboxCreateV2", Error: "RESOURCE_EXHAUSTED", Times: 3}},
		{"Modal is slow", nil, fault.Rule{Op: "modal.SandboxCreateV2", Times: 4, Latency: fault.Duration(3 * time.Second)}},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			covers(t, tt.faults...)
			s := s.in(t)
			before := s.strikes(t.Context(), tt.rule.Op)
			s.faults(tt.rule)
			s.serve(workload.Options{Jobs: 6, Seed: uint64(n)}, nil)
			if struck := s.strikes(t.Context(), tt.rule.Op) - before; struck != tt.rule.Times {
				t.Errorf("the fault struck %d times, want %d", struck, tt.rule.Times)
			}
		})
	}
}
