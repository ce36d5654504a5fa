package obs_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/services/internal/obs"
)

var service = obs.Service{Name: "svc", Instance: "host-1", Build: obs.Build{Version: "v1", Revision: "abc", Go: "go1"}}

func TestLogLinesCarryServiceAndTraceAndNoSecrets(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	log := obs.NewLogger(&out, obs.LogConfig{Level: slog.LevelWarn}, service)
	log.InfoContext(ctx, "below the level")
	log.With(slog.String("jit_config", "canary")).WithGroup("g").WarnContext(ctx, "hello",
		slog.String("github_token", "canary"), slog.Int("tokens_left", 3), slog.String("app_private_key", "canary"),
		slog.String("authorization", "canary"), slog.String("key", "job.1"))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	delete(got, "time")
	want := map[string]any{
		"level": "WARN", "msg": "hello", "service": "svc", "version": "v1", "instance": "host-1", "jit_config": "[redacted]",
		"g": map[string]any{
			"github_token": "[redacted]", "tokens_left": 3.0, "app_private_key": "[redacted]", "authorization": "[redacted]",
			"key": "job.1", "trace_id": "01000000000000000000000000000000", "span_id": "0200000000000000",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTwoProcessesOnOneHostAreToldApart(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := obs.ThisService("x").Instance, host+"-"+strconv.Itoa(os.Getpid()); got != want {
		t.Errorf("instance %q, want %q", got, want)
	}
}

func TestLogFormatIsParsed(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"auto", "json", "text"} {
		var f obs.LogFormat
		if err := f.UnmarshalText([]byte(text)); err != nil || f.String() != text {
			t.Errorf("%q = %v, %v", text, f, err)
		}
	}
	if err := new(obs.LogFormat).UnmarshalText([]byte("xml")); err == nil {
		t.Error("xml is accepted")
	}
	var out bytes.Buffer
	obs.NewLogger(&out, obs.LogConfig{Format: obs.LogText}, service).Info("hello")
	if !bytes.Contains(out.Bytes(), []byte("level=INFO msg=hello service=svc")) {
		t.Errorf("text line = %s", out.String())
	}
}
