package exact_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/exact"
)

func TestAStoryIsToldToStrangers(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	violated, _ := exact.Play(&out, exact.Options{Seed: 3, Jobs: 400, SurplusLimit: time.Second}, false)
	if n := strings.Count(out.String(), "\nVIOLATED I5 at "); violated == 0 || n != violated {
		t.Errorf("%d violations, of which %d were told", violated, n)
	}
	if strings.Contains(out.String(), "map[") {
		t.Error("it speaks Go")
	}
	for _, want := range []string{`(?m)^  ended      \d+ success, .*\d+ cancelled.*, of ours; \d+ given up$`, `(?m)^ +\d+  webhook lost$`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("nothing like %s", want)
		}
	}
	for _, i := range exact.Invariants() {
		times := `0`
		if i.ID == "I5" {
			times = `[1-9]\d*`
		}
		if !regexp.MustCompile(`(?m)^ +[1-9]\d* +` + times + ` +` + i.ID + ` +` + regexp.QuoteMeta(i.Says) + `$`).MatchString(out.String()) {
			t.Errorf("%s was not explained, or was never checked, or was not violated %s times", i.ID, times)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
