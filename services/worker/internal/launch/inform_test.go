package launch_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/run"
)

const refused = "register runner: no; mend it"

// refusing is a world in which GitHub registers no runner, for good as far as it says.
func refusing() *world {
	w := newWorld()
	w.registerErr = func(run.Runner) error { return &run.PermanentError{Err: errors.New("no"), Advice: "mend it"} }
	return w
}

func queuedNow(id int64) message {
	return message{job: id, ev: run.Queued{Job: job(id), At: time.Now()}, at: time.Now()}
}

// wantTold checks that the job was given up, lies among the dead letters, and that its check runs say so much.
func (w *world) wantTold(t *testing.T, id int64, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.runs[id].record; r.State != run.Dead || w.buried[id] != refused {
		t.Errorf("job %d is %s, buried with %q", id, r.State, w.buried[id])
	}
	if got := w.notices[id]; !slices.Equal(got, want) {
		t.Errorf("check runs of job %d: %q, want %q", id, got, want)
	}
}

// handle gives the job's message to the worker, and again whenever that asks for it, until it does not.
func handle(t *testing.T, l *launch.Launcher, id int64) {
	t.Helper()
	for range 100 {
		again, err := l.Handle(t.Context(), id, queuedNow(id).ev)
		if err != nil {
			t.Fatal(err)
		}
		if again.IsZero() {
			return
		}
		time.Sleep(time.Until(again))
	}
	t.Errorf("job %d never comes to rest", id)
}

func TestTheAuthorOfAJobThatIsGivenUpIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := refusing()
		l := launcher(w, nil)
		for range 3 { // As copies of the webhook come.
			handle(t, l, 1)
			time.Sleep(time.Hour)
		}
		w.wantTold(t, 1, refused)
		if w.informs != 1 {
			t.Errorf("told %d times, want once", w.informs)
		}
	})
}

// A worker may die at each call, before or after its effect.
func TestAWorkerThatDiesWhileAJobIsGivenUpLeavesItOneCheckRun(t *testing.T) {
	dyingAtEachCall(t, 10, func(t *testing.T, f *fuse) {
		w := refusing()
		w.deliver(t.Context(), queuedNow(1), f)
		w.settle(t, time.Hour)
		w.wantTold(t, 1, refused)
	})
}

// The job was given up by a worker that died before it told anybody; then four find it so.
func TestWorkersThatFindAnAuthorUntoldAtOnceTellItOnce(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, rnd := refusing(), &dice{rnd: rand.New(rand.NewPCG(seed, seed))}
				w.runs[1] = versioned[run.Run]{run.Run{Job: job(1), State: run.Dead, Reason: refused, QueuedAt: time.Now()}, 1}
				w.serial = 1 // The next revision is another.
				w.lag = func() time.Duration { return time.Duration(rnd.roll(300)) * time.Millisecond }
				var workers sync.WaitGroup
				for range 4 {
					workers.Go(func() { w.deliver(t.Context(), queuedNow(1), nil) })
				}
				workers.Wait()
				w.settle(t, time.Hour)
				w.wantTold(t, 1, refused)
			})
		})
	}
}

func TestAnAuthorWhoCouldNotBeToldIsToldLater(t *testing.T) {
	for name, err := range map[string]error{
		"GitHub fails":       errors.New("github: 502"),
		"GitHub has no room": &run.LimitedError{Until: time.Now(), Err: errors.New("no room")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := refusing()
				w.informErr = err
				l := launcher(w, nil)
				time.AfterFunc(10*time.Minute, func() { w.mu.Lock(); defer w.mu.Unlock(); w.informErr = nil })
				handle(t, l, 1)
				w.wantTold(t, 1, refused)
				if w.informs != 4 { // After 0, 2, 6 and 14 minutes.
					t.Errorf("tried %d times, want 4", w.informs)
				}
			})
		})
	}
}

func TestAnAuthorWhoMayNotBeToldKeepsNoJobFromItsEndAndOperatorsAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := refusing(), &bytes.Buffer{}
		w.informErr = &run.PermanentError{Err: errors.New("403"), Advice: "grant checks: write"}
		l := launcher(w, nil)
		l.Log = slog.New(slog.NewTextHandler(log, nil))
		for _, id := range []int64{1, 2, 1} {
			handle(t, l, id)
		}
		w.wantTold(t, 1)
		w.wantTold(t, 2)
		if w.informs != 2 {
			t.Errorf("tried %d times, want once for each job", w.informs)
		}
		if n := strings.Count(log.String(), "grant checks: write"); n != 1 {
			t.Errorf("operators are told %d times: %s", n, log)
		}
	})
}

func TestWhatAnAuthorWasToldIsTakenBackOnceTheJobRuns(t *testing.T) {
	for name, replay := range map[string]bool{"after a replay": true, "on a runner of another job": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := refusing()
				l := launcher(w, nil)
				happens := func(ev run.Event) {
					if _, err := l.Handle(t.Context(), 1, ev); err != nil {
						t.Error(err)
					}
				}
				happens(queuedNow(1).ev)
				w.wantTold(t, 1, refused)
				by := run.Name{Job: 2, Attempt: 1}
				if w.registerErr = nil; replay {
					happens(run.Replayed{})
					happens(queuedNow(1).ev)
					by = w.runs[1].record.Runner
				}
				happens(run.Started{Job: job(1), Runner: by})
				happens(run.Finished{Job: job(1), Runner: by, Conclusion: "success"})
				if got := w.notices[1]; !slices.Equal(got, []string{""}) || w.informs != 2 {
					t.Errorf("after %d words the check runs are %q, want one that was taken back", w.informs, got)
				}
			})
		})
	}
}

// A job is given up while another worker waits for Modal's answer. Whatever comes of that launch, why it was given up stays: on
// record, among the dead letters and for its author.
func TestALaunchThatSucceedsAfterItsJobWasGivenUpLeavesTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const why = "repository not allowed; name it"
		w := newWorld()
		w.createErr = func(run.Runner) (bool, error) {
			w.createErr = nil
			w.admitErr = func() error { return &run.PermanentError{Err: errors.New("repository not allowed"), Advice: "name it"} }
			w.mu.Unlock()
			defer w.mu.Lock()
			w.deliver(t.Context(), queuedNow(1), nil)
			if r := w.runs[1].record; r.State != run.Dead || r.Reason != why {
				t.Errorf("it is %s, for %q; want it to be given up before the launch ends", r.State, r.Reason)
			}
			return true, nil
		}
		w.deliver(t.Context(), queuedNow(1), nil)
		w.deliver(t.Context(), queuedNow(1), nil) // A late copy, by which it is buried once more.
		w.settle(t, 5*time.Minute)
		if r := w.runs[1].record; r.State != run.Dead || r.Reason != why || w.buried[1] != why || w.running() != 0 {
			t.Errorf("it is %s, for %q, its dead letter says %q, %d sandboxes run; want it to be given up for %q", r.State, r.Reason, w.buried[1], w.running(), why)
		}
		if told := w.notices[1]; !slices.Equal(told, []string{why}) {
			t.Errorf("its author was told %q, want %q", told, why)
		}
	})
}
