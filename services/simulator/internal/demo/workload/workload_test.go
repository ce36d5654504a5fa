package workload_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/simulator/internal/demo/workload"
)

func TestPlan(t *testing.T) {
	tests := []struct {
		name     string
		options  workload.Options
		lastly   time.Duration // when the last run starts, at most
		failures int
	}{
		{"a single job is a single run", workload.Options{Jobs: 1}, 0, 0},
		{"bursts come with pauses", workload.Options{Jobs: 300, Seed: 7}, 15 * time.Second, 0},
		{"a rate is kept", workload.Options{Jobs: 100, Rate: 20, Seed: 7}, 5 * time.Second, 0},
		{"as many fail as were asked to", workload.Options{Jobs: 20, Fail: 3}, 5 * time.Second, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan := workload.Plan(tt.options)
			names, failures := map[string]bool{}, 0
			for _, d := range plan {
				for _, j := range d.Workflow.Jobs {
					names[j.Name] = true
					if !slices.Contains(j.Labels, "modal") {
						t.Errorf("job %s has the labels %v", j.Name, j.Labels)
					}
					if last := j.Steps[len(j.Steps)-1]; strings.HasSuffix(last.Run, "exit 3") {
						failures++
					}
				}
			}
			if len(names) != tt.options.Jobs || failures != tt.failures {
				t.Errorf("%d names and %d failures, want %d and %d", len(names), failures, tt.options.Jobs, tt.failures)
			}
			ordered := slices.IsSortedFunc(plan, func(a, b workload.Dispatch) int { return int(a.At - b.At) })
			if last := plan[len(plan)-1].At; last > tt.lastly || !ordered {
				t.Errorf("the last run starts at %s (in order: %v), want at most %s", last, ordered, tt.lastly)
			}
			if diff := cmp.Diff(plan, workload.Plan(tt.options)); diff != "" {
				t.Errorf("the same options gave another plan:\n%s", diff)
			}
		})
	}
}
