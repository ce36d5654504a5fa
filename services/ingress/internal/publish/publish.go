// Package publish stores job events in the stream that the workers consume.
//
// What may never happen here: a nil error before the server has said that the message is stored.
package publish

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/obs"
)

// Result says how the server answered one publish.
type Result string

// The results of a publish.
const (
	Stored    Result = "stored"
	Duplicate Result = "duplicate"
	Failed    Result = "failed"
)

// Publisher publishes to JetStream. It is safe for concurrent use.
type Publisher struct {
	js      jetstream.JetStream
	tracer  trace.Tracer
	timeout time.Duration
	observe func(Result, time.Duration)
}

// New returns a publisher that waits at most timeout for the server's answer, and calls observe with how each publish
// went and how long that took.
func New(js jetstream.JetStream, tracer trace.Tracer, timeout time.Duration, observe func(Result, time.Duration)) *Publisher {
	return &Publisher{js: js, tracer: tracer, timeout: timeout, observe: observe}
}

// Publish stores ev and reports whether the server had it already, by its delivery id. After an error the event may be
// stored or not: the answer can have been lost on its way. Publishing it again is safe then.
func (p *Publisher) Publish(ctx context.Context, ev *jobsv1.JobEvent) (duplicate bool, err error) {
	subject, err := wire.Subject(ev)
	if err != nil {
		return false, fmt.Errorf("publish job event: %w", err)
	}
	data, err := wire.Encode(ev)
	if err != nil {
		return false, fmt.Errorf("publish job event: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	ctx, span := p.tracer.Start(ctx, "publish jobs", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.destination.name", subject),
	))
	defer span.End()
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		wire.HeaderSchema: []string{strconv.Itoa(wire.SchemaVersion)},
	}}
	obs.Inject(ctx, msg.Header)
	began := time.Now()
	ack, err := p.js.PublishMsg(ctx, msg,
		jetstream.WithMsgID(ev.GetDeliveryId()), jetstream.WithExpectStream(wire.StreamJobs))
	took := time.Since(began)
	if err != nil {
		p.observe(Failed, took)
		span.SetStatus(codes.Error, err.Error())
		return false, fmt.Errorf("publish job event to %s: %w", subject, err)
	}
	result := Stored
	if ack.Duplicate {
		result = Duplicate
	}
	p.observe(result, took)
	return ack.Duplicate, nil
}
