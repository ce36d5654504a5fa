package sweep_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// Call is of sweep.Caller.
func (w *world) Call(_ context.Context, j run.Job, _ time.Time, _ uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.call(fmt.Sprintf("call %d", j.ID))
}

// called are the jobs that were to be looked at.
func (w *world) called() []string {
	return slices.DeleteFunc(slices.Clone(w.calls), func(call string) bool { return !strings.HasPrefix(call, "call") })
}

// inLine is the record of a job that waits for a place since so many minutes.
func inLine(id int64, repo string, minutes int) run.Run {
	return run.Run{
		Job: run.Job{ID: id, Owner: "octo", Repo: repo, Pool: "default"}, State: run.Waiting, InLine: true,
		Runner: run.Name{Job: id, Attempt: 1}, QueuedAt: time.Now().Add(-time.Duration(minutes) * time.Minute),
	}
}

func TestPlacesArePromisedInTurnAndTheJobsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fail: map[string]error{}}
		taken := inLine(4, "a", 10)
		for _, r := range []run.Run{inLine(1, "a", 9), inLine(2, "a", 8), inLine(3, "b", 1), taken} {
			w.runs = append(w.runs, record(r, time.Hour))
		}
		how := placestest.Rules{Fleet: places.Limit{Max: 3}}
		if _, err := w.book.Change(t.Context(), func(r places.Record) places.Record {
			r, _ = r.Take(places.AskFor(taken.Runner, taken.Job, how), how, time.Now())
			return r
		}); err != nil {
			t.Fatal(err)
		}
		line := &sweep.Line{Book: &w.book, Ledger: w, Queue: w, Rules: how, Now: time.Now}
		report, err := line.RunOnce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"call 3", "call 1"}; !slices.Equal(w.called(), want) {
			t.Errorf("looked at: %v, want %v", w.called(), want)
		}
		if n := report.Room.Waiting[sweep.WaitingKey{Pool: "default", Kind: places.Line}]; n != 3 || report.Room.Held["default"] != 1 {
			t.Errorf("room %+v", report.Room)
		}
		if _, err := line.RunOnce(t.Context()); err != nil || len(w.called()) != 2 {
			t.Errorf("looked at again: %v, %v", w.called(), err)
		}
	})
}

// Whoever promised it may have died, or NATS have been away: the place is not to lie idle until the promise is over.
func TestAJobThatWasPromisedAPlaceIsCalledUntilItIsOnTheQueue(t *testing.T) {
	for name, tt := range map[string]struct {
		fails bool // the first call
		heirs int  // workers that lead after the first, one after the other
		calls int  // in all
	}{
		"once":                              {calls: 1},
		"again, when it failed":             {fails: true, calls: 2},
		"by whoever leads next":             {heirs: 1, calls: 2},
		"by whoever leads next, and failed": {fails: true, heirs: 1, calls: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{fail: map[string]error{}}
				w.runs = append(w.runs, record(inLine(1, "a", 1), time.Hour))
				for heir := range tt.heirs + 1 {
					line := &sweep.Line{Book: &w.book, Ledger: w, Queue: w, Rules: placestest.Rules{}, Now: time.Now}
					for look := range 5 {
						delete(w.fail, "call 1")
						if tt.fails && heir+look == 0 {
							w.fail["call 1"] = errAway
						}
						if _, err := line.RunOnce(t.Context()); (err != nil) != (w.fail["call 1"] != nil) {
							t.Fatal(err)
						}
						time.Sleep(time.Second)
					}
				}
				if got := len(w.called()); got != tt.calls {
					t.Errorf("it was called %d times, want %d", got, tt.calls)
				}
			})
		})
	}
}

func TestThePlacesAreWhatModalLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fail: map[string]error{}}
		how := placestest.Rules{}
		for id, state := range map[int64]run.RunnerState{1: run.Busy, 2: run.Ended, 3: run.Launching, 5: run.Busy} {
			w.runners = append(w.runners, record(run.Runner{Name: name(id), State: state, Took: id, Job: run.Job{ID: id, Pool: "default"}, LaunchedAt: ago(time.Hour), Until: ago(time.Hour)}, time.Hour))
		}
		w.sandboxes = []sweep.Sandbox{
			{ID: "sb-1", Name: name(1), CreatedAt: ago(time.Hour), Deployment: ours},
			{ID: "sb-5", Name: name(5), CreatedAt: ago(time.Hour), Deployment: ours},
			{ID: "sb-6", Name: name(6), CreatedAt: ago(time.Hour), Deployment: "another"},
		}
		if _, err := w.book.Change(t.Context(), func(r places.Record) places.Record {
			for id := range int64(4) { // The fifth is not on record; of the fourth there is none.
				r, _ = r.Take(places.AskFor(name(id+1), run.Job{ID: id + 1, Pool: "default"}, how), how, time.Now())
			}
			return r
		}); err != nil {
			t.Fatal(err)
		}
		held := func() string {
			r, _, err := w.book.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for name := range r.Held {
				names = append(names, name)
			}
			slices.Sort(names)
			return fmt.Sprint(names)
		}
		o := orphans(w)
		if _, err := o.RunOnce(t.Context()); err != nil || held() != "[1.1 2.1 3.1 4.1 5.1]" {
			t.Errorf("what was taken a moment ago is not given back: %s, %v", held(), err)
		}
		time.Sleep(5 * time.Minute)
		w.fail["list"] = errAway
		if _, err := o.RunOnce(t.Context()); err == nil || held() != "[1.1 2.1 3.1 4.1 5.1]" {
			t.Errorf("without a list: %s, %v", held(), err)
		}
		delete(w.fail, "list")
		if _, err := o.RunOnce(t.Context()); err != nil || held() != "[1.1 5.1]" {
			t.Errorf("places %s, want those of the sandboxes that run; %v", held(), err)
		}
	})
}
