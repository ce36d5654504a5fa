package budget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
)

const caller = "installation-77"

func newBudget(t *testing.T, js jetstream.JetStream, worker string) *Budget {
	t.Helper()
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{
		JS: js, Worker: worker, Metrics: metrics, Log: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, uint64(len(worker)))),
	})
}

// take takes points and ends the request at once. It returns how long it is told to wait.
func take(t *testing.T, b *Budget, lane Lane, points int) (wait time.Duration) {
	t.Helper()
	done, err := b.Take(t.Context(), caller, lane, points)
	if err == nil {
		done()
		return 0
	}
	limited, ok := errors.AsType[*run.LimitedError](err)
	if !ok {
		t.Fatalf("take: %v", err)
	}
	return max(time.Nanosecond, time.Until(limited.Until))
}

// onRecord is what all workers share.
func onRecord(t *testing.T, b *Budget) record {
	t.Helper()
	r, _, err := b.store.load(t.Context(), caller)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRacingWorkersTakeExactlyWhatThereIs(t *testing.T) {
	faultstest.Cover(t, "F37")
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *broker) {
		var mu sync.Mutex
		taken := map[bool]int{}
		var racing sync.WaitGroup
		for n := range 4 {
			b := newBudget(t, js, fmt.Sprint("worker-", n))
			for range 60 {
				racing.Go(func() {
					done, err := b.Take(t.Context(), caller, Launch, 5)
					if err == nil {
						done()
					} else if _, ok := errors.AsType[*run.LimitedError](err); !ok {
						t.Errorf("take: %v", err)
					}
					mu.Lock()
					defer mu.Unlock()
					taken[err == nil]++
				})
			}
		}
		racing.Wait()
		if taken[true] != 180 || taken[false] != 60 {
			t.Errorf("%d launches of 5 points were let through and %d held back, want 180 and 60", taken[true], taken[false])
		}
	})
}

func TestEachLaneLeavesItsPart(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *broker) {
		b := newBudget(t, js, "w")
		for _, tt := range []struct {
			lane Lane
			most int
		}{{Sweep, 300}, {Delete, 600}, {Launch, 900}} {
			for onRecord(t, b).used(time.Now()) < tt.most {
				if wait := take(t, b, tt.lane, 5); wait != 0 {
					t.Fatalf("%s must wait for %v", tt.lane, wait)
				}
			}
			// Until the first points are free again, and then until those before have had their turn.
			if wait := take(t, b, tt.lane, 5); wait < 20*time.Second || wait > 90*time.Second {
				t.Errorf("%s is to come back after %v, want about a minute", tt.lane, wait)
			}
		}
		if got := testutil.ToFloat64(b.Metrics.points.WithLabelValues("launch")); got != 300 {
			t.Errorf("launches are said to have cost %v points, want 300", got)
		}
		if got := testutil.ToFloat64(b.Metrics.held.WithLabelValues("sweep", "minute")); got != 1 {
			t.Errorf("%v sweeps are said to have been held back, want 1", got)
		}
	})
}

func TestAStopIsEverybodysAtOnce(t *testing.T) {
	faultstest.Cover(t, "F10")
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *broker) {
		told, other, late := newBudget(t, js, "told"), newBudget(t, js, "other"), newBudget(t, js, "late")
		for _, b := range []*Budget{told, other} {
			if wait := take(t, b, Launch, 5); wait != 0 {
				t.Fatalf("must wait for %v", wait)
			}
		}
		gaveUp, cancel := context.WithCancel(t.Context())
		cancel()
		told.Stop(gaveUp, caller, time.Now().Add(10*time.Minute))
		told.Stop(t.Context(), caller, time.Now().Add(time.Minute)) // Means no less.
		for name, b := range map[string]*Budget{"who was told": told, "another": other, "one that starts now": late} {
			if wait := take(t, b, Launch, 5); wait < 9*time.Minute || wait > 11*time.Minute {
				t.Errorf("%s is to come back after %v, want ten minutes and its turn", name, wait)
			}
		}
		done, err := other.Take(t.Context(), "installation-78", Launch, 5)
		if err != nil {
			t.Fatalf("another caller: %v", err)
		}
		done()
	})
}

func TestOfTheHourALaneLeavesItsPart(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *broker) {
		b := newBudget(t, js, "w")
		b.Left(caller, 5000, 2000, time.Now().Add(20*time.Minute))
		if wait := take(t, b, Sweep, 1); wait < 19*time.Minute || wait > 26*time.Minute {
			t.Errorf("a sweep is to come back after %v, want when the hour is over", wait)
		}
		if wait := take(t, b, Launch, 5); wait != 0 {
			t.Errorf("a launch must wait for %v", wait)
		}
	})
}

func TestARecordThatCanNotBeReadIsBegunAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *broker) {
		kv, err := js.KeyValue(t.Context(), wire.BucketControl)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "{", `{"spent":{"soon":5}}`, `{"stop":"9999-12-31T00:00:00Z"}`, `{"spent":{"99999999999999":900}}`} {
			if _, err := kv.PutString(t.Context(), keyPrefix+caller, text); err != nil {
				t.Fatal(err)
			}
			if wait := take(t, newBudget(t, js, "w"), Launch, 5); wait != 0 {
				t.Errorf("%q holds launches up for %v", text, wait)
			}
		}
	})
}

func TestWithoutNATSAWorkerKeepsToItsShareAndTellsItLater(t *testing.T) {
	faultstest.Cover(t, "F29")
	inBubble(t, func(t *testing.T, js jetstream.JetStream, nats *broker) {
		b := newBudget(t, js, "b")
		for _, b := range []*Budget{newBudget(t, js, "a"), b} {
			if wait := take(t, b, Launch, 150); wait != 0 {
				t.Fatalf("must wait for %v", wait)
			}
		}
		nats.stop()
		for range 60 { // Half of the 600 that are left.
			if wait := take(t, b, Launch, 5); wait != 0 {
				t.Fatalf("must wait for %v within its share", wait)
			}
		}
		if wait := take(t, b, Launch, 5); wait == 0 || wait > 10*time.Second {
			t.Errorf("beyond its share it is to come back after %v, want in seconds", wait)
		}
		b.Stop(t.Context(), caller, time.Now().Add(10*time.Minute))
		if wait := take(t, b, Launch, 5); wait < 9*time.Minute {
			t.Errorf("in spite of a stop it is to come back after %v", wait)
		}
		if got := testutil.ToFloat64(b.Metrics.alone); got != 1 {
			t.Errorf("worker_github_budget_alone is %v, want 1", got)
		}
		nats.start(t)
		time.Sleep(time.Minute / 2)                              // The client finds it, and what was taken is not a minute old.
		if wait := take(t, b, Launch, 5); wait < 9*time.Minute { // It asks nobody, since it knows of the stop itself.
			t.Errorf("in spite of a stop it is to come back after %v", wait)
		}
		b.Stop(t.Context(), caller, time.Now().Add(20*time.Minute))
		if r := onRecord(t, b); !r.stopped(Sweep, time.Now()) || r.used(time.Now()) != 600 {
			t.Errorf("on record are a stop until %v and %d points, want 600", r.Stop, r.used(time.Now()))
		}
		if got := testutil.ToFloat64(b.Metrics.alone); got != 0 {
			t.Errorf("worker_github_budget_alone is %v, want 0", got)
		}
	})
}

// The server's clock is ten minutes ahead of that of a worker, which must notice nothing.
func TestAWorkerWhoseClockIsWrongIsToldTheTimeByItsOwn(t *testing.T) {
	faultstest.Cover(t, "F54")
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *broker) {
		b := newBudget(t, js, "w")
		if wait := take(t, b, Launch, 5); wait != 0 {
			t.Fatalf("must wait for %v", wait)
		}
		if lead := b.store.lead().Abs(); lead > time.Second {
			t.Errorf("the server's clock is said to be %v off on the same machine", lead)
		}
		b.store.mu.Lock()
		b.store.ahead = 10 * time.Minute
		b.store.mu.Unlock()
		b.Stop(t.Context(), caller, time.Now().Add(5*time.Minute))
		if wait := take(t, b, Launch, 5); wait < 4*time.Minute || wait > 6*time.Minute {
			t.Errorf("is to come back after %v, want five minutes", wait)
		}
		if stop := time.Until(onRecord(t, b).Stop); stop < 14*time.Minute || stop > 16*time.Minute {
			t.Errorf("by the server's clock the stop ends in %v, want fifteen minutes", stop)
		}
	})
}

func TestNoMoreRequestsAreUnderWayThanTheShare(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *broker) {
		b := newBudget(t, js, "w")
		var last func()
		for range shareInFlight(1) {
			done, err := b.Take(t.Context(), caller, Sweep, 1)
			if err != nil {
				t.Fatal(err)
			}
			last = done
		}
		impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := b.Take(impatient, caller, Sweep, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want to wait", err)
		}
		got := make(chan error)
		go func() {
			_, err := b.Take(t.Context(), caller, Sweep, 1)
			got <- err
		}()
		last()
		if err := <-got; err != nil {
			t.Errorf("after one has ended: %v", err)
		}
	})
}
