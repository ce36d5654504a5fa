// Package publish stores job events in the stream that the workers consume.
//
// What may never happen here: a nil error before the server has said that the message is stored.
package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// While a server restarts, or those of a cluster choose who leads the stream, nobody is there for a message, or it gets no answer.
// Either takes seconds, and GitHub waits longer: the message is sent again, which the server knows by its id.
const (
	retryWait = 250 * time.Millisecond
	// answerTime is how long the server may take with an answer before it is asked again. When it is well it takes milliseconds.
	answerTime = 1500 * time.Millisecond
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
	ack, err := p.store(ctx, msg, ev.GetDeliveryId())
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

// store sends the message until it is stored, the server refuses it, or ctx ends.
func (p *Publisher) store(ctx context.Context, msg *nats.Msg, id string) (*jetstream.PubAck, error) {
	for unanswered := false; ; {
		once, cancel := context.WithTimeout(ctx, answerTime)
		ack, err := p.js.PublishMsg(once, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(wire.StreamJobs),
			jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			ack.Duplicate = ack.Duplicate && !unanswered // Else it is of what was sent just before.
			return ack, nil
		}
		if said, ok := errors.AsType[*jetstream.APIError](err); ok && said.Code != http.StatusServiceUnavailable {
			return nil, err
		}
		unanswered = unanswered || errors.Is(err, context.DeadlineExceeded)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(retryWait):
		}
	}
}
