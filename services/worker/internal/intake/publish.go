package intake

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/run"
)

// publishTimeout bounds one publish to the server, which answers within milliseconds when it is well.
const publishTimeout = 5 * time.Second

// Publisher stores messages on the queue.
type Publisher struct{ js jetstream.JetStream }

// NewPublisher makes a Publisher.
func NewPublisher(js jetstream.JetStream) *Publisher { return &Publisher{js: js} }

// Requeue has the job, queued at queuedAt, looked at again now. Asking twice with one revision of its record is asking once.
func (p *Publisher) Requeue(ctx context.Context, j run.Job, queuedAt time.Time, revision uint64) error {
	return p.requeue(ctx, j, queuedAt, wire.RetryMsgID(j.ID, revision))
}

// Call has a job that stood in line, queued at queuedAt, looked at again now: it is promised a place. Calling twice with one
// revision of the record of places is calling once.
func (p *Publisher) Call(ctx context.Context, j run.Job, queuedAt time.Time, revision uint64) error {
	return p.requeue(ctx, j, queuedAt, wire.TurnMsgID(j.ID, revision))
}

func (p *Publisher) requeue(ctx context.Context, j run.Job, queuedAt time.Time, id string) error {
	ev := messageOf(j, queuedAt)
	subject, err := wire.FoundSubject(ev)
	if err != nil {
		return fmt.Errorf("requeue job %d: %w", j.ID, err)
	}
	data, err := wire.Encode(ev)
	if err != nil {
		return err
	}
	ctx = obs.WithTraceparent(ctx, j.Trace) // Whoever asks may be in another job's trace, or in none.
	return p.store(ctx, newMsg(ctx, subject, data), wire.StreamJobs, jetstream.WithMsgID(id))
}

// Report has a worker handle what was found out about a job, as if GitHub had told of it: a run.Queued, run.Held, run.Started
// or run.Finished. Reporting the same twice, for one revision of the job's record, is reporting it once.
func (p *Publisher) Report(ctx context.Context, found run.Event, revision uint64) error {
	ev, err := reportOf(found, time.Now())
	if err != nil {
		return err
	}
	subject, err := wire.FoundSubject(ev)
	if err != nil {
		return fmt.Errorf("report job %d: %w", ev.GetJobId(), err)
	}
	data, err := wire.Encode(ev)
	if err != nil {
		return err
	}
	ctx = obs.WithTraceparent(ctx, run.JobOf(found).Trace)
	id := wire.ReportMsgID(ev.GetJobId(), revision, ev.GetAction())
	return p.store(ctx, newMsg(ctx, subject, data), wire.StreamJobs, jetstream.WithMsgID(id))
}

// Bury puts the job among the dead letters. Burying it twice leaves one.
func (p *Publisher) Bury(ctx context.Context, j run.Job, reason string) error {
	now := time.Now()
	letter := &jobsv1.DeadLetter{Reason: reason, At: timestamppb.New(now), Event: messageOf(j, now)}
	return p.bury(ctx, wire.DeadJobSubject(j.ID), letter)
}

// buryMessage puts what can't be decoded among the dead letters, without its contents.
func (p *Publisher) buryMessage(ctx context.Context, letter *jobsv1.DeadLetter) error {
	return p.bury(ctx, wire.DeadMessageSubject(letter.GetStreamSequence()), letter)
}

func (p *Publisher) bury(ctx context.Context, subject string, letter *jobsv1.DeadLetter) error {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	return p.store(ctx, newMsg(ctx, subject, data), wire.StreamDead)
}

// later schedules a copy of the message's data for its own subject, after so many failures in a row. It takes the place of an
// earlier copy that still waits, of the same job and action.
func (p *Publisher) later(ctx context.Context, ev *jobsv1.JobEvent, subject string, data []byte, at time.Time, failures uint64) error {
	msg := newMsg(ctx, wire.LaterSubject(ev.GetAction(), ev.GetJobId()), data)
	if failures > 0 {
		msg.Header.Set(wire.HeaderFailures, strconv.FormatUint(failures, 10))
	}
	return p.store(ctx, msg, wire.StreamJobs, jetstream.WithScheduleAt(ceilSecond(at)), jetstream.WithScheduleTarget(subject))
}

// ceilSecond rounds up: the server's schedules know whole seconds only, and a copy that came early would come in vain.
func ceilSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

func newMsg(ctx context.Context, subject string, data []byte) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Data = data
	msg.Header.Set(wire.HeaderSchema, strconv.Itoa(wire.SchemaVersion))
	obs.Inject(ctx, msg.Header)
	return msg
}

// store returns once the server has msg on disk.
func (p *Publisher) store(ctx context.Context, msg *nats.Msg, stream string, opts ...jetstream.PublishOpt) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := p.js.PublishMsg(ctx, msg, append(opts, jetstream.WithExpectStream(stream))...); err != nil {
		return fmt.Errorf("publish to %s: %w", msg.Subject, err)
	}
	return nil
}
