package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// pullWait is how long one pull waits for messages. It bounds how long a soft stop waits for a pull to end.
	pullWait = 2 * time.Second
	// retryPull is the pause after a pull that failed, for as long as NATS is away.
	retryPull = time.Second
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
	JS      jetstream.JetStream
	Handler Handler
	// PoolOf is the pool of a queued job. It need not be that of its event: the pools file may have changed since.
	PoolOf    func(run.Job) string
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
		worked, err := i.pull(pulling, working, &inHand)
		if err == nil || pulling.Err() != nil {
			continue
		}
		switch err = i.explained(err); {
		case worked: // If it lasts, the next pull tells what it is.
			reason = ""
		case err.Error() != reason:
			reason = err.Error()
			i.Log.LogAttrs(pulling, slog.LevelWarn, "can't pull messages", slog.String("consumer", i.consumer), slog.Any("err", err))
		}
		select {
		case <-pulling.Done():
		case <-time.After(retryPull):
		}
	}
}

// explained is err, or that there is no connection to NATS, for which the client has many words.
func (i *Intake) explained(err error) error {
	if !i.JS.Conn().IsConnected() {
		return natsx.ErrNotConnected
	}
	return err
}

// pull takes as many messages as there are free slots, of which it waits for the first, until it can't. It reports whether it
// ever could.
func (i *Intake) pull(pulling, working context.Context, inHand *sync.WaitGroup) (worked bool, err error) {
	free := i.reserve(pulling)
	defer func() { i.release(free) }()
	if free == 0 {
		return false, nil
	}
	lookup, cancel := context.WithTimeout(pulling, pullWait)
	defer cancel()
	consumer, err := i.JS.Consumer(lookup, wire.StreamJobs, i.consumer)
	if err != nil {
		return false, fmt.Errorf("consumer %s: %w", i.consumer, err)
	}
	for pulling.Err() == nil {
		batch, err := consumer.Fetch(free, jetstream.FetchMaxWait(pullWait))
		if err != nil {
			return worked, fmt.Errorf("fetch: %w", err)
		}
		for msg := range batch.Messages() {
			free--
			inHand.Go(func() {
				defer i.release(1)
				i.handle(working, msg)
			})
		}
		if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
			return worked, fmt.Errorf("fetch: %w", err)
		}
		worked = true
		free += i.reserveMore(pulling, free)
	}
	return worked, nil
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
