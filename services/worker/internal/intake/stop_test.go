package intake_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
)

func TestASlowHandlerKeepsItsMessage(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 2, &script{do: func(context.Context, int, call) (time.Time, error) {
			time.Sleep(100 * time.Second) // More than three times AckWait.
			return time.Time{}, nil
		}})
		r.publish(t, queued(1))
		time.Sleep(10 * time.Minute)
		wantTimes(t, w.handler, 0)
		wantVerdicts(t, w, "done")
		r.wantAllAcked(t, queuedConsumer)
	})
}

func TestAStuckHandlerLosesItsMessageToAnotherWorker(t *testing.T) {
	faultstest.Cover(t, "F34", "F43")
	withQueue(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		stuck := r.start(t, queuedConsumer, 1, &script{do: func(context.Context, int, call) (time.Time, error) {
			<-release
			return time.Time{}, nil
		}})
		r.publish(t, queued(1))
		synctest.Wait()
		other := r.start(t, queuedConsumer, 1, &script{})
		time.Sleep(2*run.LaunchTimeout - slack)
		wantTimes(t, other.handler)
		time.Sleep(wire.AckWait + 2*slack)
		wantTimes(t, other.handler, 0)
		close(release)
		time.Sleep(time.Minute)
		wantVerdicts(t, stuck, "done")
		wantVerdicts(t, other, "done")
		r.wantAllAcked(t, queuedConsumer)
	})
}

func TestASoftStopEndsPullingAndLetsWhatIsInHandComeToItsEnd(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 4, &script{do: func(ctx context.Context, _ int, _ call) (time.Time, error) {
			time.Sleep(20 * time.Second)
			return time.Time{}, ctx.Err()
		}})
		r.publish(t, queued(1))
		time.Sleep(time.Second)
		w.soften()
		time.Sleep(6 * time.Second) // The pull that runs ends within 5 s.
		r.publish(t, queued(2))
		time.Sleep(5 * time.Second)
		if !w.running() {
			t.Error("it did not wait for what it has in hand")
		}
		time.Sleep(10 * time.Second)
		if w.running() {
			t.Error("it has nothing in hand and still runs")
		}
		wantTimes(t, w.handler, 0)
		wantVerdicts(t, w, "done")
		if s := r.state(t, queuedConsumer); s.NumAckPending != 0 || s.NumPending != 1 {
			t.Errorf("%d unacknowledged, %d to come, want 0 and 1", s.NumAckPending, s.NumPending)
		}
	})
}

func TestAHardStopGivesWhatIsInHandToAnotherWorker(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		stopped := r.start(t, queuedConsumer, 1, &script{do: func(ctx context.Context, _ int, _ call) (time.Time, error) {
			<-ctx.Done()
			return time.Time{}, ctx.Err()
		}})
		r.publish(t, queued(1))
		time.Sleep(time.Second)
		stopped.soften()
		stopped.kill()
		time.Sleep(6 * time.Second)
		if stopped.running() {
			t.Error("it still runs")
		}
		wantVerdicts(t, stopped, "retry")
		other := r.start(t, queuedConsumer, 1, &script{})
		time.Sleep(time.Second) // Long before AckWait: it was given back, not left to expire.
		wantTimes(t, other.handler, 0)
		wantVerdicts(t, other, "done")
		r.wantAllAcked(t, queuedConsumer)
	})
}

func TestSlotsBoundWhatIsInHandAndAllOfThemAreUsed(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		const jobs, slots = 20, 3
		hold := make(chan struct{})
		w := r.start(t, queuedConsumer, slots, &script{do: func(context.Context, int, call) (time.Time, error) {
			<-hold
			return time.Time{}, nil
		}})
		for id := range int64(jobs) {
			r.publish(t, queued(id+1))
		}
		for n := range jobs {
			time.Sleep(20 * time.Second)
			// What is in hand is no more than the slots, and nothing is taken from the server that can't be handled yet.
			want := min(n+slots, jobs)
			if got := len(w.handler.seen()); got != want {
				t.Fatalf("%d messages taken after %d were done, want %d", got, n, want)
			}
			if s := r.state(t, queuedConsumer); s.NumAckPending != want-n {
				t.Fatalf("%d are unacknowledged, want %d", s.NumAckPending, want-n)
			}
			hold <- struct{}{}
		}
		time.Sleep(time.Second)
		r.wantAllAcked(t, queuedConsumer)
		if w.peak() != slots {
			t.Errorf("at most %d slots were told to be in use, want %d", w.peak(), slots)
		}
	})
}

func TestWorkersThatStartBeforeTheQueueExistsWaitForItAndLogThatOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{})
		time.Sleep(30 * time.Second)
		if n := strings.Count(w.log.String(), "can't pull messages"); n != 1 {
			t.Errorf("logged %d times, want once: %s", n, w.log.String())
		}
		r.ensure(t)
		r.publish(t, queued(1))
		time.Sleep(2 * time.Second)
		wantTimes(t, w.handler, 0)
	})
}

func TestAnOutageOfNATSIsLoggedOnceInOurWords(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{})
		for outages := 1; outages <= 2; outages++ {
			time.Sleep(time.Minute)
			r.Stop()
			time.Sleep(time.Minute)
			if log := w.log.String(); strings.Count(log, "\n") != outages ||
				strings.Count(log, `msg="can't pull messages" consumer=queued-default err="not connected to NATS"`) != outages {
				t.Errorf("outage %d: %s", outages, log)
			}
			r.Restart(t)
		}
		time.Sleep(time.Minute)
		r.publish(t, queued(1))
		time.Sleep(10 * time.Second)
		wantVerdicts(t, w, "done")
	})
}

func TestWhatIsInHandWhenTheServerGoesIsHandledAgainOnceItIsBack(t *testing.T) {
	faultstest.Cover(t, "F29", "F33")
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 2, &script{do: func(context.Context, int, call) (time.Time, error) {
			time.Sleep(20 * time.Second)
			return time.Time{}, nil
		}})
		r.publish(t, queued(1))
		time.Sleep(time.Second)
		r.Stop()
		time.Sleep(time.Minute)
		r.Restart(t)
		time.Sleep(3 * time.Minute)
		if calls := w.handler.seen(); len(calls) != 2 || calls[1].job != 1 {
			t.Errorf("calls: %+v", calls)
		}
		if !strings.Contains(w.log.String(), "verdict not taken by the server") {
			t.Errorf("the lost acknowledgement was not logged: %s", w.log.String())
		}
		r.wantAllAcked(t, queuedConsumer)
		r.publish(t, queued(2))
		time.Sleep(time.Minute)
		if calls := w.handler.seen(); len(calls) != 3 || calls[2].job != 2 {
			t.Errorf("calls: %+v", calls)
		}
	})
}

func TestWorkersShareTheMessages(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		slow := func(context.Context, int, call) (time.Time, error) { time.Sleep(time.Second); return time.Time{}, nil }
		workers := []*worker{r.start(t, queuedConsumer, 2, &script{do: slow}), r.start(t, queuedConsumer, 2, &script{do: slow})}
		const jobs = 40
		for id := range int64(jobs) {
			r.publish(t, queued(id+1))
		}
		time.Sleep(5 * time.Minute)
		seen := map[int64]int{}
		for n, w := range workers {
			calls := w.handler.seen()
			if len(calls) == 0 {
				t.Errorf("worker %d got nothing to do", n)
			}
			for _, c := range calls {
				seen[c.job]++
			}
		}
		for id := range int64(jobs) {
			if seen[id+1] != 1 {
				t.Errorf("job %d was handled %d times, want once", id+1, seen[id+1])
			}
		}
	})
}
