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
	return s.deliver(ctx, newGUID(), event, body)
}

func newGUID() string {
	id := hex.EncodeToString([]byte(rand.Text())[:16])
	return strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
}

// deliver is post for a delivery id of the caller's.
func (s *system) deliver(ctx context.Context, guid, event string, body []byte) answer {
	s.t.Helper()
	return roundTrip(s.t, s.delivery(ctx, guid, event, body))
}

// delivery is the request that deliver makes.
func (s *system) delivery(ctx context.Context, guid, event string, body []byte) *http.Request {
	s.t.Helper()
	mac := hmac.New(sha256.New, []byte(s.Secrets.Webhook))
	mac.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.WebhookURL(), bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	req.Header.Set("X-GitHub-Delivery", guid)
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "GitHub-Hookshot/044aadd")
	return req
}

func roundTrip(t *testing.T, req *http.Request) answer {
	t.Helper()
	got, err := try(req)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// try is roundTrip where there may be nobody to answer.
func try(req *http.Request) (answer, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, body: strings.TrimSpace(string(body)), retryAfter: resp.Header.Get("Retry-After")}, err
}

func getURL(ctx context.Context, t *testing.T, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return roundTrip(t, req)
}
