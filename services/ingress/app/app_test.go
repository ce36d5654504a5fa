package app_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/ingress/app"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/logtest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "canary-webhook-secret"

// instance is one running ingress.
type instance struct {
	*app.App
	log    *logtest.Buffer
	secret string       // what send signs with
	stop   func() error // as SIGTERM does; waits for the end
}

func start(t *testing.T, natsURL string, environ ...string) *instance {
	t.Helper()
	cfg, _, err := app.LoadConfig(append([]string{
		"INGRESS_ADDR=127.0.0.1:0", "INGRESS_ADMIN_ADDR=127.0.0.1:0", "WEBHOOK_SECRET=" + secret, "NATS_URL=" + natsURL,
		"ALLOWED_REPOS=Codertocat/Hello-World", "LOG_FORMAT=json",
	}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	log := &logtest.Buffer{}
	a, err := app.New(t.Context(), app.Options{Config: cfg, Logger: obs.NewLogger(log, cfg.Log, obs.ThisService("ingress"))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	i := &instance{App: a, log: log, secret: secret, stop: sync.OnceValue(func() error {
		cancel()
		return <-ended
	})}
	t.Cleanup(func() {
		if err := i.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if strings.Contains(log.String(), "canary") {
			t.Errorf("a secret in the log:\n%s", log)
		}
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	})
	return i
}

func (i *instance) ready() bool { return obs.Healthcheck(context.Background(), i.AdminAddr()) == nil }

// send posts body as GitHub does, and returns the status, 0 if there was no answer.
func (i *instance) send(delivery, event string, body []byte) int {
	return i.sendSigned(&http.Transport{DisableKeepAlives: true}, delivery, event, body, sign(i.secret, body))
}

func sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func (i *instance) sendSigned(by http.RoundTripper, delivery, event string, body []byte, signature string) int {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		"http://"+i.Addr()+"/webhooks/github", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Github-Event", event)
	request.Header.Set("X-Github-Delivery", delivery)
	request.Header.Set("X-Hub-Signature-256", signature)
	response, err := by.RoundTrip(request)
	if err != nil {
		return 0
	}
	if _, err := io.Copy(io.Discard, response.Body); errors.Join(err, response.Body.Close()) != nil {
		return 0
	}
	return response.StatusCode
}

func TestWebhooksEndUpInTheStreamAndInTheMetrics(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := start(t, server.URL())
	poll(t, i.ready)

	files, err := filepath.Glob("../internal/webhook/testdata/payloads/*/*.json")
	if err != nil || len(files) != 11 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	for n, file := range files {
		event := "workflow_job"
		if filepath.Base(filepath.Dir(file)) == "other" {
			event = strings.TrimSuffix(filepath.Base(file), ".json")
		}
		want := http.StatusAccepted
		if event == "ping" {
			want = http.StatusOK
		}
		if status := i.send(fmt.Sprintf("as-sent-%d", n), event, read(t, file)); status != want {
			t.Errorf("%s: %d", file, status)
		}
	}
	if got := stored(t, server); got != 0 {
		t.Errorf("%d events stored of jobs that are not ours", got)
	}
	for range 2 {
		if status := i.send("ours", "workflow_job", queued(t)); status != http.StatusAccepted {
			t.Errorf("a job of ours: %d", status)
		}
	}
	if got := stored(t, server); got != 1 {
		t.Errorf("%d events stored of one job", got)
	}
	metrics := scrape(t, i)
	for _, want := range []string{
		`ingress_deliveries_total{action="queued",event="workflow_job",outcome="published"} 1`,
		`ingress_deliveries_total{action="queued",event="workflow_job",outcome="duplicate"} 1`,
		`ingress_deliveries_total{action="completed",event="workflow_job",outcome="ignored_label"} 2`,
		`ingress_deliveries_total{action="other",event="other",outcome="ignored_action"} 3`,
		`ingress_publish_seconds_count{outcome="stored"} 1`,
		`ingress_inflight_requests 0`,
		`nats_connected 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in:\n%s", want, metrics)
		}
	}
}

func TestIngressStartsAndRecoversWithoutNATS(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F29")
	server := natstest.Start(t)
	server.Stop()
	i := start(t, server.URL())
	expectUnavailable := func() {
		t.Helper()
		began := time.Now()
		if status := i.send("early", "workflow_job", queued(t)); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		if took := time.Since(began); took > 9*time.Second {
			t.Errorf("answered after %s", took)
		}
	}
	expectUnavailable()
	if i.ready() {
		t.Error("ready without NATS")
	}
	server.Restart(t)
	poll(t, i.ready)
	if status := i.send("first", "workflow_job", queued(t)); status != http.StatusAccepted {
		t.Errorf("after NATS came: %d", status)
	}
	server.Stop()
	poll(t, func() bool { return !i.ready() })
	expectUnavailable()
	server.Restart(t)
	poll(t, i.ready)
	if status := i.send("second", "workflow_job", queued(t)); status != http.StatusAccepted {
		t.Errorf("after NATS came back: %d", status)
	}
	// "early" was refused: it is not stored later, behind GitHub's back.
	if got := stored(t, server); got != 2 {
		t.Errorf("%d events stored", got)
	}
}

func TestAStopUnderLoadLosesNothingThatWasAccepted(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F25")
	server := natstest.Start(t)
	i := start(t, server.URL(), "INGRESS_DRAIN_DELAY=300ms")
	poll(t, i.ready)
	var accepted, refused, unanswered atomic.Int64
	body, done := queued(t), make(chan struct{})
	var senders sync.WaitGroup
	for s := range 4 {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				switch i.send(fmt.Sprintf("load-%d-%d", s, n), "workflow_job", body) {
				case http.StatusAccepted:
					accepted.Add(1)
				case 0:
					unanswered.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	poll(t, func() bool { return accepted.Load() > 50 })
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	poll(t, func() bool { return !i.ready() })
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
	close(done)
	senders.Wait()
	// Stored may exceed accepted by those whose connection was refused after they were stored: none here.
	if got := stored(t, server); got != accepted.Load() || refused.Load() != 0 {
		t.Errorf("%d accepted, %d stored, %d refused, %d unanswered", accepted.Load(), got, refused.Load(), unanswered.Load())
	}
}

func TestDrainAnswersOnWhileNotReady(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := start(t, server.URL(), "INGRESS_DRAIN_DELAY=3s")
	poll(t, i.ready)
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	poll(t, func() bool {
		err := obs.Healthcheck(context.Background(), i.AdminAddr())
		return err != nil && strings.Contains(err.Error(), "draining")
	})
	if status := i.send("late", "workflow_job", queued(t)); status != http.StatusAccepted {
		t.Errorf("status %d while draining", status)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if status := i.send("too-late", "workflow_job", queued(t)); status != 0 {
		t.Errorf("status %d after the stop", status)
	}
}

func TestASecretRotatesWithoutARestart(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F27", "F62")
	server := natstest.Start(t)
	file := filepath.Join(t.TempDir(), "secret")
	write := func(value string) {
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n")
	i := start(t, server.URL(), "WEBHOOK_SECRET_PREVIOUS_FILE="+file)
	poll(t, i.ready)
	for _, value := range []string{"before", "canary-after"} {
		write(value + "\n")
		i.secret = value
		poll(t, func() bool { return i.send("rotate", "ping", []byte("{}")) == http.StatusOK })
	}
	i.secret = "before"
	if status := i.send("rotate", "ping", []byte("{}")); status != http.StatusUnauthorized {
		t.Errorf("the secret before the change still counts: %d", status)
	}
	if !strings.Contains(i.log.String(), "secret reloaded") {
		t.Error("nothing in the log")
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := start(t, server.URL())
	if status := i.send(strings.Repeat("a", 32<<10), "ping", []byte("{}")); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", status)
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	i := start(t, server.URL())
	cfg, _, err := app.LoadConfig([]string{"INGRESS_ADDR=127.0.0.1:0", "INGRESS_ADMIN_ADDR=" + i.AdminAddr(), "WEBHOOK_SECRET=x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.New(t.Context(), app.Options{Config: cfg, Logger: obs.NewLogger(io.Discard, cfg.Log, obs.Service{})}); err == nil {
		t.Error("no error")
	}
}

func queued(t *testing.T) []byte {
	t.Helper()
	return bytes.Replace(read(t, "../internal/webhook/testdata/payloads/workflow_job/queued.payload.json"),
		[]byte(`"labels": [`), []byte(`"labels": ["modal", `), 1)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func stored(t *testing.T, server *natstest.Server) int64 {
	t.Helper()
	js := server.JetStream(t)
	stream, err := js.Stream(t.Context(), wire.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	return int64(stream.CachedInfo().State.Msgs)
}

func scrape(t *testing.T, i *instance) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+i.AdminAddr()+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func poll(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 30 s")
		}
	}
}
