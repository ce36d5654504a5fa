package operator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/operator"
	"modal-github-runner/services/worker/internal/run"
)

func TestImagesAreListedWithWhatIsOnRecordOfThem(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out strings.Builder
	if err := operator.PrintImages(&out, []operator.Image{
		{Name: "default", ID: "im-1", Runner: "2.330.0", Since: now.Add(-2 * time.Hour)},
		{Name: "cuda", Building: true, Runner: "2.330.0", Since: now.Add(-8 * time.Second)},
		{Name: "wrong", Failure: "exit code 1; its log ends: make: \x1b[2J\nno rule", Runner: "2.330.0", Since: now.Add(-time.Minute)},
		{Name: "new"},
	}, now); err != nil {
		t.Fatal(err)
	}
	want := `IMAGE    STATE        FOR   RUNNER   ID
default  built        2h0m  2.330.0  im-1
cuda     being built  8s    2.330.0  -
wrong    failed       1m0s  2.330.0  -
new      not built    -     -        -
wrong: exit code 1; its log ends: make: ·[2J
wrong: no rule
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestABuildEndsWithTheImagesIdOrWithTheLog(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		id     string
		failed error
		want   string
	}{
		"built":                  {"im-1", nil, "cuda im-1\n"},
		"failed, with its log":   {"", fmt.Errorf("so: %w", &run.BuildError{Text: "exit code 1", Log: "a\nb\x1b[2J\r\n", Tail: "b"}), "cuda | a\ncuda | b·[2J\ncuda not built: exit code 1\n"},
		"failed elsewhere":       {"", &run.BuildError{Text: "exit code 1; its log ends: b"}, "cuda not built: exit code 1; its log ends: b\n"},
		"failed before it began": {"", errors.New("no such token"), "cuda not built: no such token\n"},
	} {
		var out strings.Builder
		if err := operator.PrintBuild(&out, "cuda", test.id, test.failed); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
