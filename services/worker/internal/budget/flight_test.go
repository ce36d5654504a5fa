package budget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/worker/internal/run"
)

// peak counts requests under way.
type peak struct {
	mu        sync.Mutex
	now, most int
}

func (p *peak) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += n
	p.most = max(p.most, p.now)
}

func TestHoweverManyWorkersStartAtOnceTheSumOfTheirRequestsIsBounded(t *testing.T) {
	for _, tt := range []struct{ workers, requests int }{{1, 200}, {4, 50}, {12, 10}, {120, 3}} {
		t.Run(fmt.Sprint(tt.workers), func(t *testing.T) {
			if testing.Short() && tt.workers > 100 {
				t.Skip("the race detector makes it slow")
			}
			inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
				var github peak
				var asking, running sync.WaitGroup
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				for n := range tt.workers {
					b := newBudget(t, js, fmt.Sprint("worker-", n))
					running.Go(func() { b.Run(ctx) })
					for range tt.requests {
						asking.Go(func() {
							for {
								done, err := b.Take(ctx, caller, Request{Lane: Launch, Points: 1})
								if err == nil {
									github.add(1)
									time.Sleep(3 * time.Second)
									github.add(-1)
									done()
									return
								}
								limited, ok := errors.AsType[*run.LimitedError](err)
								if !ok {
									t.Errorf("take: %v", err)
									return
								}
								time.Sleep(time.Until(limited.Until) + time.Second)
							}
						})
					}
				}
				asking.Wait()
				took := time.Since(began)
				cancel()
				running.Wait()
				t.Logf("at most %d were under way, for %v", github.most, took)
				if github.most > maxInFlight-inFlightMargin || github.most < 40 {
					t.Errorf("%d requests were under way at once, want at most %d, and not few", github.most, maxInFlight-inFlightMargin)
				}
				if took > 45*time.Second {
					t.Errorf("%d requests of three seconds took %v", tt.workers*tt.requests, took)
				}
			})
		})
	}
}

// begin begins so many requests that do not end.
func begin(t *testing.T, b *Budget, requests int) (end []func()) {
	t.Helper()
	for range requests {
		done, err := b.Take(t.Context(), caller, Request{Lane: Launch, Points: 1})
		if err != nil {
			t.Fatal(err)
		}
		end = append(end, done)
	}
	return end
}

func TestTheRequestsOfAWorkerThatDiedCountForNoLongerThanTheyCanTake(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		begin(t, newBudget(t, js, "a"), 45)
		begin(t, newBudget(t, js, "b"), 30)
		begin(t, newBudget(t, js, "c"), 15)
		fresh := newBudget(t, js, "fresh")
		if wait := take(t, fresh, Launch, 1); wait == 0 || wait > 5*time.Second {
			t.Errorf("beside 90 requests it is to come back after %v, want in a moment", wait)
		}
		time.Sleep(maxFlight)
		if wait := take(t, fresh, Launch, 1); wait == 0 {
			t.Error("the requests may still be under way")
		}
		time.Sleep(5 * time.Second)
		if wait := take(t, fresh, Launch, 1); wait != 0 {
			t.Errorf("after they must have ended it is to come back after %v", wait)
		}
	})
}

func TestAWorkerThatHasNoRequestsUnderWayAnyMoreLeavesThemToOthersAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		for name, requests := range map[string]int{"a": 40, "b": 25, "c": 15} {
			b := newBudget(t, js, name)
			running.Go(func() { b.Run(ctx) })
			defer func() {
				if got := onRecord(t, b).underWay(name, time.Now()); got != 0 {
					t.Errorf("%s is said to have %d requests under way", name, got)
				}
			}()
			for _, end := range begin(t, b, min(requests, onRecord(t, b).slots(name, time.Now()))) {
				end()
			}
		}
		time.Sleep(2 * time.Second)
		if got := onRecord(t, newBudget(t, js, "fresh")).slots("fresh", time.Now()); got != shareInFlight(4) {
			t.Errorf("a fresh worker may have %d requests under way, want %d", got, shareInFlight(4))
		}
	})
}

func TestSlots(t *testing.T) {
	flying := func(of map[string]int) (r record) {
		for worker, requests := range of {
			r = r.flying(worker, requests, at(0))
		}
		return r
	}
	for _, tt := range []struct {
		name   string
		record record
		at     float64
		want   int
	}{
		{"one worker leaves a share to another that may come", record{}, 0, 45},
		{"its own do not count against it", flying(map[string]int{"w": 45}), 0, 45},
		{"two leave it to a third", flying(map[string]int{"w": 5, "x": 5}), 0, 30},
		{"one that has just started is the second", flying(map[string]int{"x": 45}), 0, 30},
		{"it gets what the others leave", flying(map[string]int{"x": 45, "y": 30}), 0, 15},
		{"and none if they have all", flying(map[string]int{"x": 45, "y": 45}), 0, 0},
		{"or more than that", flying(map[string]int{"x": 100, "y": 100}), 0, 0},
		{"those of who has not written for as long as a request takes have ended", flying(map[string]int{"x": 90}), 23.25, 30},
		{"and not before", flying(map[string]int{"x": 90}), 23, 0},
		{"what no clock can have said does not count", record{InFlight: map[string]int{"x": 90}, Seen: map[string]int64{"x": sliceOf(at(600))}}, 0, 45},
		{"nor what nobody has said", record{InFlight: map[string]int{"x": 90}}, 0, 45},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.record.slots("w", at(tt.at)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	for workers, want := range map[int]int{1: 45, 2: 30, 4: 18, 89: 1, 1000: 1} {
		if got := shareInFlight(workers); got != want {
			t.Errorf("%d workers: got %d each, want %d", workers, got, want)
		}
	}
}

// Workers that begin and end requests, die and start, each with an old copy of the record until it writes.
func TestNoMoreRequestsAreUnderWayThanGitHubAllowsWhoeverBeginsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var shared record
		under := map[string][]time.Time{} // when the requests of each worker end
		started := 0
		now := epoch
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 10, 300, 5_000, 30_000}).Draw(t, "pause")) * time.Millisecond)
			sum := 0
			for worker := range under {
				under[worker] = slices.DeleteFunc(under[worker], func(end time.Time) bool { return !end.After(now) })
				sum += len(under[worker])
			}
			if sum > maxInFlight-inFlightMargin {
				t.Fatalf("%d requests are under way", sum)
			}
			worker := fmt.Sprint(rapid.IntRange(0, started).Draw(t, "worker"))
			if worker == fmt.Sprint(started) {
				started = min(started+1, 150)
			}
			inFlight := len(under[worker])
			begun := min(shared.slots(worker, now)-inFlight, rapid.IntRange(0, 60).Draw(t, "requests"))
			if begun < 0 {
				continue
			}
			shared = shared.flying(worker, inFlight+begun, now)
			for range begun {
				lasts := time.Duration(rapid.IntRange(1, int(maxFlight/time.Millisecond)).Draw(t, "lasts")) * time.Millisecond
				under[worker] = append(under[worker], now.Add(lasts))
			}
		}
	})
}

func TestNoMoreRequestsAreUnderWayThanTheShare(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		b := newBudget(t, js, "w")
		var last func()
		for range shareInFlight(1) {
			done, err := b.Take(t.Context(), caller, Request{Lane: Sweep, Points: 1})
			if err != nil {
				t.Fatal(err)
			}
			last = done
		}
		impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := b.Take(impatient, caller, Request{Lane: Sweep, Points: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want to wait", err)
		}
		got := make(chan error)
		go func() {
			_, err := b.Take(t.Context(), caller, Request{Lane: Sweep, Points: 1})
			got <- err
		}()
		last()
		if err := <-got; err != nil {
			t.Errorf("after one has ended: %v", err)
		}
	})
}
