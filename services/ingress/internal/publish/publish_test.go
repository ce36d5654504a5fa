package publish_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/ingress/internal/publish"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/internal/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPublishStoresOnceAndCarriesTheTrace(t *testing.T) {
	t.Parallel()
	js := connect(t, natstest.Start(t))
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology([]string{"default"})); err != nil {
		t.Fatal(err)
	}
	var results []publish.Result
	p := publish.New(js, noop.NewTracerProvider().Tracer(""), 10*time.Second, func(r publish.Result, _ time.Duration) {
		results = append(results, r)
	})
	ev := event()
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: 1})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	for _, want := range []bool{false, true} {
		if duplicate, err := p.Publish(ctx, ev); err != nil || duplicate != want {
			t.Errorf("Publish() = %t, %v, want %t", duplicate, err, want)
		}
	}
	again := proto.CloneOf(ev)
	again.DeliveryId = "another"
	if duplicate, err := p.Publish(ctx, again); err != nil || duplicate {
		t.Errorf("other delivery: %t, %v", duplicate, err)
	}
	if !slices.Equal(results, []publish.Result{publish.Stored, publish.Duplicate, publish.Stored}) {
		t.Errorf("results = %v", results)
	}
	stream, err := js.Stream(t.Context(), wire.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), 1)
	if err != nil || stream.CachedInfo().State.Msgs != 2 {
		t.Fatalf("%d messages, %v", stream.CachedInfo().State.Msgs, err)
	}
	got, err := wire.Decode(msg.Header.Get(wire.HeaderSchema), msg.Data)
	if err != nil || !proto.Equal(got, ev) || msg.Subject != "jobs.queued.default" {
		t.Errorf("stored %v on %s, %v", got, msg.Subject, err)
	}
	if got := trace.SpanContextFromContext(obs.Extract(t.Context(), msg.Header)); got.TraceID() != span.TraceID() {
		t.Errorf("trace %v, headers %v", got, msg.Header)
	}
}

func TestPublishFailsWithinItsTimeout(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	js := connect(t, server)
	var results []publish.Result
	p := publish.New(js, noop.NewTracerProvider().Tracer(""), 2*time.Second, func(r publish.Result, _ time.Duration) {
		results = append(results, r)
	})
	if _, err := p.Publish(t.Context(), event()); err == nil {
		t.Error("published without a stream")
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"jobs.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), event()); err == nil {
		t.Error("published to another stream")
	}
	server.Stop()
	if _, err := p.Publish(t.Context(), event()); err == nil {
		t.Error("published without a server")
	}
	if !slices.Equal(results, []publish.Result{publish.Failed, publish.Failed, publish.Failed}) {
		t.Errorf("results = %v", results)
	}
	if _, err := p.Publish(t.Context(), &jobsv1.JobEvent{}); err == nil || len(results) != 3 {
		t.Errorf("an event without an action: %v, %v", err, results)
	}
}

func TestAMessageIsSentAgainWhileTheServerRestarts(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	js := connect(t, server)
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology([]string{"default"})); err != nil {
		t.Fatal(err)
	}
	p := publish.New(js, noop.NewTracerProvider().Tracer(""), 30*time.Second, func(publish.Result, time.Duration) {})
	server.Stop()
	published := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), event())
		published <- err
	}()
	server.Restart(t)
	if err := <-published; err != nil {
		t.Error(err)
	}
}

func TestAMessageWhoseAnswerWasLostIsSentAgainAndIsNoDuplicate(t *testing.T) {
	t.Parallel()
	js := connect(t, natstest.Start(t))
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology([]string{"default"})); err != nil {
		t.Fatal(err)
	}
	var results []publish.Result
	p := publish.New(&deaf{JetStream: js}, noop.NewTracerProvider().Tracer(""), 30*time.Second, func(r publish.Result, _ time.Duration) {
		results = append(results, r)
	})
	if duplicate, err := p.Publish(t.Context(), event()); err != nil || duplicate {
		t.Errorf("Publish() = %t, %v", duplicate, err)
	}
	stream, err := js.Stream(t.Context(), wire.StreamJobs)
	if err != nil || stream.CachedInfo().State.Msgs != 1 || !slices.Equal(results, []publish.Result{publish.Stored}) {
		t.Errorf("results = %v, stream %v, %v", results, stream, err)
	}
}

// deaf loses the first answer of the server.
type deaf struct {
	jetstream.JetStream
	lost bool
}

func (d *deaf) PublishMsg(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := d.JetStream.PublishMsg(ctx, msg, opts...)
	if !d.lost && err == nil {
		d.lost = true
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return ack, err
}

func event() *jobsv1.JobEvent {
	return &jobsv1.JobEvent{
		Action: jobsv1.Action_ACTION_QUEUED, JobId: 1, Pool: "default", DeliveryId: "one", Labels: []string{"modal"},
	}
}

func connect(t *testing.T, server *natstest.Server) jetstream.JetStream {
	t.Helper()
	return server.JetStream(t, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
}
