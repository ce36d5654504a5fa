package obs

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// NewTracing returns the provider of tracers for svc, and the function that flushes and ends it. Without an endpoint the
// provider does nothing. What OpenTelemetry itself has to say goes to log, for the whole process; the last call decides
// where to. cfg must be valid.
func NewTracing(
	ctx context.Context, cfg TraceConfig, svc Service, log *slog.Logger,
) (trace.TracerProvider, func(context.Context) error, error) {
	endpoint := cfg.endpoint()
	if endpoint == nil {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	headers, err := cfg.headers()
	if err != nil {
		return nil, nil, fmt.Errorf("headers for the trace collector: %w", err)
	}
	redirectDiagnostics(log, headers)
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(endpoint.String())}
	if headers != nil {
		options = append(options, otlptracehttp.WithHeaders(headers))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
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

// traceparent is the only key that [Traceparent] and [WithTraceparent] know.
const traceparent = "traceparent"

// Traceparent is the span of ctx as W3C Trace Context writes it, at most 55 bytes; empty if there is none. [WithTraceparent]
// goes on from it, however much later.
func Traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceparent]
}

// WithTraceparent returns ctx with the remote span that [Traceparent] wrote in place of its own, or ctx if parent is none.
func WithTraceparent(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: parent})
}
