package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
)

// hookedGitHub has a webhook of octo/repo (7) and one of the organization acme (8), each with an event that could not be
// delivered. It tells of each that it is to send again.
func hookedGitHub(t *testing.T) (url string, again map[string]chan struct{}) {
	t.Helper()
	again = map[string]chan struct{}{"/repos/octo/repo/hooks/7": make(chan struct{}, 100), "/orgs/acme/hooks/8": make(chan struct{}, 100)}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, body any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(body); err != nil {
			t.Error(err)
		}
	}
	for path, hook := range map[string]int{"/repos/octo/repo/hooks": 7, "/orgs/acme/hooks": 8} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, []any{map[string]any{
				"id": hook, "active": true, "events": []string{"workflow_job"}, "config": map[string]any{"url": "https://ingress.example/webhooks/github"},
			}})
		})
		of := fmt.Sprintf("%s/%d", path, hook)
		mux.HandleFunc("GET "+of+"/deliveries", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, []any{map[string]any{
				"id": 70, "guid": "g", "event": "workflow_job", "action": "queued", "status_code": 503, "delivered_at": time.Now().Add(-time.Hour),
			}})
		})
		mux.HandleFunc("POST "+of+"/deliveries/70/attempts", func(w http.ResponseWriter, _ *http.Request) {
			again[of] <- struct{}{}
			w.WriteHeader(http.StatusAccepted)
			answer(w, map[string]any{})
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, again
}

func TestWhatWebhooksOfRepositoriesAndOrganizationsDidNotBringIsSentAgain(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"RUNNER_SCOPE=org", "RUNNER_SCOPE=enterprise RUNNER_ENTERPRISE=corp"} {
		t.Run(scope, func(t *testing.T) { sendsAgain(t, strings.Fields(scope)...) })
	}
}

// sendsAgain starts a worker, and waits until all that was missed is sent again.
func sendsAgain(t *testing.T, environ ...string) {
	t.Helper()
	server := natstest.Start(t)
	github, again := hookedGitHub(t)
	start(t, append(environ, "NATS_URL="+server.URL(), "GITHUB_API_URL="+github, "ALLOWED_REPOS=octo/repo,acme/*")...)
	for _, sent := range again {
		await(t, sent)
	}
	kv, err := server.JetStream(t).KeyValue(t.Context(), wire.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"7", "8"} {
		poll(t, func() bool { _, err := kv.Get(t.Context(), "deliveries."+hook); return err == nil })
	}
}
