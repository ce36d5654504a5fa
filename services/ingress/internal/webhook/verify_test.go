package webhook_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/services/ingress/internal/webhook"
	"modal-github-runner/services/internal/config"
)

// The vector is GitHub's:
// https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation.
func TestGitHubsPublishedVectorPasses(t *testing.T) {
	t.Parallel()
	keys, err := webhook.NewKeys(config.StaticSecret("It's a Secret to Everybody"))
	if err != nil {
		t.Fatal(err)
	}
	const signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if err := keys.Verify([]byte("Hello, World!"), signature); err != nil {
		t.Error(err)
	}
	if err := keys.Verify([]byte("Hello, World?"), signature); !errors.Is(err, webhook.ErrSignatureMismatch) {
		t.Errorf("another body: %v", err)
	}
}

func TestNoKeysIsAnError(t *testing.T) {
	t.Parallel()
	for _, sources := range [][]*config.SecretSource{nil, {nil}, {config.StaticSecret(""), nil}} {
		if _, err := webhook.NewKeys(sources...); !errors.Is(err, webhook.ErrNoKeys) {
			t.Errorf("%v: %v", sources, err)
		}
	}
}

func FuzzVerifyAndDecode(f *testing.F) {
	for _, kind := range []string{"workflow_job", "other"} {
		entries, err := os.ReadDir("testdata/payloads/" + kind)
		if err != nil {
			f.Fatal(err)
		}
		for _, entry := range entries {
			body := payload(f, kind+"/"+entry.Name())
			f.Add([]byte(body), sign(secret, body))
		}
	}
	f.Add([]byte("{}"), "sha256="+strings.Repeat("0", 64))
	keys := benchKeys(f)
	p := policy("Codertocat/Hello-World")
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		if verified := keys.Verify(body, header) == nil; verified != (header == sign(secret, string(body))) {
			t.Errorf("Verify accepts %q: %t", header, verified)
		}
		ev, err := webhook.Decode(body)
		if err != nil {
			return
		}
		if ev.GetJobId() < 1 || ev.GetRunId() < 1 || len(ev.GetLabels()) > 100 || ev.GetRepository().GetName() == "" {
			t.Errorf("decoded %v", ev)
		}
		if v := webhook.Decide(ev, p); v.Reason == webhook.None && v.Pool == "" && ev.GetAction() == jobsv1.Action_ACTION_QUEUED {
			t.Errorf("published without a pool: %v", ev)
		}
	})
}

func benchKeys(tb testing.TB) *webhook.Keys {
	tb.Helper()
	keys, err := webhook.NewKeys(config.StaticSecret(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func summary(ev *jobsv1.JobEvent) string {
	return fmt.Sprintf("%s %d %s %s %s/%s %v", ev.GetAction(), ev.GetJobId(), ev.GetConclusion(), ev.GetRunnerName(),
		ev.GetRepository().GetOwner(), ev.GetRepository().GetName(), ev.GetLabels())
}
