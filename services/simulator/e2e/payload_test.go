package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
)

// TestPayloadsOfGitHub posts every payload that GitHub publishes as an example, byte for byte, and then those of jobs once
// more as if their jobs asked for our label.
func TestPayloadsOfGitHub(t *testing.T) {
	const job = "289782451" // of queued.payload.json
	covers(t, "F16")
	s := start(t, rig.Options{Env: []string{
		"ALLOWED_REPOS=Codertocat/Hello-World,wolfy1339/github-events-schemas,lineville/elastic-machines-testing", // they are public
	}})
	if err := s.Simulator.AddOwner(t.Context(), "Codertocat", false, "Hello-World"); err != nil {
		t.Fatal(err)
	}
	ignored, accepted := answer{status: http.StatusAccepted, body: "ignored"}, answer{status: http.StatusAccepted, body: "accepted"}
	t.Run("as they are, none asks for a runner of ours", func(t *testing.T) {
		s := s.in(t)
		for event, files := range map[string][]string{
			"workflow_job": payloadFiles(t, "workflow_job"),
			"check_run":    {"other/check_run.json"}, "workflow_run": {"other/workflow_run.json"}, "push": {"other/push.json"},
		} {
			for _, file := range files {
				if got := s.post(t.Context(), event, readPayload(t, file)); got != ignored {
					t.Errorf("%s: answered %+v, want %+v", file, got, ignored)
				}
			}
		}
		if got := s.post(t.Context(), "ping", readPayload(t, "other/ping.json")); got.status != http.StatusOK {
			t.Errorf("ping: answered %+v, want 200", got)
		}
	})
	t.Run("a queued job with our label gets a sandbox", func(t *testing.T) {
		s := s.in(t)
		if got := s.post(t.Context(), "workflow_job", remake(t, "workflow_job/queued.payload.json", s.inRun("Codertocat/Hello-World"))); got != accepted {
			t.Fatalf("answered %+v, want %+v", got, accepted)
		}
		eventually(t, "a sandbox is made for the job", func(ctx context.Context) bool { return slices.Contains(s.served(ctx), job) })
	})
	t.Run("all others with our label are stored", func(t *testing.T) {
		s := s.in(t)
		for _, file := range payloadFiles(t, "workflow_job") {
			if got := s.post(t.Context(), "workflow_job", relabel(t, file)); got != accepted {
				t.Errorf("%s: answered %+v, want %+v", file, got, accepted)
			}
		}
	})
	t.Run("nothing that was ignored got a sandbox", func(t *testing.T) {
		s := s.in(t)
		if got, want := s.served(t.Context()), []string{job}; !slices.Equal(got, want) {
			t.Errorf("sandboxes were made for the jobs %v, want %v", got, want)
		}
	})
}

// payloadFiles lists a folder of the payloads.
func payloadFiles(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(payloads, folder))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		files = append(files, filepath.Join(folder, e.Name()))
	}
	if len(files) == 0 {
		t.Fatalf("no payload in %s", folder)
	}
	return files
}

// relabel makes the job of a payload ask for our label, and leaves the installation out, which does not exist here:
// hooks of repositories name none either.
func relabel(t *testing.T, file string) []byte {
	t.Helper()
	return remake(t, file, map[string]any{})
}

// inRun makes a workflow run of the repository, none of whose jobs is for us, and has a job be of it: GitHub is asked about the run.
func (s *system) inRun(repo string) map[string]any {
	s.t.Helper()
	hosted := task("hosted", 0)
	hosted.Labels = []string{"ubuntu-latest"}
	s.dispatch(s.t.Context(), repo, hosted)
	return map[string]any{"run_id": s.job(s.t.Context(), hosted.Name).RunID}
}

// remake is relabel with changes to the job.
func remake(t *testing.T, file string, changes map[string]any) []byte {
	t.Helper()
	var event map[string]any
	decoder := json.NewDecoder(bytes.NewReader(readPayload(t, file)))
	decoder.UseNumber()
	if err := decoder.Decode(&event); err != nil {
		t.Fatal(err)
	}
	delete(event, "installation")
	job := event["workflow_job"].(map[string]any)
	job["labels"] = []string{"self-hosted", "Modal"}
	maps.Copy(job, changes)
	body, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
