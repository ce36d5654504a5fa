package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/world"
)

func TestAWebhookSecretIsChangedWithoutARestart(t *testing.T) {
	covers(t, "F27", "F62")
	s := start(t, rig.Options{})
	body := readPayload(t, "other/push.json")
	before, after := s.Secrets.Webhook, rand.Text()
	status := func(ctx context.Context, secret string) int {
		s.Secrets.Webhook = secret
		return s.post(ctx, "push", body).status
	}
	if got := status(t.Context(), after); got != http.StatusUnauthorized {
		t.Errorf("before the change the new secret is answered with %d", got)
	}
	s.do(s.SetSecret(rig.WebhookSecret, after))
	eventually(t, "the new secret is accepted", func(ctx context.Context) bool { return status(ctx, after) == http.StatusAccepted })
	if got := status(t.Context(), before); got != http.StatusUnauthorized {
		t.Errorf("after the change the old secret is answered with %d", got)
	}
}

// TestJobsWaitForCredentials has GitHub and Modal refuse what the worker shows them, until an operator mends it.
func TestJobsWaitForCredentials(t *testing.T) {
	t.Parallel()
	s := start(t, rig.Options{})
	tests := []struct {
		name   string
		faults []string
		file   rig.SecretFile
		bad    string
		good   string
	}{
		// First, while the worker has no token yet that it got for the right key.
		{"GitHub does not know the App's key", []string{"F09", "F62"}, rig.AppKey, strangersKey(t), s.Secrets.AppKey},
		{"Modal has revoked the token", []string{"F52", "F62"}, rig.ModalTokenSecret, "as-revoked", s.Secrets.ModalTokenSecret},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			covers(t, tt.faults...)
			s := s.in(t)
			const failure = `"msg":"runner not launched"`
			before := strings.Count(s.log("worker-1"), failure)
			s.do(s.SetSecret(tt.file, tt.bad))
			// The file is looked at once a second: until then jobs are served.
			jobs := []string{tt.name}
			s.dispatch(t.Context(), "acme/api", task(tt.name, 0))
			eventually(t, "a launch fails", func(ctx context.Context) bool {
				if last := jobs[len(jobs)-1]; s.job(ctx, last).Status == world.Completed {
					jobs = append(jobs, last+" again")
					s.dispatch(ctx, "acme/api", task(last+" again", 0))
				}
				return strings.Count(s.log("worker-1"), failure) > before
			})
			if status := s.job(t.Context(), jobs[len(jobs)-1]).Status; status != world.Queued {
				t.Errorf("the job is %s", status)
			}
			s.do(s.SetSecret(tt.file, tt.good))
			s.succeeds(soon, jobs...)
			s.leavesNothing(soon)
		})
	}
}

// strangersKey is a well-formed key of no App.
func strangersKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}
