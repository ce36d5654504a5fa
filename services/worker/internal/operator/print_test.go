package operator_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/operator"
	"modal-github-runner/services/worker/internal/run"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func summary(changes ...func(*adminapi.Summary)) adminapi.Summary {
	s := adminapi.Summary{
		ID: 289782451, Repo: "octo/app", Workflow: "CI", Name: "build (linux)", Pool: "default", State: run.Waiting, Since: ago(2 * time.Minute), Attempts: 2,
	}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func waiting() adminapi.Explanation {
	return adminapi.Explanation{
		Summary:  summary(),
		WaitsFor: "GitHub to give it a runner: mgr-289782451-2 was launched 40s ago and has no job (queued 2m0s ago)",
		Labels:   []string{"self-hosted", "modal"}, RunID: 2202229078, RunAttempt: 1, Branch: "main",
		Timeline: []adminapi.Moment{
			{At: ago(2 * time.Minute), Text: "queued", Event: "72d3162e-cc78-11e3-81ab-4c9367dc0958"},
			{At: ago(2 * time.Minute), Runner: "mgr-289782451-1", Text: "counted on, attempt 1", Event: "72d3162e-cc78-11e3-81ab-4c9367dc0958"},
			{At: ago(117 * time.Second), Runner: "mgr-289782451-1", Text: "launched, sandbox sb-HsFZXs33"},
			{At: ago(44 * time.Second), Runner: "mgr-289782451-1", Text: "lost: it took job 289782999", Event: "9a1f0c44-cc78-11e3-9e02-0a5b7d31c2f6"},
			{At: ago(43 * time.Second), Runner: "mgr-289782451-2", Text: "counted on, attempt 2"},
			{At: ago(40 * time.Second), Runner: "mgr-289782451-2", Text: "launched, sandbox sb-9qPm2uXr"},
		},
		Runners: []adminapi.Runner{
			{Name: "mgr-289782451-1", State: run.Busy, CountsFor: 289782451, Took: 289782999, SandboxID: "sb-HsFZXs33"},
			{Name: "mgr-289782451-2", State: run.Launched, CountsFor: 289782451, SandboxID: "sb-9qPm2uXr"},
		},
	}
}

func over(state run.State) adminapi.Explanation {
	e := waiting()
	e.State, e.WaitsFor, e.Timeline, e.Runners = state, "", e.Timeline[:1], nil
	e.Conclusion, e.Reason = "success", "no such runner group; change RUNNER_GROUP_ID"
	if state == run.Done {
		e.Timeline = append(e.Timeline, adminapi.Moment{At: now, Text: "finished: success", Event: run.AskedGitHub})
	}
	return e
}

func job() run.Job {
	return run.Job{
		ID: 289782451, RunID: 2202229078, RunAttempt: 1, Owner: "octo", Repo: "app", Labels: []string{"modal"}, WorkflowName: "CI", Name: "build", HeadBranch: "main",
	}
}

// message is a letter whose texts try to command the terminal.
func message() intake.Letter {
	return intake.Letter{ID: "message-7", At: ago(26 * time.Hour), Reason: "malformed\x1b[2J\nforged line", Subject: "jobs.queued.default", Sequence: 7, SizeBytes: 12, SHA256: "ab12"}
}

func TestAnswersForPeople(t *testing.T) {
	letter := intake.Letter{ID: "289782451", At: ago(time.Hour), Reason: "no such runner group; change RUNNER_GROUP_ID", Job: job()}
	for name, write := range map[string]func(io.Writer) error{
		"explain-waiting": func(w io.Writer) error { return operator.PrintExplanation(w, waiting(), now) },
		"explain-done":    func(w io.Writer) error { return operator.PrintExplanation(w, over(run.Done), now) },
		"explain-dead":    func(w io.Writer) error { return operator.PrintExplanation(w, over(run.Dead), now) },
		"explain-capped": func(w io.Writer) error {
			e := over(run.Done)
			e.Pool, e.Labels, e.Capped = "forks", []string{"modal", "cpu:16", "mem:64"}, []string{"4 cores for cpu:16", "8192MiB for mem:64"}
			return operator.PrintExplanation(w, e, now)
		},
		"jobs": func(w io.Writer) error {
			held := func(s *adminapi.Summary) {
				s.State, s.Name, s.Since, s.Attempts = run.OnHold, "", ago(90*time.Minute), 0
			}
			bare := func(s *adminapi.Summary) {
				s.Workflow, s.Name, s.Since, s.Reason = "", "", time.Time{}, "create sandbox: no answer"
			}
			return operator.PrintJobs(w, adminapi.Jobs{Jobs: []adminapi.Summary{summary(), summary(held), summary(bare)}, LeftOff: 12}, now)
		},
		"jobs-long-reason": func(w io.Writer) error {
			failing := func(s *adminapi.Summary) { s.Reason = longReason }
			return operator.PrintJobs(w, adminapi.Jobs{Jobs: []adminapi.Summary{summary(failing)}}, now)
		},
		"explain-long-reason": func(w io.Writer) error {
			e := waiting()
			e.Reason, e.WaitsFor, e.Runners[1].Reason = longReason, "its launch as mgr-289782451-2: failed once, last: "+longReason, longReason
			return operator.PrintExplanation(w, e, now)
		},
		"dead-letters-long-reason": func(w io.Writer) error {
			return operator.PrintLetters(w, adminapi.Letters{Letters: []intake.Letter{{ID: "289782451", At: ago(time.Hour), Reason: longReason, Job: job()}}}, now)
		},
		"jobs-none": func(w io.Writer) error { return operator.PrintJobs(w, adminapi.Jobs{}, now) },
		"dead-letters": func(w io.Writer) error {
			return operator.PrintLetters(w, adminapi.Letters{Letters: []intake.Letter{letter, message()}}, now)
		},
		"dead-letters-none":   func(w io.Writer) error { return operator.PrintLetters(w, adminapi.Letters{}, now) },
		"dead-letter-job":     func(w io.Writer) error { return operator.PrintLetter(w, letter, now) },
		"dead-letter-message": func(w io.Writer) error { return operator.PrintLetter(w, message(), now) },
		"logs": func(w io.Writer) error {
			return operator.PrintLog(w, adminapi.Log{
				ID: 289782451, Runner: "mgr-289782451-1", SandboxID: "sb-HsFZXs33", How: "its sandbox ended: success",
				Text: "Connected to GitHub\r\n\tRunning job: build\x1b[2J\nJob build completed with result: Succeeded",
			}, now)
		},
		"logs-none": func(w io.Writer) error {
			return operator.PrintLog(w, adminapi.Log{ID: 1, Runner: "mgr-1-1", SandboxID: "sb-1", How: "its sandbox runs"}, now)
		},
		"replay": func(w io.Writer) error {
			return operator.PrintReplay(w, adminapi.Replay{ID: 289782451, State: run.Waiting}, now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := write(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if diff := cmp.Diff(string(want), got.String()); err != nil || diff != "" {
				t.Errorf("%v: %s", err, diff)
			}
			if strings.ContainsAny(got.String(), "\x1b\r\t") {
				t.Errorf("it commands the terminal: %q", got.String())
			}
		})
	}
}

func TestTheREADMEShowsAnAnswerAsItIs(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := os.ReadFile(filepath.Join("testdata", "explain-waiting.txt"))
	if err != nil || !strings.Contains(string(readme), "\n"+string(answer)+"```\n") {
		t.Errorf("%v; README.md does not contain:\n%s", err, answer)
	}
}

// longReason is of more characters than a list shows, and of more bytes than characters.
const longReason = "register runner: POST https://api.github.com/repos/octo/app/actions/runners/generate-jitconfig: 403 Resource not " +
	"accessible by integration – the App or token lacks a permission"

func TestALongReasonIsCutBetweenCharacters(t *testing.T) {
	for reason, want := range map[string]string{
		strings.Repeat("é", 120): strings.Repeat("é", 120) + "\n",
		strings.Repeat("é", 121): strings.Repeat("é", 119) + "…\n`worker explain JOB` tells a reason that was cut short\n",
	} {
		var got bytes.Buffer
		bare := func(s *adminapi.Summary) { s.Reason = reason }
		if err := operator.PrintJobs(&got, adminapi.Jobs{Jobs: []adminapi.Summary{summary(bare)}}, now); err != nil || !strings.HasSuffix(got.String(), "  "+want) {
			t.Errorf("got %q, %v", got.String(), err)
		}
	}
}

// full is a terminal that takes nothing.
type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestAnOutputThatTakesNothingIsAnError(t *testing.T) {
	for name, err := range map[string]error{
		"explain":     operator.PrintExplanation(full{}, waiting(), now),
		"jobs":        operator.PrintJobs(full{}, adminapi.Jobs{Jobs: []adminapi.Summary{summary()}}, now),
		"no jobs":     operator.PrintJobs(full{}, adminapi.Jobs{}, now),
		"letters":     operator.PrintLetters(full{}, adminapi.Letters{Letters: []intake.Letter{message()}}, now),
		"no letters":  operator.PrintLetters(full{}, adminapi.Letters{}, now),
		"dead letter": operator.PrintLetter(full{}, message(), now),
		"replay":      operator.PrintReplay(full{}, adminapi.Replay{}, now),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
