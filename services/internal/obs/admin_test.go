package obs_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/internal/obs"
)

func newAdmin(checks ...obs.Check) *obs.Admin {
	return obs.NewAdmin(obs.AdminOptions{
		Registry: obs.NewRegistry(service), Logger: slog.New(slog.DiscardHandler), Checks: checks,
	})
}

func get(handler http.Handler, path string) (int, string) {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, http.NoBody))
	return recorder.Code, recorder.Body.String()
}

func TestReadinessNamesEachCheckAndFailsFirstWhenDraining(t *testing.T) {
	t.Parallel()
	var missing error
	admin := newAdmin(
		obs.Check{Name: "disk", Run: func(context.Context) error { return nil }},
		obs.Check{Name: "queue", Run: func(context.Context) error { return missing }},
	)
	expect := func(path string, status int, body string) {
		t.Helper()
		if code, got := get(admin.Handler(), path); code != status || got != body+"\n" {
			t.Errorf("%s = %d %s", path, code, got)
		}
	}
	expect("/readyz", 200, `{"status":"ready","checks":{"disk":"ok","queue":"ok"}}`)
	missing = errors.New("not connected")
	expect("/-/ready", 503, `{"status":"not ready","checks":{"disk":"ok","queue":"not connected"}}`)
	missing = nil
	admin.Drain()
	expect("/readyz", 503, `{"status":"draining","checks":{"disk":"ok","queue":"ok"}}`)
	expect("/healthz", 200, `{"status":"ok"}`)
	expect("/-/healthy", 200, `{"status":"ok"}`)
}

func TestMetricsAreServedAndPass(t *testing.T) {
	t.Parallel()
	registry := obs.NewRegistry(service)
	seconds := prometheus.NewHistogram(obs.SecondsHistogram("svc_step_seconds", "A step."))
	registry.MustRegister(seconds)
	seconds.Observe(0.02)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	admin := obs.NewAdmin(obs.AdminOptions{Registry: registry, Logger: slog.New(slog.DiscardHandler)})
	code, body := get(admin.Handler(), "/metrics")
	for _, want := range []string{
		`svc_build_info{goversion="go1",revision="abc",version="v1"} 1`, `svc_step_seconds_bucket{le="0.05"} 1`, "go_goroutines", "process_",
	} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("status %d, no %s", code, want)
		}
	}
}

func TestPprofIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	if code, _ := get(newAdmin().Handler(), "/debug/pprof/"); code != 404 {
		t.Errorf("off: %d", code)
	}
	on := obs.NewAdmin(obs.AdminOptions{Registry: obs.NewRegistry(service), Logger: slog.New(slog.DiscardHandler), Pprof: true})
	if code, _ := get(on.Handler(), "/debug/pprof/"); code != 200 {
		t.Errorf("on: %d", code)
	}
}

func TestHealthcheckAsksTheRunningService(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := newAdmin()
	admin.Handle("GET /extra", http.RedirectHandler("/healthz", http.StatusFound))
	admin.Serve(listener)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, addr := range []string{listener.Addr().String(), ":" + port, "0.0.0.0:" + port} {
		if err := obs.Healthcheck(t.Context(), addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if code, _ := get(admin.Handler(), "/extra"); code != http.StatusFound {
		t.Errorf("added handler answers %d", code)
	}
	admin.Drain()
	if err := obs.Healthcheck(t.Context(), listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "draining") {
		t.Errorf("draining: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := admin.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := obs.Healthcheck(t.Context(), listener.Addr().String()); err == nil {
		t.Error("a closed listener is healthy")
	}
	if err := obs.Healthcheck(t.Context(), "nonsense"); err == nil {
		t.Error("a bad address is healthy")
	}
}
