package operator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/operator"
	"modal-github-runner/services/worker/internal/run"
)

func TestVersionsOfTheRunnerAreShownWithHowTheirTrialsWent(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 22, 3, 4, 5, 0, time.UTC)
	good := run.RunnerRelease{Version: "2.330.0", PublishedAt: now.Add(-50 * time.Hour)}
	next := run.RunnerRelease{Version: "2.331.0", PublishedAt: now}
	const inUse = "runner 2.330.0: in use, published 50h0m ago\n"
	for name, test := range map[string]struct {
		versions operator.Versions
		want     string
	}{
		"nothing is on record":     {operator.Versions{}, ""},
		"all have the newest":      {operator.Versions{Good: good}, inUse},
		"a newer one waits":        {operator.Versions{Good: good, Candidate: next}, inUse + "runner 2.331.0: to be tried by the next job's sandbox\n"},
		"a newer one is tried":     {operator.Versions{Good: good, Candidate: next, Trying: true, Runner: run.Name{Job: 7, Attempt: 2}}, inUse + "runner 2.331.0: tried by the runner of job 7, attempt 2\n"},
		"one is pinned":            {operator.Versions{Pinned: "2.329.0"}, "runner 2.329.0: pinned\n"},
		"this worker has one only": {operator.Versions{Pinned: "2.329.0", Good: good}, "runner 2.329.0: pinned\nrunner 2.330.0: in use by workers that pin none, published 50h0m ago\n"},
		"a newer one is refused": {
			operator.Versions{Good: good, Refused: next, RefusedAt: now.Add(-time.Minute), Runner: run.Name{Job: 7, Attempt: 2}, Why: "its sandbox ended\x1b[2J\nat once"},
			inUse + "runner 2.331.0: refused 1m0s ago, since no runner that tried it took a job, the last one that of job 7, attempt 2: its sandbox ended·[2J\nat once\n",
		},
		"a newer one was tried in vain": {
			operator.Versions{Good: good, Candidate: next, Failed: 2, Runner: run.Name{Job: 7, Attempt: 2}, Why: "it ended"},
			inUse + "runner 2.331.0: to be tried by one sandbox more; of 2 so far no runner took a job, the last one that of job 7, attempt 2: it ended\n",
		},
		"a newer one is tried once more": {
			operator.Versions{Good: good, Candidate: next, Failed: 2, Trying: true, Runner: run.Name{Job: 8, Attempt: 1}, Why: "it ended"},
			inUse + "runner 2.331.0: tried by the runner of job 8, attempt 1\n",
		},
	} {
		var out strings.Builder
		if err := operator.PrintVersions(&out, test.versions, now); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAnOperatorIsToldWhichVersionIsTriedAgain(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"":        "no version of the runner is refused\n",
		"2.331.0": "runner 2.331.0: to be tried by the next job's sandbox\n",
	} {
		var out strings.Builder
		if err := operator.PrintAgain(&out, version); err != nil || out.String() != want {
			t.Errorf("%q: %q, %v", version, out.String(), err)
		}
	}
}
