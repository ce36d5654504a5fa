package fakegithub_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/world"
)

// start runs the distribution's run.sh in its own folder and returns what it prints and how it ends.
func start(t *testing.T, jit string) (wait func() (output string, err error)) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	must(t, actionsrunner.WriteDistribution(dir, exe))
	ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "run.sh"))
	cmd.Env = append(os.Environ(), "ACTIONS_RUNNER_INPUT_JITCONFIG="+jit, "RUNNER_ALLOW_RUNASROOT=1", "ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, time.Second
	must(t, cmd.Start())
	return func() (string, error) {
		defer cancel()
		err := cmd.Wait()
		return out.String(), err
	}
}

// TestJobRunsEndToEnd goes the whole way with real parts: a webhook announces the job, a JIT configuration is fetched
// for it, a runner process runs its steps in a shell, and webhooks and API tell of its end.
func TestJobRunsEndToEnd(t *testing.T) {
	tests := []struct {
		name       string
		steps      []world.StepSpec
		conclusion string
		exit       int
		output     string // of some step
	}{
		{"a job that succeeds", []world.StepSpec{{Run: "echo data > file"}, {Run: `test "$(cat file)" = data && echo "in $GITHUB_REPOSITORY on $RUNNER_NAME"`}}, "success", 0, "in acme/app on r1"},
		{"a job that fails", []world.StepSpec{{Run: "echo before; exit 3"}, {Run: "echo never"}}, "failure", 3, "before"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, in := newRig(t, fakegithub.Options{}), newReceiver(t)
			r.AddAppHook(in.url, secret)
			_, jobs := r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"self-hosted", "Modal"}, Steps: tt.steps})
			eventually(t, "the queued webhook comes", func() bool { return len(in.jobs()["queued"]) == 1 })
			event := in.jobs()["queued"][0].event.(*github.WorkflowJobEvent)
			printed, err := start(t, r.jit("r1", event.GetWorkflowJob().Labels...))()
			if err != nil {
				t.Fatalf("run.sh: %v\n%s", err, printed)
			}
			for _, line := range []string{
				"√ Connected to GitHub", "Current runner version: '2.337.0'", "Listening for Jobs", "Running job: build",
				"Job build completed with result: " + map[string]string{"success": "Succeeded", "failure": "Failed"}[tt.conclusion], tt.output,
			} {
				if !strings.Contains(printed, line) {
					t.Errorf("the runner did not print %q, but:\n%s", line, printed)
				}
			}
			quiet(t, r)
			if got := in.jobs(); len(got["in_progress"]) != 1 || len(got["completed"]) != 1 {
				t.Fatalf("%d in_progress and %d completed webhooks, want one of each", len(got["in_progress"]), len(got["completed"]))
			}
			done := in.jobs()["completed"][0].event.(*github.WorkflowJobEvent).GetWorkflowJob()
			if done.GetConclusion() != tt.conclusion || done.GetRunnerName() != "r1" || done.GetRunnerGroupName() != "Default" {
				t.Errorf("completed webhook says %s on %s of %s, want %s on r1 of Default", done.GetConclusion(), done.GetRunnerName(), done.GetRunnerGroupName(), tt.conclusion)
			}
			job, _, err := r.asInstallation().Actions.GetWorkflowJobByID(t.Context(), "acme", "app", jobs[0].ID)
			must(t, err)
			if job.GetConclusion() != tt.conclusion || len(job.Steps) != len(tt.steps)+2 {
				t.Errorf("job ended %s with %d steps, want %s with %d", job.GetConclusion(), len(job.Steps), tt.conclusion, len(tt.steps)+2)
			}
			state, _ := r.World.Job(jobs[0].ID)
			if state.ExitCode != tt.exit {
				t.Errorf("exit code %d, want %d", state.ExitCode, tt.exit)
			}
			if n := len(r.World.Runners(world.Scope{})); n != 0 {
				t.Errorf("%d registrations are left", n)
			}
		})
	}
}

func TestReleaseIsDownloadable(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	rel, _, err := r.asInstallation().Repositories.GetLatestRelease(t.Context(), "actions", "runner")
	must(t, err)
	if rel.GetTagName() != "v"+actionsrunner.Version || !strings.Contains(rel.GetBody(), "<!-- BEGIN SHA linux-x64 -->") {
		t.Errorf("release %s with notes %q", rel.GetTagName(), rel.GetBody())
	}
	resp, err := r.check.base.RoundTrip(mustRequest(t, rel.Assets[0].GetBrowserDownloadURL()))
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK || len(body) != rel.Assets[0].GetSize() {
		t.Errorf("got %d and %d bytes, want 200 and %d", resp.StatusCode, len(body), rel.Assets[0].GetSize())
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	return req
}
