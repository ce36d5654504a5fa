package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/ingress/internal/limit"
)

// strangersEvery is how often a refusal is logged that anybody on the Internet can cause; metrics count them all.
const strangersEvery = time.Second

// reporter makes a delivery visible: as a metric, on its span, and as one log line.
type reporter struct {
	log       *slog.Logger
	observe   func(Delivery)
	strangers map[Outcome]*limit.Sampler
}

func newReporter(o Options) *reporter {
	r := &reporter{log: o.Logger, observe: o.Observe, strangers: map[Outcome]*limit.Sampler{}}
	for _, outcome := range []Outcome{BadSignature, TooLarge, Malformed, Throttled} {
		r.strangers[outcome] = limit.NewSampler(strangersEvery)
	}
	return r
}

func (r *reporter) report(ctx context.Context, d Delivery) {
	r.observe(d)
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(
		attribute.String("webhook.event", d.Event),
		attribute.String("webhook.action", d.Action),
		attribute.String("webhook.outcome", string(d.Outcome)),
		attribute.Int("http.response.status_code", d.Status),
	)
	level := slog.LevelInfo
	switch d.Outcome {
	case Published, Duplicate, IgnoredAction, IgnoredLabel, IgnoredPolicy, Pinged:
	case BadSignature, TooLarge, Malformed, Throttled, IgnoredLookAlike:
		level = slog.LevelWarn
	case QueueUnavailable, Failed:
		level = slog.LevelError
		span.SetStatus(codes.Error, string(d.Outcome))
	}
	attrs := d.attrs()
	if sampler, sampled := r.strangers[d.Outcome]; sampled && !d.Verified {
		skipped, ok := sampler.Allow()
		if !ok {
			return
		}
		attrs = append(attrs, slog.Int64("more_since_last", skipped))
	}
	r.log.LogAttrs(ctx, level, "webhook answered", attrs...)
}

func (d *Delivery) attrs() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("outcome", string(d.Outcome)),
		slog.Int("status", d.Status),
		slog.Duration("dur", d.Duration),
	}
	if d.id != "" {
		attrs = append(attrs,
			slog.String("delivery_id", d.id), slog.String("event", d.Event), slog.String("action", d.Action))
	}
	if d.reason != None {
		attrs = append(attrs, slog.String("reason", string(d.reason)))
	}
	if d.Limit != "" {
		attrs = append(attrs, slog.String("limit", string(d.Limit)))
	}
	if job := d.job; job != nil {
		attrs = append(attrs,
			slog.Int64("job_id", job.GetJobId()), slog.Int64("run_id", job.GetRunId()),
			slog.String("repo", job.GetRepository().GetOwner()+"/"+job.GetRepository().GetName()),
			slog.String("pool", job.GetPool()), slog.String("runner", job.GetRunnerName()))
	}
	if d.reason == OtherLabels || d.reason == LookAlike { // What they are made of shows only in ASCII.
		attrs = append(attrs, slog.String("labels", wire.CutText(fmt.Sprintf("%+q", d.job.GetLabels()))))
	}
	if d.err != nil {
		attrs = append(attrs, slog.Any("err", d.err))
	}
	if d.stack != "" {
		attrs = append(attrs, slog.String("stack", d.stack))
	}
	return attrs
}
