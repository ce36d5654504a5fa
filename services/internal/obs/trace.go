package obs

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// TraceConfig is the operator's part of tracing. The exporter and the sampler read the other OTEL_* variables themselves,
// as OpenTelemetry specifies them.
type TraceConfig struct {
	Endpoint       string `doc:"OTLP/HTTP collector; without one nothing is traced" env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
	TracesEndpoint string `doc:"the same, for traces only"                          env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
}

// NewTracing returns the provider of tracers for svc, and the function that flushes and ends it. Without an endpoint the
// provider does nothing.
func NewTracing(
	ctx context.Context, cfg TraceConfig, svc Service,
) (trace.TracerProvider, func(context.Context) error, error) {
	if cfg.Endpoint == "" && cfg.TracesEndpoint == "" {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("make trace exporter: %w", err)
	}
	// The environment comes last, so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
	res, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", svc.Name),
		attribute.String("service.version", svc.Build.Version),
		attribute.String("service.instance.id", svc.Instance),
	), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("describe service for traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
	return provider, provider.Shutdown, nil
}

// Inject writes the span of ctx into the headers of a message, and Extract reads it back. Both go through
// [propagation.HeaderCarrier], which writes the key in http's canonical form; nats.Header tells upper from lower case, so
// no one else may read or write that key.
func Inject(ctx context.Context, header map[string][]string) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(http.Header(header)))
}

// Extract returns ctx with the remote span that [Inject] wrote, or ctx if there is none.
func Extract(ctx context.Context, header map[string][]string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(http.Header(header)))
}
