package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/world"
)

// marker is in each hostile label, so that it can be found wherever a label gets to.
const marker = "zq9"

// hostileLabels are printable labels that break what puts them into a shell, a path, a subject, a key, a document or a log
// without care. Whoever may write a workflow may ask for them.
func hostileLabels() []string {
	tricks := []string{
		"$(touch %s)", "`touch %s`", "; rm -rf %s", "&& %s", "| %s", "> /tmp/%s", "'%s'", `"%s"`, `\%s`, "${IFS}%s", "$%s", "%s &", "!%s", "#%s", "*%s*", "~%s", "{%s,b}",
		"../../%s", "/etc/%s", "..\\..\\%s", "file:///%s", "C:\\%s", "%%2e%%2e%%2f%s", "%s/..", ".%s", "%s.",
		"jobs.queued.%s", "jobs.%s.>", "%s.*", "$JS.API.%s", "$KV.runs.%s", "_INBOX.%s", "%s..%s", "dead.jobs.%s",
		`{"%s":1}`, "[%s]", "%s: yes", "- %s", "<script>%s</script>", "<!--%s-->", "&%s;", "%%s%s", "{{%s}}", "level=error %s", `","pool":"%s`, "' OR '%s'='%s",
		"раураl-%s", "%sＡ", "%s\u0301", "%s😀", "self-hosted %s", "modal %s", "MODAL-%s", "-%s", "--%s", "-e%s", "=%s", ":%s",
		"cpux:%s", "pictures:%s:$(id)", "cached:../%s", "img:%s/../../x", "docker:%s", "job-%s-1", "runner_%s", "@%s", "%s@v1", "+%s",
	}
	var all []string
	for n, long := range []string{"", strings.Repeat("a", 100), strings.Repeat("é", 80)} {
		for _, trick := range tricks {
			all = append(all, strings.ReplaceAll(fmt.Sprintf("%s%s", trick, long), "%s", fmt.Sprint(marker, n)))
		}
	}
	return all
}

func TestHostileLabelsReachNoShellNoSubjectAndNoKey(t *testing.T) {
	const perJob = 60
	s := start(t, rig.Options{})
	labels := hostileLabels()
	if len(labels) < 200 {
		t.Fatalf("%d labels", len(labels))
	}
	var jobs []world.JobSpec
	var names []string
	for some := range slices.Chunk(labels, perJob) {
		job := task(fmt.Sprint("hostile-", len(jobs)), 0)
		job.Labels = append(job.Labels, some...)
		jobs, names = append(jobs, job), append(names, job.Name)
	}
	s.dispatch(t.Context(), "acme/api", jobs...)
	s.succeeds(soon, names...) // Each on a runner with just its labels: GitHub gives it to no other.

	bad := answer{status: http.StatusBadRequest, body: "bad request"}
	large := answer{status: http.StatusRequestEntityTooLarge, body: "request entity too large"}
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprint(marker, "-", i)
	}
	for what, refused := range map[string][]string{
		"10,000 labels": many, "a megabyte": {strings.Repeat(marker, 1<<20/len(marker))}, "nothing": {""},
		"a line's end": {marker + "\nlevel=error"}, "a terminal's command": {marker + "\x1b[2J"}, "a zero": {marker + "\x00"}, "no width": {marker + "\u200b"},
		"the other direction": {marker + "\u202e"},
	} {
		body := remake(t, "workflow_job/queued.payload.json", map[string]any{"labels": append([]string{"modal"}, refused...)})
		got, err := try(s.delivery(t.Context(), newGUID(), "workflow_job", body))
		// What is too large is not read to its end, and whoever sends it may see that before the answer.
		if tooLarge := err != nil || got == large; got != bad && (what != "a megabyte" || !tooLarge) {
			t.Errorf("%s: answered %d %.200q, %v", what, got.status, got.body, err)
		}
	}

	plain := regexp.MustCompile(`^[$A-Za-z0-9_.=-]+$`)
	for _, m := range s.stored() {
		if !plain.MatchString(m.Subject) || strings.Contains(m.Subject, marker) {
			t.Errorf("a subject or key of NATS: %q", m.Subject)
		}
	}
	for _, made := range s.modal(t.Context()).Sandboxes {
		if text, err := json.Marshal(made); err != nil || strings.Contains(string(text), marker) {
			t.Errorf("a sandbox: %s, %v", text, err)
		}
	}
	logs := s.files()
	for _, name := range []string{"ingress-1.log", "worker-1.log"} {
		lines := bytes.Split(bytes.TrimSpace(logs[name]), []byte("\n"))
		if len(lines) < 2 {
			t.Errorf("%s has %d lines", name, len(lines))
		}
		for _, line := range lines {
			if !json.Valid(line) || bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("a line of %s: %q", name, line)
			}
		}
	}
}
