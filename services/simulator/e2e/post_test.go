package e2e_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
)

// answer is what ingress says to a webhook.
type answer struct {
	status     int
	body       string
	retryAfter string
}

// post sends a webhook as GitHub does, under a new delivery id.
func (s *system) post(ctx context.Context, event string, body []byte) answer {
	s.t.Helper()
	mac := hmac.New(sha256.New, []byte(s.Secrets.Webhook))
	mac.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.WebhookURL(), bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	id := hex.EncodeToString([]byte(rand.Text())[:16])
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	req.Header.Set("X-GitHub-Delivery", strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-"))
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "GitHub-Hookshot/044aadd")
	return roundTrip(s.t, req)
}

func roundTrip(t *testing.T, req *http.Request) answer {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, body: strings.TrimSpace(string(body)), retryAfter: resp.Header.Get("Retry-After")}
}

func getURL(ctx context.Context, t *testing.T, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return roundTrip(t, req)
}
