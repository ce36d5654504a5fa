package launch

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/services/worker/internal/run"
)

// span begins a span about the runner, with attributes that are called as in logs.
func (h *handling) span(ctx context.Context, name string, kind trace.SpanKind, r run.Runner) (context.Context, trace.Span) {
	return h.Tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes( //nolint:spancheck // whoever asked for it ends it
		attribute.Int64("job_id", r.Job.ID),
		attribute.Int64("run_id", r.Job.RunID),
		attribute.String("repo", r.Job.Owner+"/"+r.Job.Repo),
		attribute.String("pool", r.Job.Pool),
		attribute.Int("attempt", r.Name.Attempt),
	))
}

// endSpan ends the span of a call, which err, if any, tells the outcome of.
func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
