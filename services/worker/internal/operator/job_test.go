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
		{"https://github.com/o/r/pull/41", 0},
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

func FuzzJobID(f *testing.F) {
	for _, seed := range []string{"41", "https://github.com/o/r/actions/runs/7/job/41", "https://github.com/o/r/runs/41", "x"} {
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
