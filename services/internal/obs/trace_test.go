package obs_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/services/internal/obs"
)

func TestTraceTravelsInMessageHeaders(t *testing.T) {
	t.Parallel()
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	})
	header := nats.Header{}
	obs.Inject(trace.ContextWithSpanContext(t.Context(), span), header)
	got := trace.SpanContextFromContext(obs.Extract(t.Context(), header))
	if !got.Equal(span.WithRemote(true)) {
		t.Errorf("got %v from %v", got, header)
	}
	if ctx := obs.Extract(t.Context(), nil); trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("a span out of nothing")
	}
}

func TestTracingIsOffWithoutAnEndpoint(t *testing.T) {
	t.Parallel()
	provider, stop, err := obs.NewTracing(t.Context(), obs.TraceConfig{}, service)
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("x").Start(t.Context(), "y")
	if span.IsRecording() {
		t.Error("it records")
	}
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// Not parallel: the exporter reads the environment.
func TestSpansAreExportedOnStop(t *testing.T) {
	bodies := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + string(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	provider, stop, err := obs.NewTracing(t.Context(), obs.TraceConfig{Endpoint: collector.URL}, service)
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("x").Start(t.Context(), "the-span")
	span.End()
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-bodies; !strings.HasPrefix(got, "/v1/traces") || !strings.Contains(got, "the-span") || !strings.Contains(got, "host-1") {
		t.Errorf("exported %q", got)
	}
}
