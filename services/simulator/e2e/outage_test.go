package e2e_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
)

// payloads are GitHub's own, as ingress tests itself with.
const payloads = "../../ingress/internal/webhook/testdata/payloads"

// githubPatience is how long GitHub waits for an answer to a webhook.
const githubPatience = 10 * time.Second

func TestWithoutNATSWebhooksAreRefusedInTimeAndTheSystemRecoversByItself(t *testing.T) {
	long(t)
	covers(t, "F29")
	s := start(t, rig.Options{Env: []string{"ALLOWED_REPOS=Codertocat/Hello-World,acme/*,octo/*"}}) // the first is public
	s.serve(workload.Options{Jobs: 3}, nil)
	if err := s.StopNATS(); err != nil {
		t.Fatal(err)
	}
	// Wanted, so that only a message that was stored may be answered with 202.
	wanted := relabel(t, filepath.Join("workflow_job", "queued.payload.json"))
	began := time.Now()
	got := s.post(t.Context(), "workflow_job", wanted)
	if got.status != http.StatusServiceUnavailable || got.retryAfter == "" {
		t.Errorf("answered %+v, want 503 and Retry-After", got)
	}
	if took := time.Since(began); took > githubPatience {
		t.Errorf("answered after %s, GitHub waits %s", took, githubPatience)
	}
	for _, url := range s.AdminURLs() {
		eventually(t, url+" is not ready", func(ctx context.Context) bool {
			return getURL(ctx, t, url+"/readyz").status == http.StatusServiceUnavailable
		})
		if health := getURL(t.Context(), t, url+"/healthz"); health.status != http.StatusOK {
			t.Errorf("%s/healthz answered %+v: a restart would not help", url, health)
		}
	}
	if err := s.StartNATS(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, url := range s.AdminURLs() {
		eventually(t, url+" is ready again", func(ctx context.Context) bool {
			return getURL(ctx, t, url+"/readyz").status == http.StatusOK
		})
	}
	s.serve(workload.Options{Jobs: 10}, nil)
}

func readPayload(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(payloads, path))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
