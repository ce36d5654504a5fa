package leader

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/worker/internal/records"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("server is down")

// memory is a bucket with one key. It can be cut off, or lose its answers.
type memory struct {
	mu       sync.Mutex
	value    []byte
	revision uint64
	down     map[string]bool // By worker.
	mute     map[string]bool
}

// of is the bucket as one worker reaches it.
func (m *memory) of(id string) *records.Bucket {
	return records.New(0, func(context.Context) (records.KV, error) { return reach{memory: m, id: id}, nil })
}

func (m *memory) set(which map[string]bool, id string, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	which[id] = on
}

type reach struct {
	*memory

	id string
}

type entry struct {
	jetstream.KeyValueEntry

	value    []byte
	revision uint64
}

func (e entry) Value() []byte    { return e.value }
func (e entry) Revision() uint64 { return e.revision }

func (r reach) Get(context.Context, string) (jetstream.KeyValueEntry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.down[r.id]:
		return nil, errDown
	case r.value == nil:
		return nil, jetstream.ErrKeyNotFound
	}
	return entry{value: r.value, revision: r.revision}, nil
}

func (r reach) Create(_ context.Context, _ string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	return r.write(value, jetstream.ErrKeyExists, func() bool { return r.value == nil })
}

func (r reach) Update(_ context.Context, _ string, value []byte, revision uint64) (uint64, error) {
	return r.write(value, jetstream.ErrKeyRevisionMismatch, func() bool { return r.value != nil && r.revision == revision })
}

func (r reach) Delete(context.Context, string, ...jetstream.KVDeleteOpt) error {
	_, err := r.write(nil, jetstream.ErrKeyRevisionMismatch, func() bool { return true })
	return err
}

func (r reach) write(value []byte, refusal error, may func() bool) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down[r.id] {
		return 0, errDown
	}
	if !may() {
		return 0, refusal
	}
	r.revision++
	r.value = value
	if r.mute[r.id] {
		return 0, errDown
	}
	return r.revision, nil
}

// worker stands for election in a bubble.
type worker struct {
	leads atomic.Bool
	terms atomic.Int32
	stop  context.CancelFunc
	done  chan struct{}
}

func stand(t *testing.T, m *memory, id string) *worker {
	t.Helper()
	w := &worker{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = func() { cancel(); <-w.done }
	go func() {
		defer close(w.done)
		newElection(id, slog.New(slog.DiscardHandler), m.of(id)).Run(ctx, func(ctx context.Context) {
			w.leads.Store(true)
			w.terms.Add(1)
			<-ctx.Done()
			w.leads.Store(false)
		})
	}()
	return w
}

func TestElection(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, m *memory, a, b *worker) // a leads when it begins.
	}{
		{"one of two leads, for as long as both live", func(t *testing.T, _ *memory, a, b *worker) {
			for range 3600 {
				time.Sleep(time.Second)
				check(t, a, true)
				check(t, b, false)
			}
			if n := a.terms.Load(); n != 1 {
				t.Errorf("got %d terms in an hour, want 1", n)
			}
		}},
		{"a clean stop hands over at once", func(t *testing.T, _ *memory, a, b *worker) {
			a.stop()
			time.Sleep(lookEvery + time.Millisecond)
			check(t, b, true)
		}},
		{"a leader cut off stops before another takes over, which is within ten seconds", func(t *testing.T, m *memory, a, b *worker) {
			m.set(m.down, "a", true)
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				if a.leads.Load() && b.leads.Load() {
					t.Fatal("both lead")
				}
			}
			check(t, a, false)
			check(t, b, true)
		}},
		{"who was cut off and comes back does not take the lease away", func(t *testing.T, m *memory, a, b *worker) {
			m.set(m.down, "a", true)
			time.Sleep(10 * time.Second)
			m.set(m.down, "a", false)
			time.Sleep(time.Minute)
			check(t, a, false)
			check(t, b, true)
		}},
		{"a renewal whose answer is lost is no loss of the lease", func(t *testing.T, m *memory, a, b *worker) {
			m.set(m.mute, "a", true)
			time.Sleep(renewEvery + time.Millisecond)
			m.set(m.mute, "a", false)
			time.Sleep(time.Minute)
			check(t, a, true)
			check(t, b, false)
			if n := a.terms.Load(); n != 1 {
				t.Errorf("got %d terms, want 1", n)
			}
		}},
		{"an outage for all ends with one leader", func(t *testing.T, m *memory, a, b *worker) {
			m.set(m.down, "a", true)
			m.set(m.down, "b", true)
			time.Sleep(time.Minute)
			check(t, a, false)
			check(t, b, false)
			m.set(m.down, "a", false)
			m.set(m.down, "b", false)
			time.Sleep(10 * time.Second)
			if a.leads.Load() == b.leads.Load() {
				t.Errorf("a leads: %t, b leads: %t, want one", a.leads.Load(), b.leads.Load())
			}
		}},
		{"a lease that can't be read is taken over in time", func(t *testing.T, m *memory, a, b *worker) {
			a.stop()
			m.mu.Lock()
			m.value = []byte("{")
			m.revision++
			m.mu.Unlock()
			time.Sleep(leaseTime - time.Second)
			check(t, b, false)
			time.Sleep(3 * time.Second)
			check(t, b, true)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{down: map[string]bool{}, mute: map[string]bool{}}
				a := stand(t, m, "a")
				synctest.Wait()
				check(t, a, true)
				time.Sleep(lookEvery / 2) // So that no two looks fall on one moment.
				b := stand(t, m, "b")
				synctest.Wait()
				tt.do(t, m, a, b)
				a.stop()
				b.stop()
			})
		})
	}
}

func check(t *testing.T, w *worker, want bool) {
	t.Helper()
	synctest.Wait()
	if w.leads.Load() != want {
		t.Fatalf("leads: %t, want %t", w.leads.Load(), want)
	}
}

func TestALeaderThatReturnsStandsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{down: map[string]bool{}, mute: map[string]bool{}}
		ctx, cancel := context.WithTimeout(t.Context(), 9*lookEvery+lookEvery/2)
		defer cancel()
		terms := 0
		newElection("a", slog.New(slog.DiscardHandler), m.of("a")).Run(ctx, func(context.Context) { terms++ })
		if terms != 10 {
			t.Errorf("got %d terms, want 10: one at once and one after each look", terms)
		}
	})
}

func TestElectionOnARealServer(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: wire.BucketControl}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var leading atomic.Int32
	var wg sync.WaitGroup
	elected := make(chan context.CancelFunc)
	for _, id := range []string{"a", "b"} {
		own, stop := context.WithCancel(ctx)
		wg.Go(func() {
			defer stop()
			New(js, id, log).Run(own, func(term context.Context) {
				if n := leading.Add(1); n != 1 {
					t.Errorf("%d lead", n)
				}
				defer leading.Add(-1)
				select {
				case elected <- stop:
				case <-term.Done():
				}
				<-term.Done()
			})
		})
	}
	for range 2 { // Each hands over to the other.
		select {
		case stop := <-elected:
			stop()
		case <-ctx.Done():
			t.Fatal("nobody leads")
		}
	}
	wg.Wait()
	kv, err := js.KeyValue(t.Context(), wire.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), key); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the lease is not given back: %v", err)
	}
}
