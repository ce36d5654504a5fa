package e2e_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakegithub/checks"
	"modal-github-runner/services/simulator/internal/fault"
)

// The author of a job sees at GitHub why it does not run, and once an operator has replayed it,
// that it runs after all.
func TestTheAuthorOfAJobSeesThatItWasGivenUpAndThatItRunsAfterAll(t *testing.T) {
	s := start(t, rig.Options{Workers: 2})
	s.faults(fault.Rule{Op: "github.generate-jitconfig", Error: "422"})
	s.dispatch(t.Context(), "acme/api", task("refused", 0))
	job := s.job(t.Context(), "refused")
	id := strconv.FormatInt(job.ID, 10)

	told := s.concluded(id, "failure")
	if told.Name != "Modal runner: refused" || !strings.Contains(told.Summary, "422") || !strings.Contains(told.Summary, "dead-letters replay "+id) {
		t.Errorf("the author is told %+v", told)
	}
	s.faults()
	s.operator(t.Context(), "dead-letters", "replay", id)
	s.succeeds(soon, "refused")
	if taken := s.concluded(id, "neutral"); taken.ID != told.ID {
		t.Errorf("it was taken back by check run %d, not by %d", taken.ID, told.ID)
	}
	s.handled()
	if n := len(s.github(t.Context()).CheckRuns); n != 1 {
		t.Errorf("%d check runs were made of one job", n)
	}
}

// concluded waits until the one check run that tells of a job has that conclusion, and returns it.
func (s *system) concluded(job, conclusion string) (last checks.Run) {
	s.t.Helper()
	eventually(s.t, "a check run of job "+job+" says "+conclusion, func(ctx context.Context) bool {
		for _, last = range s.github(ctx).CheckRuns {
			if last.ExternalID == job && last.Conclusion == conclusion {
				return true
			}
		}
		return false
	})
	return last
}
