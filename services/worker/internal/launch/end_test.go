package launch_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/run"
)

// scripted is a sandbox that says one thing after the other, and GitHub with it; each call is written down.
type scripted struct {
	launch.Fleet
	launch.Forge

	says       []any // run.Evidence or error
	deregister error
	calls      []string
}

func (s *scripted) Ask(context.Context, string, bool) (run.Evidence, error) {
	s.calls = append(s.calls, "ask")
	said := s.says[0]
	s.says = s.says[1:]
	if err, failed := said.(error); failed {
		return "", err
	}
	return said.(run.Evidence), nil
}

func (s *scripted) Terminate(ctx context.Context, id string) error {
	s.calls = append(s.calls, "terminate")
	return s.Fleet.Terminate(ctx, id)
}

func (s *scripted) Deregister(ctx context.Context, r run.Runner) error {
	s.calls = append(s.calls, "deregister")
	if s.deregister != nil {
		return s.deregister
	}
	return s.Forge.Deregister(ctx, r)
}

var errDeaf = errors.New("no answer")

// What is left of a runner is ended only when it is known that it has no job, and will get none.
func TestWhatIsLeftOfARunnerIsEndedOnlyWhenItCanHaveNoJob(t *testing.T) {
	busyAtGitHub := errors.New("422 it runs a job")
	tests := []struct {
		name       string
		says       []any
		deregister error
		calls      []string
		err        error
	}{
		{name: "one that was released ends by itself", says: []any{run.ReleasedNow}, calls: []string{"ask", "deregister"}},
		{name: "what is over is ended for good", says: []any{run.Over}, calls: []string{"ask", "terminate", "deregister"}},
		{name: "one that works is left alone", says: []any{run.HasJob}, calls: []string{"ask"}},
		{name: "one that does not answer is, too", says: []any{errDeaf}, calls: []string{"ask"}, err: errDeaf},
		{
			name: "one that has not started its runner gets no job once it has no registration", says: []any{run.Starting, run.Starting},
			calls: []string{"ask", "deregister", "ask", "terminate", "deregister"},
		},
		{name: "unless it got one before", says: []any{run.Starting, run.HasJob}, calls: []string{"ask", "deregister", "ask"}},
		{name: "or does not say so", says: []any{run.Starting, errDeaf}, calls: []string{"ask", "deregister", "ask"}, err: errDeaf},
		{
			name: "or GitHub lets nobody remove that", says: []any{run.Starting}, deregister: busyAtGitHub,
			calls: []string{"ask", "deregister"}, err: busyAtGitHub,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
				w.settle(t, time.Second)
				l := launcher(w, nil)
				s := &scripted{Fleet: l.Fleet, Forge: l.Forge, says: tt.says, deregister: tt.deregister}
				l.Fleet, l.Forge = s, s
				gone := run.Gone{Reason: "its sandbox is not there any more"}
				if _, err := l.HandleRunner(t.Context(), run.Name{Job: 1, Attempt: 1}, gone); !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if !slices.Equal(s.calls, tt.calls) {
					t.Errorf("calls %q, want %q", s.calls, tt.calls)
				}
			})
		})
	}
}

// cancelled is a job whose runner is launched and then wanted no more.
func cancelled(t *testing.T, w *world) {
	t.Helper()
	w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
	w.settle(t, time.Second)
	if len(w.places.Held) != 1 || len(w.registrations) != 1 {
		t.Fatalf("places %v, registrations %v", w.places.Held, w.registrations)
	}
	w.queue = append(w.queue, message{job: 1, ev: run.Finished{Job: job(1), Conclusion: "cancelled"}, at: time.Now()})
}

func TestASpareSandboxThatIsNotScheduledGoesWithin30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.unscheduled = true
		cancelled(t, w)
		w.settle(t, 30*time.Second)
		if w.sandboxes[0].running || len(w.registrations) > 0 || len(w.places.Held) > 0 {
			t.Errorf("it runs: %v; registrations %v, places %v", w.sandboxes[0].running, w.registrations, w.places.Held)
		}
	})
}

// A worker that waits for answers that don't come has no time for what others tell it.
func TestASpareSandboxThatDoesNotAnswerIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		cancelled(t, w)
		w.settle(t, run.SpareTime-time.Second)
		asks := 0
		l := launcher(w, nil)
		l.Fleet = slowFleet{l.Fleet, 5 * time.Second, &asks}
		busy, began := time.Duration(0), time.Now()
		for time.Since(began) < 5*time.Minute {
			called := time.Now()
			again, err := l.Handle(t.Context(), 1, run.Finished{Job: job(1), Conclusion: "cancelled"})
			if err != nil || again.IsZero() {
				t.Fatalf("again at %v, %v", again, err)
			}
			busy += time.Since(called)
			time.Sleep(time.Until(again))
		}
		if part := busy.Seconds() / time.Since(began).Seconds(); part > 0.21 || asks < 10 {
			t.Errorf("%d questions take %.2f of a worker's time", asks, part)
		}
	})
}

// slowFleet has sandboxes that do not answer within the time.
type slowFleet struct {
	launch.Fleet

	time time.Duration
	asks *int
}

func (f slowFleet) Ask(context.Context, string, bool) (run.Evidence, error) {
	time.Sleep(f.time)
	*f.asks++
	return "", context.DeadlineExceeded
}

// A spare runner may have ended by itself, after a job of which no webhook told.
func TestOfASpareRunnerThatEndedByItselfItIsRecordedHow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		cancelled(t, w)
		w.settle(t, 5*time.Second)
		w.sandboxes[0].running = false
		w.settle(t, 20*time.Second)
		r := w.runners[run.Name{Job: 1, Attempt: 1}].record
		if r.State != run.Ended || r.Reason != "its sandbox ended: failure; its log ends: boom" {
			t.Errorf("it is %s: %q", r.State, r.Reason)
		}
	})
}

// GitHub's budget may be spent: a sandbox that is gone holds no place all the same.
func TestAPlaceIsFreeThoughTheRegistrationCanNotBeRemovedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		cancelled(t, w)
		w.settle(t, 5*time.Second)
		time.Sleep(run.SpareTime)
		l := launcher(w, nil)
		until := time.Now().Add(50 * time.Second)
		s := &scripted{Fleet: l.Fleet, Forge: l.Forge, says: []any{run.ReleasedNow}, deregister: &run.LimitedError{Until: until, Err: errors.New("no room")}}
		l.Fleet, l.Forge = s, s
		w.sandboxes[0].running = false // It ends at once.
		again, err := l.Handle(t.Context(), 1, run.Finished{Job: job(1), Conclusion: "cancelled"})
		if err != nil || again.Before(until) {
			t.Errorf("it comes again at %v, %v", again, err)
		}
		if want := []string{"ask", "deregister"}; !slices.Equal(s.calls, want) || len(w.places.Held) > 0 {
			t.Errorf("calls %q, want %q; places %v", s.calls, want, w.places.Held)
		}
	})
}

// GitHub may give a job for minutes to a runner that was cut off before it said goodbye.
func TestARunnerThatWasReleasedHasTheTimeToSayGoodbye(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration // to end by itself
		calls []string
		gone  time.Duration // the sandbox, and with it the place, at most so long after the release
	}{
		"one that ends by itself":   {2 * time.Second, []string{"ask", "deregister", "ask", "terminate", "deregister"}, 3 * time.Second},
		"one that hangs is cut off": {time.Hour, []string{"ask", "deregister", "ask", "deregister", "ask", "terminate", "deregister"}, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				cancelled(t, w)
				w.settle(t, 5*time.Second)
				time.Sleep(run.SpareTime)
				l := launcher(w, nil)
				s := &scripted{Fleet: l.Fleet, Forge: l.Forge}
				l.Fleet, l.Forge = s, s
				released := time.Now()
				for again := released; !again.IsZero(); {
					time.Sleep(time.Until(again))
					s.says = []any{run.ReleasedNow}
					if time.Since(released) >= tt.takes {
						s.says, w.sandboxes[0].running = []any{run.Over}, false
					}
					var err error
					if again, err = l.Handle(t.Context(), 1, run.Finished{Job: job(1), Conclusion: "cancelled"}); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(s.calls, tt.calls) || w.sandboxes[0].running || len(w.places.Held) > 0 || len(w.registrations) > 0 {
					t.Errorf("calls %q, want %q; runs: %v; places %v, registrations %v",
						s.calls, tt.calls, w.sandboxes[0].running, w.places.Held, w.registrations)
				}
				if took := time.Since(released); took > tt.gone {
					t.Errorf("it was there for %v, want at most %v", took, tt.gone)
				}
			})
		})
	}
}

// stubborn is GitHub that removes no registration.
type stubborn struct {
	launch.Forge

	err error
}

func (s stubborn) Deregister(context.Context, run.Runner) error { return s.err }

// What GitHub has left for removals may be spent for an hour in which there is room for launches; and it takes a runner that died at work
// for busy until it notices.
func TestAJobWhoseRunnerHasEndedGetsAnotherThoughTheRegistrationCanNotBeRemovedNow(t *testing.T) {
	busy, until := errors.New("422 it runs a job"), time.Hour
	for name, tt := range map[string]struct {
		limited bool
		asked   bool // whether its sandbox may come late, of which nobody has seen anything
		freed   bool // whether the job is looked at again, and counts on no runner until then
	}{
		"its sandbox has ended, and GitHub has no room":         {limited: true, freed: true},
		"its sandbox has ended, and GitHub takes it for busy":   {freed: true},
		"its sandbox may come late, and GitHub has no room":     {limited: true, asked: true},
		"its sandbox may come late, and GitHub removes nothing": {asked: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				if tt.asked {
					w.createErr = func(run.Runner) (bool, error) { return false, context.DeadlineExceeded }
				}
				w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
				w.settle(t, 0)
				for _, s := range w.sandboxes {
					s.running = false
				}
				time.Sleep(2 * time.Minute)
				l, refusal := launcher(w, nil), busy
				if tt.limited {
					refusal = &run.LimitedError{Until: time.Now().Add(until), Err: errors.New("no room")}
				}
				l.Forge, w.queue = stubborn{l.Forge, refusal}, nil
				first := run.Name{Job: 1, Attempt: 1}
				again, err := l.HandleRunner(t.Context(), first, run.Gone{Reason: "its sandbox is not there any more"})
				if freed := w.runs[1].record.Runner.IsZero() && len(w.queue) == 1; freed != tt.freed {
					t.Errorf("the job counts on %v, and is looked at %d times; want it free: %v", w.runs[1].record.Runner, len(w.queue), tt.freed)
				}
				switch {
				case tt.freed && (err != nil || !again.IsZero()): // The removal is the sweep's.
					t.Errorf("it comes again in %v, %v", time.Until(again), err)
				case !tt.freed && tt.limited && (err != nil || time.Until(again) < until):
					t.Errorf("it comes again in %v, %v, want an hour", time.Until(again), err)
				case !tt.freed && !tt.limited && !errors.Is(err, busy):
					t.Errorf("got %v, want %v", err, busy)
				}
			})
		})
	}
}

// That a job has lost its runner is no reason to leave the registration of another one, which nobody needs any more.
func TestTheRegistrationOfASpareRunnerIsRemovedOnceGitHubHasRoomThoughAnotherWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.queued(job(1, "gpu"))
		w.queued(job(2))
		w.settle(t, time.Second)
		taken := run.Started{Job: job(2), Runner: run.Name{Job: 1, Attempt: 1}, At: time.Now()}
		l := launcher(w, nil)
		if _, err := l.Handle(t.Context(), 2, taken); err != nil {
			t.Fatal(err)
		}
		time.Sleep(run.SpareTime)
		until := time.Now().Add(time.Hour)
		l.Forge = stubborn{l.Forge, &run.LimitedError{Until: until, Err: errors.New("no room")}}
		again, err := l.Handle(t.Context(), 2, taken)
		if spare := w.runners[run.Name{Job: 2, Attempt: 1}].record; err != nil || again.Before(until) || spare.State != run.Ended {
			t.Errorf("it comes again in %v, %v; the spare one is %s", time.Until(again), err, spare.State)
		}
	})
}
