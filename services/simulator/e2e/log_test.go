package e2e_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/world"
)

func TestWhatARunnerSaidLastIsShownWhileItRunsAndAfterItsEnd(t *testing.T) {
	t.Parallel()
	s := start(t, rig.Options{})
	job := task("told", 0)
	job.Steps = []world.StepSpec{{Run: "sleep 2"}}
	s.dispatch(t.Context(), "acme/api", job)
	within(t, soon, "the job runs", func(ctx context.Context) bool { return s.job(ctx, "told").Status == world.InProgress })
	id := strconv.FormatInt(s.job(t.Context(), "told").ID, 10)
	shows := func(how string) {
		t.Helper()
		within(t, soon, "its log is shown", func(ctx context.Context) bool {
			if !strings.Contains(string(s.operator(ctx, "jobs", "--state=running"))+string(s.operator(ctx, "jobs", "--state=done")), id) {
				return false // It is not on record yet that it runs.
			}
			said := string(s.operator(ctx, "logs", id))
			return strings.Contains(said, how) && strings.Contains(said, "Running job: told")
		})
	}
	shows("its sandbox runs")
	s.succeeds(soon, "told")
	s.leavesNothing(soon)
	shows("its sandbox ended: success")
}
