package budget

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
)

func TestAStopIsEverybodysAtOnce(t *testing.T) {
	faultstest.Cover(t, "F10")
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
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
		done, err := other.Take(t.Context(), "installation-78", Request{Lane: Launch, Points: 5})
		if err != nil {
			t.Fatalf("another caller: %v", err)
		}
		done()
	})
}

// That somebody waits for a request no more says nothing of NATS.
func TestWhoGivesUpKeepsNobodyFromHearingOfAStop(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, _ *natstest.Server) {
		told, other := newBudget(t, js, "told"), newBudget(t, js, "other")
		if wait := take(t, other, Launch, 5); wait != 0 {
			t.Fatalf("must wait for %v", wait)
		}
		gaveUp, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 { // Some get as far as NATS.
			if done, err := other.Take(gaveUp, caller, Request{Lane: Launch, Points: 5}); err == nil {
				done()
			}
		}
		told.Stop(t.Context(), caller, time.Now().Add(time.Minute))
		if wait := take(t, other, Launch, 5); wait == 0 {
			t.Error("a launch is sent after the stop")
		}
		if got := testutil.ToFloat64(other.Metrics.alone); got != 0 {
			t.Errorf("worker_github_budget_alone is %v, want 0", got)
		}
	})
}

// A call to NATS took too long: the stop is one worker's alone until the others can be told. Nobody asks for points meanwhile.
func TestAStopThatCouldNotBeToldIsToldAsSoonAsNATSIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, js jetstream.JetStream, nats *natstest.Server) {
		told, other := newBudget(t, js, "told"), newBudget(t, js, "other")
		for _, b := range []*Budget{told, other} {
			if wait := take(t, b, Launch, 5); wait != 0 {
				t.Fatalf("must wait for %v", wait)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { told.Run(ctx) })
		defer running.Wait()
		defer cancel()
		nats.Stop()
		told.Stop(t.Context(), caller, time.Now().Add(10*time.Minute))
		told.Stop(t.Context(), "installation-78", time.Now().Add(10*time.Second)) // Is over before anybody can be told.
		time.Sleep(30 * time.Second)
		nats.Restart(t)
		for { // The client takes its time to find the server.
			if _, _, err := other.store.load(t.Context(), caller); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if !onRecord(t, other).stopped(Launch, time.Now()) {
			t.Error("the others are not told of the stop")
		}
		if wait := take(t, other, Launch, 5); wait < 9*time.Minute || wait > 11*time.Minute {
			t.Errorf("another is to come back after %v, want what is left of ten minutes, and its turn", wait)
		}
	})
}

func TestWithoutNATSAWorkerKeepsToItsShareAndTellsItLater(t *testing.T) {
	faultstest.Cover(t, "F29")
	inBubble(t, func(t *testing.T, js jetstream.JetStream, nats *natstest.Server) {
		b := newBudget(t, js, "b")
		for _, b := range []*Budget{newBudget(t, js, "a"), b} {
			if wait := take(t, b, Launch, 150); wait != 0 {
				t.Fatalf("must wait for %v", wait)
			}
		}
		nats.Stop()
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
		nats.Restart(t)
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
