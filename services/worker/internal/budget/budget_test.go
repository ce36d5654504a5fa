package budget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
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
	done, err := b.Take(t.Context(), caller, Request{Lane: lane, Points: points})
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

// useUp takes all points of a minute, and returns when they are free again.
func useUp(t *testing.T, b *Budget) (free time.Time) {
	t.Helper()
	began := time.Now()
	for range 180 {
		take(t, b, Launch, 5)
	}
	return startOf(sliceOf(began) + window)
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
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		var mu sync.Mutex
		taken := map[bool]int{}
		var racing sync.WaitGroup
		for n := range 4 {
			b := newBudget(t, js, fmt.Sprint("worker-", n))
			for range 60 {
				racing.Go(func() {
					done, err := b.Take(t.Context(), caller, Request{Lane: Launch, Points: 5})
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
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
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

func TestRoomIsWhatTakeWouldSayAsFarAsAWorkerKnows(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		busy, other := newBudget(t, js, "busy"), newBudget(t, js, "other")
		if err := busy.Room(t.Context(), caller, Request{Lane: Launch, Points: 5}); err != nil {
			t.Errorf("before anything was taken: %v", err)
		}
		for range 180 {
			if wait := take(t, busy, Launch, 5); wait != 0 {
				t.Fatalf("must wait for %v", wait)
			}
		}
		if err := other.Room(t.Context(), caller, Request{Lane: Launch, Points: 5}); err != nil {
			t.Errorf("what others took is not known before it is read: %v", err)
		}
		if wait := take(t, other, Launch, 5); wait == 0 {
			t.Error("more was taken than there is")
		}
		for name, b := range map[string]*Budget{"who took it": busy, "who was told": other} {
			err := b.Room(t.Context(), caller, Request{Lane: Launch, Points: 5})
			if limited, ok := errors.AsType[*run.LimitedError](err); !ok || !errors.Is(err, errMinute) || time.Until(limited.Until) < 30*time.Second {
				t.Errorf("%s: %v, want to come back in about a minute", name, err)
			}
		}
		if got := onRecord(t, busy).used(time.Now()); got != 900 {
			t.Errorf("%d points are taken, want 900: to ask takes none", got)
		}
		time.Sleep(63 * time.Second)
		if err := other.Room(t.Context(), caller, Request{Lane: Launch, Points: 5}); err != nil {
			t.Errorf("a minute later: %v", err)
		}
		busy.Stop(t.Context(), caller, time.Now().Add(time.Minute))
		if err := busy.Room(t.Context(), caller, Request{Lane: Launch, Points: 5}); !errors.Is(err, errStopped) {
			t.Errorf("after a stop: %v, want %v", err, errStopped)
		}
	})
}

// A launch writes a few things down between its look for room and its request. Of many that look at once, those for which there are no
// points are to write nothing.
func TestRoomLetsNoMorePassThanThereArePointsFor(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		b := newBudget(t, js, "w")
		for range 170 {
			take(t, b, Launch, 5)
		}
		look := func(most int) {
			t.Helper()
			var looking sync.WaitGroup
			var passed atomic.Int64
			for range 40 {
				looking.Go(func() {
					if b.Room(t.Context(), caller, Request{Lane: Launch, Points: 5}) == nil {
						passed.Add(1)
					}
				})
			}
			looking.Wait()
			if n := passed.Load(); n != int64(most) {
				t.Errorf("%d were let pass, want %d", n, most)
			}
		}
		look(10)
		look(0)
		for range 4 {
			if wait := take(t, b, Launch, 5); wait != 0 {
				t.Errorf("one that was let pass must wait for %v", wait)
			}
		}
		look(0)
		time.Sleep(passFor) // The other six have something else to wait for.
		look(6)
	})
}

// Who waits for requests to end has its points yet to take.
func TestWhoWasLetPassAndWaitsForRequestsToEndIsCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		b := newBudget(t, js, "w")
		launch := Request{Lane: Launch, Points: 5}
		var under []func()
		for n := range 179 {
			done, err := b.Take(t.Context(), caller, launch)
			if err != nil {
				t.Fatal(err)
			}
			if busy := shareInFlight(1); n < 179-busy {
				done()
			} else {
				under = append(under, done)
			}
		}
		if err := b.Room(t.Context(), caller, launch); err != nil {
			t.Fatalf("the last is not let pass: %v", err)
		}
		var taking sync.WaitGroup
		taking.Go(func() {
			done, err := b.Take(t.Context(), caller, launch)
			if err != nil {
				t.Errorf("one that was let pass: %v", err)
				return
			}
			done()
		})
		synctest.Wait()
		if err := b.Room(t.Context(), caller, launch); !errors.Is(err, errMinute) {
			t.Errorf("one more than there are points for: %v, want %v", err, errMinute)
		}
		for _, done := range under {
			done()
		}
		taking.Wait()
	})
}

// Thousands may look for room at GitHub and then wait for a place: they keep no other from GitHub.
func TestWhoWasLetPassAndGoesNoFurtherKeepsNobodyOut(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		b := newBudget(t, js, "w")
		for n := range 200 {
			ctx, cancel := context.WithCancel(t.Context())
			if err := b.Room(ctx, caller, Request{Lane: Launch, Points: 5}); err != nil {
				t.Fatalf("after %d that went no further: %v", n, err)
			}
			cancel()
		}
	})
}

// Who comes a moment before points are free has them then, and nobody else has. Its request is sent no earlier.
func TestALaunchWaitsForPointsThatAreFreeSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		a, b := newBudget(t, js, "a"), newBudget(t, js, "b")
		free := useUp(t, a)
		time.Sleep(time.Until(free.Add(-early - time.Second)))
		if wait := take(t, a, Launch, 5); wait == 0 {
			t.Error("it waited for longer than a moment")
		}
		time.Sleep(2 * time.Second)
		if wait := take(t, a, Delete, 5); wait == 0 {
			t.Error("what is not urgent waited")
		}
		var waiting sync.WaitGroup
		var mu sync.Mutex
		sent := map[bool]int{}
		for n := range 200 { // by two workers, for 180 launches' points
			waiting.Go(func() {
				done, err := []*Budget{a, b}[n%2].Take(t.Context(), caller, Request{Lane: Launch, Points: 5})
				early := time.Until(free)
				mu.Lock()
				sent[err == nil]++
				mu.Unlock()
				if err != nil {
					return
				}
				if early > 0 {
					t.Errorf("one is sent %v before its points are free", early)
				}
				time.Sleep(time.Millisecond)
				done()
			})
		}
		waiting.Wait()
		if sent[true] != 180 {
			t.Errorf("%d were sent, want 180", sent[true])
		}
	})
}

func TestWhoWaitsForPointsHearsThatGitHubSaysStop(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		a, b := newBudget(t, js, "a"), newBudget(t, js, "b")
		time.Sleep(time.Until(useUp(t, a).Add(-time.Second)))
		waits := make(chan error)
		go func() {
			_, err := a.Take(t.Context(), caller, Request{Lane: Launch, Points: 5})
			waits <- err
		}()
		synctest.Wait()
		b.Stop(t.Context(), caller, time.Now().Add(time.Minute))
		err := <-waits
		if limited, ok := errors.AsType[*run.LimitedError](err); !ok || !errors.Is(err, errStopped) || time.Until(limited.Until) < 30*time.Second {
			t.Errorf("%v, want to come back after the stop", err)
		}
		if n, _ := a.account(caller).underWay(); n != 0 {
			t.Errorf("%d requests are under way", n)
		}
	})
}

// Points that were taken in advance are another's as soon as it is known that GitHub says stop.
func TestNobodyUsesPointsOfAMomentToComeAfterAStop(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		a, b := newBudget(t, js, "a"), newBudget(t, js, "b")
		if wait := take(t, b, Launch, 5); wait != 0 {
			t.Fatalf("must wait for %v", wait)
		}
		soon := sliceOf(time.Now()) + 4
		b.account(caller).held[Launch] = held{points: 5, slice: soon} // Whom they were for has given up.
		a.Stop(t.Context(), caller, time.Now().Add(time.Minute))
		if wait := take(t, b, Sweep, 1); wait == 0 {
			t.Fatal("a sweep does not hear of the stop")
		}
		time.Sleep(time.Until(startOf(soon)))
		if wait := take(t, b, Launch, 5); wait == 0 {
			t.Error("a launch is sent after the stop")
		}
	})
}

// GitHub would count a request that is sent later in a minute in which its points are another's.
func TestARequestIsNotSentLongAfterItsPointsWereToBeUsed(t *testing.T) {
	for name, tt := range map[string]struct {
		held time.Duration // by others who read and write the record
		sent bool
	}{
		"a moment":     {slice + callTimeout, true},
		"for too long": {slice + callTimeout + time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
				b := newBudget(t, js, "b")
				free := useUp(t, b)
				time.Sleep(time.Until(free.Add(-time.Second)))
				waits := make(chan time.Duration)
				go func() { waits <- take(t, b, Launch, 5) }()
				synctest.Wait()
				b.account(caller).turn <- struct{}{}
				time.Sleep(time.Until(free.Add(tt.held)))
				<-b.account(caller).turn
				if wait := <-waits; (wait == 0) != tt.sent {
					t.Errorf("it is to come back after %v", wait)
				}
			})
		})
	}
}

func TestWhoWaitsForPointsCanGiveUp(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		a := newBudget(t, js, "a")
		time.Sleep(time.Until(useUp(t, a).Add(-2 * time.Second)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Take(ctx, caller, Request{Lane: Launch, Points: 5}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want %v", err, context.DeadlineExceeded)
		}
		if n, _ := a.account(caller).underWay(); n != 0 {
			t.Errorf("%d requests are under way", n)
		}
	})
}

func TestOfTheHourALaneLeavesItsPart(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
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
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
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

func TestBeforeAWorkerKnowsTheTimeItAsksForNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, nats *natstest.Server) {
		b := newBudget(t, js, "w")
		nats.Stop()
		if wait := take(t, b, Launch, 5); wait == 0 || wait > 5*time.Second {
			t.Errorf("without NATS it is to come back after %v, want in a moment", wait)
		}
		nats.Restart(t)
		time.Sleep(15 * time.Second) // The client finds it.
		if wait := take(t, b, Launch, 5); wait != 0 {
			t.Errorf("with NATS it is to come back after %v", wait)
		}
	})
}

// The server's clock is ten minutes ahead of that of a worker, which must notice nothing.
func TestAWorkerWhoseClockIsWrongIsToldTheTimeByItsOwn(t *testing.T) {
	faultstest.Cover(t, "F54")
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
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
