package launch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// play lets time pass, with a look at the line each second; recount is the sweep that asks Modal what there is.
func (w *world) play(t *testing.T, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.settle(t, time.Second)
		w.recount()
		w.serve()
		time.Sleep(time.Second)
	}
}

// recount gives back the places of launches that nobody has been at for two minutes, and of which Modal has no sandbox.
func (w *world) recount() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.runners {
		if r.record.State == run.Launching && time.Since(r.record.Until) >= 2*time.Minute && w.find(r.record.Name) == nil {
			w.places, _ = w.places.Free(places.Key(r.record.Name), time.Now())
		}
	}
}

// comes delivers the queued events of so many jobs at once, the first of that id.
func (w *world) comes(t *testing.T, first int64, n int, pool string) {
	t.Helper()
	var all sync.WaitGroup
	for id := first; id < first+int64(n); id++ {
		j := job(id)
		j.Pool = pool
		all.Go(func() { w.deliver(t.Context(), message{job: id, ev: run.Queued{Job: j, At: time.Now()}}, nil) })
	}
	all.Wait()
}

var errMend = &run.RefusedError{Err: errors.New("no such cloud"), Advice: "mend the pool"}

func TestWhatModalRefusesForAPoolCostsNoJobAnythingAndOneOfThemFindsOutWhenItIsMended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.lag = func() time.Duration { return 200 * time.Millisecond }
		asked, mended := 0, false
		w.createErr = func(run.Runner) (bool, error) {
			if mended {
				return true, nil
			}
			asked++
			return false, errMend
		}
		w.comes(t, 1, 32, "default")
		if asked != 32 || len(w.places.Held) != 0 {
			t.Fatalf("%d were under way, want 32; places %v", asked, w.places.Held)
		}
		asked = 0
		w.play(t, time.Hour)
		if asked == 0 || asked > 10 { // After 30 s, 1, 2, 4, 8 minutes, and each quarter of an hour.
			t.Errorf("asked %d times in an hour", asked)
		}
		mended = true
		w.play(t, 16*time.Minute)
		w.started(t)
		w.play(t, time.Minute)
		for id, v := range w.runs {
			if r := v.record; r.State == run.Dead || r.Attempts != 1 || r.Failures != 0 || w.live(id) == nil && r.State == run.Waiting {
				t.Errorf("job %d: %v, %d attempts, %d failures: %s", id, r.State, r.Attempts, r.Failures, r.Reason)
			}
		}
	})
}

// started has each runner that runs take the job that it was launched for.
func (w *world) started(t *testing.T) {
	t.Helper()
	for _, s := range w.sandboxes {
		id := s.name.Job
		w.deliver(t.Context(), message{job: id, ev: run.Started{Job: w.runs[id].record.Job, Runner: s.name, GitHubID: s.githubID()}}, nil)
	}
}

func TestWhatAJobAloneAskedForInVainIsNotTriedAgainAndNoOthersMatter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		asked := 0
		w.createErr = func(r run.Runner) (bool, error) {
			if r.Job.ID > 10 {
				return true, nil
			}
			asked++
			return false, &run.PermanentError{Err: errors.New("no such region"), Advice: "mend the label"}
		}
		w.comes(t, 1, 10, "default")
		w.comes(t, 11, 1, "default")
		w.play(t, 10*time.Minute)
		if asked != 10 || len(w.buried) != 10 || !strings.Contains(w.buried[1], "no such region") {
			t.Errorf("asked %d times; buried %v", asked, w.buried)
		}
		if w.live(11) == nil || w.places.Pools["default"].Breaker(time.Now()) != places.Closed {
			t.Errorf("the job of another: %+v, breaker %v", w.runs[11].record, w.places.Pools["default"].Breaker(time.Now()))
		}
	})
}

func TestWhileModalMakesNoSandboxFewCallsAskAndOtherPoolsHaveThePlaces(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err    error
		within time.Duration // when the other pool's job runs: in its turn, for which the line is looked at every two seconds
	}{
		"for sure":                       {fmt.Errorf("%w: modal: unavailable", run.ErrNotMade), 5 * time.Second},
		"or may have made one":           {errors.New("modal: connection reset"), 5 * time.Minute},
		"or does not answer":             {fmt.Errorf("modal: %w", context.DeadlineExceeded), 5 * time.Minute},
		"for want of a quota":            {&run.LimitedError{Until: time.Now(), Err: errors.New("modal: quota")}, 5 * time.Second},
		"as the token is not valid":      {&run.RefusedError{Err: errors.New("modal: unauthenticated"), Advice: "mend it"}, 5 * time.Second},
		"for want of room, each in turn": {&run.LimitedError{Until: time.Now(), Err: errors.New("modal: exhausted")}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.rules.Fleet.Max = 5
				asked, down := 0, true
				w.createErr = func(r run.Runner) (bool, error) {
					if r.Job.Pool == "forks" || !down {
						return true, nil
					}
					asked++
					return false, tt.err
				}
				w.comes(t, 1, 20, "default")
				w.comes(t, 100, 1, "forks")
				w.play(t, tt.within)
				if w.live(100) == nil {
					t.Errorf("a job of another pool waits: %s; places %v", w.runs[100].record.Reason, w.places.Held)
				}
				before := asked
				w.play(t, 30*time.Minute)
				if a := asked - before; a > 150 { // Two for each trial, each half minute, and some of those that were under way.
					t.Errorf("Modal was asked %d times in half an hour", a)
				}
				down = false
				w.play(t, 10*time.Minute)
				w.started(t)
				w.play(t, 30*time.Minute)
				for id, v := range w.runs {
					if v.record.Attempts > 1 || v.record.State == run.Dead {
						t.Errorf("job %d: %v, attempt %d: %s", id, v.record.State, v.record.Attempts, v.record.Reason)
					}
				}
				if w.running() != 5 {
					t.Errorf("%d run once Modal answers, want as many as may", w.running())
				}
			})
		})
	}
}

func TestWhatALabelChoosesInVainSlowsNoOtherJobOfThePool(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"Modal has none":        &run.LimitedError{Until: time.Now(), Err: errors.New("no A100 is free")},
		"Modal refuses it":      errMend,
		"Modal fails with them": fmt.Errorf("%w: boom", run.ErrNotMade),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.createErr = func(r run.Runner) (bool, error) {
					if len(r.Job.Labels) > 1 {
						return false, err
					}
					return true, nil
				}
				for id := range int64(10) {
					w.deliver(t.Context(), message{job: id + 1, ev: run.Queued{Job: job(id+1, "gpu:a100"), At: time.Now()}}, nil)
				}
				w.play(t, time.Minute)
				began := time.Now()
				w.comes(t, 100, 10, "default")
				for id := int64(100); id < 110; id++ {
					if w.live(id) == nil || time.Since(began) > 0 {
						t.Errorf("job %d has no runner at once: %s", id, w.runs[id].record.Reason)
					}
				}
				if got := w.places.Pools["default"]; got.Rate != 0 || got.Breaker(time.Now()) != places.Closed {
					t.Errorf("the pool's own: %+v", got)
				}
			})
		})
	}
}
