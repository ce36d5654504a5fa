package intake

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// pullWait is how long one pull waits for messages. It bounds how long a soft stop waits for a pull to end.
	pullWait = 2 * time.Second
	// retryPull is the pause after a pull that failed, for as long as NATS is away.
	retryPull = time.Second
	// heldFor is how long a message of a newer version waits for a worker that understands it.
	heldFor = time.Minute
	// maxNak bounds the pause before a message that met an error is handled again. Shorter than run.LaunchTimeout, so
	// that an error of NATS costs less than a lost worker.
	maxNak = 30 * time.Second
	// releaseTime is how long telling the server of a verdict may take.
	releaseTime = 5 * time.Second
)

// Verdicts, the values of the label of that name.
const (
	verdictDone      = "done"
	verdictRetry     = "retry"
	verdictScheduled = "scheduled"
	verdictDead      = "dead"
	verdictHeld      = "held"
)

// Handler does what follows from an event. Its contract is that of launch.Launcher.Handle.
type Handler interface {
	Handle(ctx context.Context, job int64, ev run.Event) (again time.Time, err error)
}

// Observer is told what became of messages, for metrics. It must not block.
type Observer interface {
	Message(verdict string)
	Step(step string, d time.Duration)
	Slots(kind string, total, inUse int)
}

// Options is what an Intake works with. All of it is required.
type Options struct {
	JS        jetstream.JetStream
	Handler   Handler
	Publisher *Publisher
	Observer  Observer
	Tracer    trace.Tracer
	Log       *slog.Logger
}

// Intake handles the messages of one consumer, so many at a time.
type Intake struct {
	Options

	consumer string
	slots    chan struct{}
}

// New makes an Intake of the named durable consumer of the stream JOBS with so many slots, above zero.
func New(o Options, consumer string, slots int) *Intake {
	return &Intake{Options: o, consumer: consumer, slots: make(chan struct{}, slots)}
}

// Run pulls and handles messages until pulling ends. Messages in hand then are handled to their end, unless working ends
// too: then what is in hand stops where it is, and is given back for another worker. Run returns once nothing is in hand.
func (i *Intake) Run(pulling, working context.Context) {
	var inHand sync.WaitGroup
	defer inHand.Wait()
	reason := ""
	for pulling.Err() == nil {
		err := i.pull(pulling, working, &inHand)
		if err != nil && pulling.Err() == nil {
			if err.Error() != reason {
				i.Log.LogAttrs(pulling, slog.LevelWarn, "can't pull messages", slog.String("consumer", i.consumer), slog.Any("err", err))
			}
			select {
			case <-pulling.Done():
			case <-time.After(retryPull):
			}
		}
		reason = fmt.Sprint(err)
	}
}

// pull takes as many messages as there are free slots, of which it waits for the first.
func (i *Intake) pull(pulling, working context.Context, inHand *sync.WaitGroup) error {
	free := i.reserve(pulling)
	defer func() { i.release(free) }()
	if free == 0 {
		return nil
	}
	lookup, cancel := context.WithTimeout(pulling, pullWait)
	defer cancel()
	consumer, err := i.JS.Consumer(lookup, wire.StreamJobs, i.consumer)
	if err != nil {
		return fmt.Errorf("consumer %s: %w", i.consumer, err)
	}
	for pulling.Err() == nil {
		batch, err := consumer.Fetch(free, jetstream.FetchMaxWait(pullWait))
		if err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		for msg := range batch.Messages() {
			free--
			inHand.Go(func() {
				defer i.release(1)
				i.handle(working, msg)
			})
		}
		if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
			return fmt.Errorf("fetch: %w", err)
		}
		free += i.reserveMore(pulling, free)
	}
	return nil
}

// reserve waits for one slot and takes all that are free.
func (i *Intake) reserve(ctx context.Context) int {
	select {
	case <-ctx.Done():
		return 0
	case i.slots <- struct{}{}:
		return 1 + i.reserveMore(ctx, 1)
	}
}

// reserveMore takes all slots that are free, and waits for one if none is held.
func (i *Intake) reserveMore(ctx context.Context, held int) (more int) {
	for {
		select {
		case i.slots <- struct{}{}:
			more++
			continue
		default:
		}
		i.Observer.Slots(i.consumer, cap(i.slots), len(i.slots)-held-more)
		if held+more > 0 {
			return more
		}
		select {
		case <-ctx.Done():
			return more
		case i.slots <- struct{}{}:
			more++
		}
	}
}

func (i *Intake) release(n int) {
	for range n {
		<-i.slots
	}
}

// handle does all that is to be done with one message.
func (i *Intake) handle(working context.Context, msg jetstream.Msg) {
	ctx := obs.Extract(working, msg.Headers())
	ctx, span := i.Tracer.Start(ctx, "handle "+i.consumer)
	defer span.End()
	verdict := i.judge(ctx, msg)
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
	event, err := eventOf(ev)
	if err != nil {
		return i.poison(ctx, msg, err)
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
		i.Log.LogAttrs(ctx, slog.LevelWarn, "verdict not taken by the server", slog.String("verdict", what), slog.Any("err", err))
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

// maxHandling is the longest that the handling of one message can take when all is well with the worker: a launch, and
// as much again for what comes before and after it. A worker that takes longer is stuck, and another gets the message.
const maxHandling = 2 * run.LaunchTimeout
