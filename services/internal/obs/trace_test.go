package obs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/services/internal/config"
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

func TestATraceGoesOnFromWhatWasWrittenOfIt(t *testing.T) {
	t.Parallel()
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	})
	parent := obs.Traceparent(trace.ContextWithSpanContext(t.Context(), span))
	if got := trace.SpanContextFromContext(obs.WithTraceparent(t.Context(), parent)); !got.Equal(span.WithRemote(true)) {
		t.Errorf("got %v from %q", got, parent)
	}
	if none := obs.Traceparent(t.Context()); none != "" {
		t.Errorf("no span was written as %q", none)
	}
	for _, none := range []string{"", "x"} {
		if got := obs.Traceparent(obs.WithTraceparent(trace.ContextWithSpanContext(t.Context(), span), none)); got != parent {
			t.Errorf("%q took the place of %q", none, parent)
		}
	}
}

func TestTracingIsOffWithoutAnEndpoint(t *testing.T) {
	t.Parallel()
	provider, stop, err := obs.NewTracing(t.Context(), obs.TraceConfig{}, service, slog.New(slog.DiscardHandler))
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

// traceConfig is what an operator gets with these variables.
func traceConfig(t *testing.T, environ ...string) obs.TraceConfig {
	t.Helper()
	var cfg struct{ obs.TraceConfig }
	if _, err := config.Load(environ, &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg.TraceConfig
}

// Not parallel, as are the next: where OpenTelemetry reports to is one place for the whole process.
func TestSpansAreExportedOnStopWithTheHeadersForTheCollector(t *testing.T) {
	type export struct{ path, body, token string }
	exports := make(chan export, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		exports <- export{r.URL.Path, string(body), r.Header.Get("Api-Token")}
	}))
	defer collector.Close()
	for name, test := range map[string]struct {
		environ []string
		want    export
	}{
		"one endpoint for all signals": {
			[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL + "/base/", "OTEL_EXPORTER_OTLP_HEADERS=api-token=a%20b, x=y"},
			export{path: "/base/v1/traces", token: "a b"},
		},
		"an endpoint for traces only": {
			[]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + collector.URL + "/mine",
				"OTEL_EXPORTER_OTLP_HEADERS=api-token=a", "OTEL_EXPORTER_OTLP_TRACES_HEADERS=api-token=b",
			},
			export{path: "/mine", token: "b"},
		},
		"an endpoint for traces without a path": {
			[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + collector.URL}, export{path: "/"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			provider, stop, err := obs.NewTracing(t.Context(), traceConfig(t, test.environ...), service, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			_, span := provider.Tracer("x").Start(t.Context(), "the-span")
			span.End()
			if err := stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := <-exports
			if got.path != test.want.path || got.token != test.want.token || !strings.Contains(got.body, "the-span") || !strings.Contains(got.body, "host-1") {
				t.Errorf("exported %q", got)
			}
		})
	}
}

func TestOpenTelemetryReportsToTheLogWithoutSecrets(t *testing.T) {
	refuse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "unknown token "+r.Header.Get("Api-Token"))
	}))
	defer refuse.Close()
	// The exporter reads these itself, whatever the configuration says.
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "canary-header")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "canary-timeout")
	var log bytes.Buffer
	cfg := traceConfig(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+refuse.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-token=canary-token")
	provider, stop, err := obs.NewTracing(t.Context(), cfg, service, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("x").Start(t.Context(), "y")
	span.End()
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		otel.Handle(errors.New("the same again"))
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("a secret in:\n%s", &log)
	}
	for want, times := range map[string]int{
		`step="parse headers"`: 1, `step="parse duration"`: 1, "unknown token [redacted]": 1, "the same again": 1,
	} {
		if got := strings.Count(log.String(), want); got != times {
			t.Errorf("%d times %s in:\n%s", got, want, &log)
		}
	}
}

func TestTraceConfigRules(t *testing.T) {
	t.Parallel()
	const (
		pairs   = ` must be name=value pairs with commas between them, and %XX only for a byte`
		sampler = ` must be always_on, always_off or traceidratio, with or without parentbased_ before it`
		share   = ` must be a number from 0 to 1`
	)
	for name, test := range map[string]struct {
		environ []string
		want    string // after the name of the first variable
	}{
		"nothing set":                  {[]string{"OTEL_UNUSED=x"}, ""},
		"an endpoint":                  {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"}, ""},
		"an endpoint that is no URL":   {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=::bad"}, ` must be an absolute URL with a host (got "::bad")`},
		"an endpoint without scheme":   {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=foo:4318"}, ` must be an absolute URL with a host (got "foo:4318")`},
		"an endpoint of other scheme":  {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=grpc://foo:4317"}, ` must be a URL of scheme http, https (got "grpc://foo:4317")`},
		"an endpoint with a password":  {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://canary:canary@foo"}, ` must have no user name, password or token before the host (not shown, it may hold a password)`},
		"headers":                      {[]string{"OTEL_EXPORTER_OTLP_HEADERS=a=b%20c,d=e=f,g="}, ""},
		"headers without a value":      {[]string{"OTEL_EXPORTER_OTLP_HEADERS=canary"}, pairs},
		"headers without a name":       {[]string{"OTEL_EXPORTER_OTLP_HEADERS==canary"}, pairs},
		"headers with a stray comma":   {[]string{"OTEL_EXPORTER_OTLP_HEADERS=a=canary,"}, pairs},
		"headers with a stray percent": {[]string{"OTEL_EXPORTER_OTLP_TRACES_HEADERS=a=canary%zz"}, pairs},
		"a header by an unusable name": {[]string{"OTEL_EXPORTER_OTLP_HEADERS=a canary=b"}, ` must have names that HTTP allows`},
		"a header of two lines":        {[]string{"OTEL_EXPORTER_OTLP_HEADERS=a=canary%0d%0ab"}, ` must have values without control characters`},
		"a protocol that is not HTTP":  {[]string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, ` must be http/protobuf or http/json (got "grpc")`},
		"a sampler":                    {[]string{"OTEL_TRACES_SAMPLER=always_off"}, ""},
		"an unknown sampler":           {[]string{"OTEL_TRACES_SAMPLER=bogus"}, sampler + ` (got "bogus")`},
		"a share of traces":            {[]string{"OTEL_TRACES_SAMPLER_ARG=0.25", "OTEL_TRACES_SAMPLER=parentbased_traceidratio"}, ""},
		"a share that is no number":    {[]string{"OTEL_TRACES_SAMPLER_ARG=some", "OTEL_TRACES_SAMPLER=traceidratio"}, share + ` (got "some")`},
		"a share above all":            {[]string{"OTEL_TRACES_SAMPLER_ARG=1.5", "OTEL_TRACES_SAMPLER=traceidratio"}, share + ` (got "1.5")`},
		"attributes":                   {[]string{"OTEL_RESOURCE_ATTRIBUTES=service.instance.id=x"}, ""},
		"attributes without a value":   {[]string{"OTEL_RESOURCE_ATTRIBUTES=x"}, pairs + ` (got "x")`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := "", ""
			if test.want != "" {
				variable, _, _ := strings.Cut(test.environ[0], "=")
				want = variable + ":" + test.want
			}
			if _, err := config.Load(test.environ, &obs.TraceConfig{}); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzHeadersThatAreAcceptedCanBeSent(f *testing.F) {
	f.Add("a=b,c=d%20e")
	f.Add("a=%0d%0ainjected: x")
	f.Fuzz(func(t *testing.T, text string) {
		cfg := obs.TraceConfig{Protocol: "http/json", Sampler: "always_on", Headers: config.NewSecret(text)}
		if cfg.Validate() != nil {
			return
		}
		headers := http.Header{}
		for item := range strings.SplitSeq(text, ",") {
			if name, escaped, found := strings.Cut(item, "="); found {
				value, err := url.PathUnescape(escaped)
				if err != nil {
					t.Fatalf("%q is accepted: %v", text, err)
				}
				headers[strings.TrimSpace(name)] = []string{strings.TrimSpace(value)}
			}
		}
		request := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "x"}, Header: headers}
		if _, err := (&http.Transport{DialContext: refuseToDial}).RoundTrip(request); !errors.Is(err, errNoDial) { //nolint:bodyclose // nobody answers
			t.Errorf("%q is accepted, but can't be sent: %v", text, err)
		}
	})
}

var errNoDial = errors.New("no connection in this test")

func refuseToDial(context.Context, string, string) (net.Conn, error) { return nil, errNoDial }
