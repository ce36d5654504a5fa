package operator_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"modal-github-runner/services/worker/internal/operator"
)

func TestAJobIsNamedByItsIDOrItsPage(t *testing.T) {
	for _, tt := range []struct {
		text string
		want operator.JobID // zero if it is refused
	}{
		{"41", 41},
		{"https://github.com/o/r/actions/runs/7/job/41", 41},
		{"https://github.com/o/r/actions/runs/7/job/41/", 41},
		{"https://github.com/o/r/actions/runs/7/job/41?pr=3#step:2:1", 41},
		{"https://github.com/o/r/actions/runs/7/job/41#step:4:12", 41},
		{"https://github.com/o/r/actions/runs/7/jobs/41", 41}, // As webhooks have it.
		{"https://github.com/o/r/runs/7/jobs/41", 41},
		{"https://github.com/o/r/pull/3/checks?check_run_id=41", 41},
		{"https://github.com/o/r/runs/41", 41},
		{"https://github.com/o/r/runs/41?check_suite_focus=true", 41},
		{"http://ghes.example:8443/o/r.x/actions/runs/7/job/9223372036854775807", 1<<63 - 1},
		{"", 0},
		{"0", 0},
		{"-41", 0},
		{"4x", 0},
		{"9223372036854775808", 0},
		{"https://github.com/o/r/actions/runs/7", 0}, // A run, not a job.
		{"https://github.com/o/r/actions/runs/7/attempts/2", 0},
		{"https://github.com/o/r/actions/runs/7/job", 0},
		{"https://github.com/o/r/pull/41", 0},
		{"https://github.com/o/r/pull/41/checks", 0},
		{"https://github.com/o/r/pull/41/checks?check_run_id=x", 0},
		{"https://github.com/o/r/pull/41/checks?check_run_id=41&x=%zz", 41},
		{"https://github.com/o/r/actions/runs/7/job/0", 0},
		{"https://github.com/o/r/actions/runs/7/job/99999999999999999999", 0},
		{"ftp://github.com/o/r/runs/41", 0},
		{"github.com/o/r/runs/41", 0},
		{"https://%zz/o/r/runs/41", 0},
	} {
		t.Run(tt.text, func(t *testing.T) {
			var got operator.JobID
			err := got.UnmarshalText([]byte(tt.text))
			if got != tt.want || (err == nil) != (tt.want != 0) {
				t.Errorf("got %d, %v", got, err)
			}
			if err != nil && !strings.HasSuffix(err.Error(), fmt.Sprintf("(got %q)", tt.text)) {
				t.Errorf("the error does not name the value: %v", err)
			}
		})
	}
}

func TestWhatNamesNoJobIsToldWhatToNameInstead(t *testing.T) {
	const form = "must be a job's id or URL, such as https://github.com/OWNER/REPO/actions/runs/RUN/job/JOB"
	const ofRun = "must name a job, not the run that it belongs to: open the job there, and take the URL of its page"
	for text, want := range map[string]string{
		"four":                                              form,
		"https://github.com/o/r":                            form,
		"https://github.com/o/r/pull/41":                    form,
		"https://github.com/o/r/pull/3/checks":              form,
		"https://github.com/o/r/actions/runs/7/job/0":       form,
		"https://github.com/o/r/actions/runs/7":             ofRun,
		"https://ghes.example/o/r/actions/runs/7?pr=3":      ofRun,
		"https://github.com/o/r/actions/runs/7/attempts/2":  ofRun,
		"https://github.com/o/r/actions/runs/7/job/":        ofRun,
		"https://github.com/o/r/actions/runs/7/job/41/logs": ofRun,
	} {
		var id operator.JobID
		if err := id.UnmarshalText([]byte(text)); err == nil || err.Error() != fmt.Sprintf("%s (got %q)", want, text) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func FuzzJobID(f *testing.F) {
	for _, seed := range []string{"41", "https://github.com/o/r/actions/runs/7/job/41", "https://github.com/o/r/runs/41", "https://github.com/o/r/pull/3/checks?check_run_id=41", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var id operator.JobID
		if err := id.UnmarshalText([]byte(text)); err != nil {
			if id != 0 {
				t.Errorf("%q is refused and yet %d", text, id)
			}
			return
		}
		if id < 1 || !strings.Contains(strings.ReplaceAll(text, "+", ""), strconv.FormatInt(int64(id), 10)) {
			t.Errorf("%q is %d", text, id)
		}
	})
}

func TestADeadLetterIsNamedByItsIDOrTheJobsPage(t *testing.T) {
	for text, want := range map[string]operator.LetterID{
		"41":        "41",
		"message-7": "message-7",
		"https://github.com/o/r/actions/runs/7/job/41": "41",
	} {
		var id operator.LetterID
		if err := id.UnmarshalText([]byte(text)); err != nil || id != want {
			t.Errorf("%s is %s, %v", text, id, err)
		}
	}
	var id operator.LetterID
	if err := id.UnmarshalText([]byte("https://github.com/o/r/actions/runs/7")); err == nil || !strings.HasPrefix(err.Error(), "must name a job, not the run") {
		t.Errorf("a run's page: %v", err)
	}
}
