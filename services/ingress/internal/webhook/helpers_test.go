package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/ingress/internal/limit"
	"modal-github-runner/services/ingress/internal/webhook"
	"modal-github-runner/services/internal/config"
)

const (
	secret   = "canary-webhook-secret"
	delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
	maxBody  = 64 << 10
	// room is for eight bodies that keep still.
	room = 8 * limit.EntryCost
	// places is how many requests may be at work.
	places = 8
)

// The rates are soon used up.
var (
	sourceRate = limit.Rate{PerSecond: 1, Burst: 2}
	tenantRate = limit.Rate{PerSecond: 1, Burst: 20}
)

// queue is a publisher that keeps what it stored and can be broken.
type queue struct {
	mu     sync.Mutex
	stored []*jobsv1.JobEvent
	err    error
	panics bool
	takes  time.Duration
}

func (q *queue) Publish(ctx context.Context, ev *jobsv1.JobEvent) (bool, error) {
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(q.takes):
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.panics {
		panic("canary-panic")
	}
	if q.err != nil {
		return false, q.err
	}
	for _, stored := range q.stored {
		if stored.GetDeliveryId() == ev.GetDeliveryId() {
			return true, nil
		}
	}
	q.stored = append(q.stored, ev)
	return false, nil
}

// rig is a handler with all that it touches.
type rig struct {
	handler    *webhook.Handler
	queue      *queue
	bodies     *limit.Bodies
	sources    *limit.Sources
	inFlight   *limit.InFlight
	tenants    *limit.Tenants
	mu         sync.Mutex
	deliveries []webhook.Delivery
	log        bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	keys, err := webhook.NewKeys(config.StaticSecret(secret), config.StaticSecret("previous"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		queue: &queue{}, bodies: limit.NewBodies(room), sources: limit.NewSources(1, sourceRate),
		inFlight: limit.NewInFlight(places), tenants: limit.NewTenants(tenantRate),
	}
	r.handler = webhook.NewHandler(webhook.Options{
		Keys:      keys,
		Policy:    policy("Codertocat/Hello-World", "octo-org/*"),
		Publisher: r.queue,
		Bodies:    r.bodies,
		Sources:   r.sources,
		InFlight:  r.inFlight,
		Tenants:   r.tenants,
		MaxBody:   maxBody,
		Logger:    slog.New(slog.NewTextHandler(&r.log, nil)),
		Tracer:    noop.NewTracerProvider().Tracer(""),
		Observe:   r.observe,
	})
	return r
}

func (r *rig) observe(d webhook.Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deliveries = append(r.deliveries, d)
}

func (r *rig) send(request *http.Request) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	r.handler.ServeHTTP(recorder, request)
	return recorder
}

// occupy takes so many places for requests at work.
func (r *rig) occupy(number int) {
	for range number {
		r.inFlight.Enter()
	}
}

// fill takes all the memory that bodies may have.
func (r *rig) fill() {
	for ok := true; ok; {
		_, ok = r.bodies.Enter(func() {})
	}
}

func policy(repos ...string) webhook.Policy {
	p := webhook.Policy{Route: pools.Default().Route, LooksLike: pools.Default().LooksLike}
	for _, repo := range repos {
		var rule wire.RepoPattern
		if err := rule.UnmarshalText([]byte(repo)); err != nil {
			panic(err)
		}
		p.Repos = append(p.Repos, rule)
	}
	return p
}

// signed is a request as GitHub sends it.
func signed(body string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, webhook.Path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Github-Event", "workflow_job")
	r.Header.Set("X-Github-Delivery", delivery)
	r.Header.Set("X-Hub-Signature-256", sign(secret, body))
	return r
}

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// payload reads one of the documents that GitHub publishes.
func payload(tb testing.TB, name string) string {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "payloads", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(raw)
}

// ours is the published payload of a queued job that asks for a label of ours, too.
func ours(tb testing.TB) string {
	tb.Helper()
	return replace(tb, payload(tb, "workflow_job/queued.payload.json"), `"labels": [`, `"labels": ["Modal", `)
}

func replace(tb testing.TB, s, from, to string) string {
	tb.Helper()
	if !strings.Contains(s, from) {
		tb.Fatalf("no %q in the payload", from)
	}
	return strings.Replace(s, from, to, 1)
}

var errQueue = errors.New("no answer")
