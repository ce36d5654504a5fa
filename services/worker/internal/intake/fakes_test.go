package intake_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"modal-github-runner/services/internal/logtest"
	"modal-github-runner/services/worker/internal/run"
)

// call is one call of the handler.
type call struct {
	job   int64
	event run.Event
	at    time.Time
}

// script is a handler that does as it is told and remembers its calls.
type script struct {
	do func(ctx context.Context, n int, c call) (again time.Time, err error) // n counts from 1; nil is always done

	mu    sync.Mutex
	calls []call
}

func (s *script) Handle(ctx context.Context, job int64, ev run.Event) (time.Time, error) {
	c := call{job, ev, time.Now()}
	s.mu.Lock()
	s.calls = append(s.calls, c)
	n := len(s.calls)
	s.mu.Unlock()
	if s.do == nil {
		return time.Time{}, nil
	}
	return s.do(ctx, n, c)
}

func (s *script) seen() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// times lists when the handler was called, from the first call on.
func (s *script) times() (since []time.Duration) {
	calls := s.seen()
	for _, c := range calls {
		since = append(since, c.at.Sub(calls[0].at))
	}
	return since
}

// observer remembers what it was told.
type observer struct {
	mu       sync.Mutex
	verdicts []string
	steps    map[string]int
	most     int
}

func (o *observer) Message(verdict string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.verdicts = append(o.verdicts, verdict)
}

func (o *observer) Step(step string, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.steps == nil {
		o.steps = map[string]int{}
	}
	o.steps[step]++
}

func (o *observer) Slots(_ string, _, inUse int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.most = max(o.most, inUse)
}

// acks counts the acknowledgements.
func (o *observer) acks() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.steps["ack"]
}

// peak is how many slots were in use at most.
func (o *observer) peak() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.most
}

func (o *observer) said() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.verdicts)
}

// worker is an Intake that runs.
type worker struct {
	*observer

	log     logtest.Buffer
	ended   chan struct{}
	soften  context.CancelFunc
	kill    context.CancelFunc
	handler *script
}

// start runs an Intake until the test ends or the worker is stopped.
func (r *rig) start(t *testing.T, consumer string, slots int, handler *script) *worker {
	t.Helper()
	return r.startTraced(t, consumer, slots, handler, noop.NewTracerProvider().Tracer(""))
}

func (w *worker) running() bool {
	select {
	case <-w.ended:
		return false
	default:
		return true
	}
}
