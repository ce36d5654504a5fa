package intake

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// heldFor is how long a message of a newer version waits for a worker that understands it.
	heldFor = time.Minute
	// maxNak bounds the pause before a message that met an error is handled again. Shorter than run.LaunchTimeout, so
	// that an error of NATS costs less than a lost worker.
	maxNak = 30 * time.Second
	// releaseTime is how long telling the server of a verdict may take.
	releaseTime = 5 * time.Second
	// maxHandling is the longest that the handling of one message can take when all is well with the worker: a launch, and
	// as much again for what comes before and after it. A worker that takes longer is stuck, and another gets the message.
	maxHandling = 2 * run.LaunchTimeout
)

// Verdicts, the values of the label of that name.
const (
	verdictDone      = "done"
	verdictRetry     = "retry"
	verdictScheduled = "scheduled"
	verdictDead      = "dead"
	verdictHeld      = "held"
)

// handle does all that is to be done with one message.
func (i *Intake) handle(working context.Context, msg jetstream.Msg) {
	ctx := obs.Extract(working, msg.Headers())
	ctx, span := i.Tracer.Start(ctx, "handle "+i.consumer, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.destination.name", msg.Subject()),
	))
	defer span.End()
	verdict := i.judge(ctx, msg)
	span.SetAttributes(attribute.String("verdict", verdict))
	i.Observer.Message(verdict)
}

// judge handles msg, tells the server, and returns the verdict.
func (i *Intake) judge(ctx context.Context, msg jetstream.Msg) string {
	ev, err := wire.Decode(msg.Headers().Get(wire.HeaderSchema), msg.Data())
	switch {
	case errors.Is(err, wire.ErrFutureSchema):
		i.Log.LogAttrs(ctx, slog.LevelWarn, "message held for a newer worker", slog.String("subject", msg.Subject()), slog.Any("err", err))
		i.tell(ctx, "nak", func() error { return msg.NakWithDelay(heldFor) })
		return verdictHeld
	case err != nil:
		return i.poison(ctx, msg, err)
	}
	trace.SpanFromContext(ctx).SetAttributes(attribute.Int64("job_id", ev.GetJobId()), attribute.Int64("run_id", ev.GetRunId()))
	event, err := eventOf(ev, obs.Traceparent(ctx))
	if err != nil {
		return i.poison(ctx, msg, err)
	}
	if queued, ok := event.(run.Queued); ok {
		queued.Job.Pool = i.PoolOf(queued.Job)
		event = queued
	}
	stop := i.heartbeat(ctx, msg)
	again, err := i.Handler.Handle(ctx, ev.GetJobId(), event)
	stop()

	// The verdict is told even if the worker is being stopped: it is what keeps the next one from waiting.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	if err == nil && !again.IsZero() {
		err = i.Publisher.later(ctx, ev, msg.Subject(), msg.Data(), again, 0)
	}
	if err != nil {
		pause, failures := nakDelay(msg)
		if pause == maxNak && i.putOff(ctx, ev, msg, failures, err) {
			return verdictScheduled
		}
		i.Log.LogAttrs(ctx, slog.LevelWarn, "message will be handled again", slog.String("subject", msg.Subject()),
			slog.Int64("job_id", ev.GetJobId()), slog.Duration("pause", pause), slog.Any("err", err))
		i.tell(ctx, "nak", func() error { return msg.NakWithDelay(pause) })
		return verdictRetry
	}
	began := time.Now()
	i.tell(ctx, "ack", func() error { return msg.DoubleAck(ctx) })
	i.Observer.Step("ack", time.Since(began))
	if again.IsZero() {
		return verdictDone
	}
	return verdictScheduled
}

// putOff has a message that goes on failing come again as a scheduled copy. A delayed nak holds one of the consumer's places,
// and an outage must not take them all. It reports whether that worked.
func (i *Intake) putOff(ctx context.Context, ev *jobsv1.JobEvent, msg jetstream.Msg, failures uint64, cause error) bool {
	if err := i.Publisher.later(ctx, ev, msg.Subject(), msg.Data(), time.Now().Add(maxNak), failures); err != nil {
		return false
	}
	i.Log.LogAttrs(ctx, slog.LevelWarn, "message put off", slog.String("subject", msg.Subject()),
		slog.Int64("job_id", ev.GetJobId()), slog.Duration("pause", maxNak), slog.Any("err", cause))
	i.tell(ctx, "ack", func() error { return msg.DoubleAck(ctx) })
	return true
}

// nakDelay doubles with each failure in a row, of this message and of those that it is a later copy of.
func nakDelay(msg jetstream.Msg) (pause time.Duration, failures uint64) {
	meta, err := msg.Metadata()
	if err != nil {
		return maxNak, 0
	}
	earlier, err := strconv.ParseUint(msg.Headers().Get(wire.HeaderFailures), 10, 64)
	if err != nil { // There is none, or it is none of ours.
		earlier = 0
	}
	failures = earlier + meta.NumDelivered
	if failures > 5 { // 2^5 s is above maxNak.
		return maxNak, failures
	}
	return min(maxNak, time.Second<<(failures-1)), failures
}

// poison gives up a message that nobody can read, keeping what identifies it but not its contents.
func (i *Intake) poison(ctx context.Context, msg jetstream.Msg, cause error) string {
	sum := sha256.Sum256(msg.Data())
	letter := &jobsv1.DeadLetter{
		Reason: cause.Error(), At: timestamppb.Now(), Subject: msg.Subject(), SizeBytes: int64(len(msg.Data())), Sha256: sum[:],
	}
	if meta, err := msg.Metadata(); err == nil {
		letter.StreamSequence = meta.Sequence.Stream
	}
	i.Log.LogAttrs(ctx, slog.LevelError, "message given up", slog.String("subject", msg.Subject()),
		slog.Uint64("stream_sequence", letter.GetStreamSequence()), slog.Any("err", cause))
	if err := i.Publisher.buryMessage(ctx, letter); err != nil {
		pause, _ := nakDelay(msg)
		i.tell(ctx, "nak", func() error { return msg.NakWithDelay(pause) })
		return verdictRetry
	}
	i.tell(ctx, "term", func() error { return msg.TermWithReason(cause.Error()) })
	return verdictDead
}

// tell logs if the server could not be told: it will give the message to a worker again, and nothing is lost.
func (i *Intake) tell(ctx context.Context, what string, f func() error) {
	if err := f(); err != nil {
		i.Log.LogAttrs(ctx, slog.LevelWarn, "verdict not taken by the server", slog.String("verdict", what), slog.Any("err", i.explained(err)))
	}
}

// heartbeat tells the server that the message is being worked on, until the returned function is called. The beats come
// from a timer, not from the handler's progress, but they end with the handler's deadline: every call in it has one.
func (i *Intake) heartbeat(ctx context.Context, msg jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithTimeout(ctx, maxHandling)
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(wire.Heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				i.tell(ctx, "in progress", msg.InProgress)
			}
		}
	})
	return func() { cancel(); beating.Wait() }
}
