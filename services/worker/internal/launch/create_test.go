package launch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// outcomes keeps the values of the outcome label.
type outcomes struct {
	discard

	all []string
}

func (o *outcomes) Launched(_, outcome string) { o.all = append(o.all, outcome) }

func TestEachOutcomeOfALaunchHasItsLabelAndAJobThatWaitsKnowsWhy(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	limited := func(err error) error { return &run.LimitedError{Until: time.Now().Add(time.Minute), Err: err} }
	for name, test := range map[string]struct {
		err   error // of the create call
		label string
		state run.State
		fails int
	}{
		"a launch that goes well":    {nil, "launched", run.Waiting, 0},
		"a launch without an image":  {limited(fmt.Errorf("%w: boom", run.ErrNoImage)), "no_image", run.Waiting, 0},
		"a lack of room":             {limited(boom), "capacity", run.Waiting, 0},
		"a pool that is refused":     {&run.RefusedError{Err: boom, Advice: "mend it"}, "refused", run.Waiting, 0},
		"what its labels ask for":    {&run.PermanentError{Err: boom, Advice: "mend it"}, "invalid", run.Dead, 0},
		"an outage":                  {fmt.Errorf("%w: boom", run.ErrNotMade), "error", run.Waiting, 1},
		"no answer in time":          {fmt.Errorf("%w: boom", context.DeadlineExceeded), "timeout", run.Waiting, 1},
		"an error that nobody knows": {boom, "error", run.Waiting, 1},
		"an image that was lost":     {limited(fmt.Errorf("%w: %w: boom", run.ErrNoImage, context.DeadlineExceeded)), "no_image", run.Waiting, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, seen := newWorld(), &outcomes{}
				w.createErr = func(run.Runner) (bool, error) { return test.err == nil, test.err }
				l := launcher(w, nil)
				l.Observer = seen
				if _, err := l.Handle(t.Context(), 1, run.Queued{Job: job(1), At: time.Now()}); err != nil {
					t.Fatal(err)
				}
				got := w.runs[1].record
				if len(seen.all) != 1 || seen.all[0] != test.label || got.State != test.state || got.Failures != test.fails {
					t.Errorf("labels %v, want %s; record %+v", seen.all, test.label, got)
				}
				if test.err != nil && !strings.Contains(got.Reason, "boom") {
					t.Errorf("the reason is %q", got.Reason)
				}
			})
		})
	}
}

func TestWithoutAnImageNothingIsRegisteredAndTheJobSaysOnlyThat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, seen := newWorld(), &outcomes{}
		noImage := fmt.Errorf("%w: it is being built", run.ErrNoImage)
		until := time.Now().Add(3 * time.Second)
		w.readyErr = &run.LimitedError{Until: until, Err: noImage}
		l := launcher(w, nil)
		l.Observer = seen
		again, err := l.Handle(t.Context(), 1, run.Queued{Job: job(1), At: time.Now()})
		if err != nil || again.Before(until) || again.After(until.Add(2*time.Second)) {
			t.Errorf("tried again at %v, %v, want just after %v", again, err, until)
		}
		if got := w.runs[1].record; len(w.registrations) != 0 || got.State != run.Waiting || got.Failures != 0 || got.Reason != noImage.Error() {
			t.Errorf("registrations %v, record %+v", w.registrations, got)
		}
		w.readyErr = nil
		w.queue = append(w.queue, message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: again})
		w.settle(t, time.Minute)
		if len(w.sandboxes) != 1 || len(seen.all) != 1 || seen.all[0] != "no_image" {
			t.Errorf("sandboxes %v, labels %v", w.sandboxes, seen.all)
		}
	})
}

func TestAnImageThatCannotBeBuiltOpensTheBreakerOfItsPoolAndNoJobFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		why     error
		breaker places.BreakerState
		next    string // How the launch after it ends.
	}{
		"the pool's own image":             {run.ErrBadImage, places.Open, "breaker"},
		"an image that is yet to be built": {run.ErrNoImage, places.Closed, "no_image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, seen := newWorld(), &outcomes{}
				w.readyErr = &run.LimitedError{Until: time.Now().Add(time.Second), Err: fmt.Errorf("%w: make: no rule", test.why)}
				l := launcher(w, nil)
				l.Observer = seen
				var again time.Time
				for id := int64(1); id <= 2; id++ {
					var err error
					if again, err = l.Handle(t.Context(), id, run.Queued{Job: job(id), At: time.Now()}); err != nil {
						t.Fatal(err)
					}
					if got := w.runs[id].record; got.State != run.Waiting || got.Failures != 0 || !strings.Contains(got.Reason, "make: no rule") {
						t.Errorf("job %d: %+v", id, got)
					}
				}
				if got := w.places.Pools["default"].Breaker(time.Now()); got != test.breaker || len(w.places.Held) != 0 || len(w.registrations) != 0 {
					t.Errorf("breaker %v, places %v, registrations %v", got, w.places.Held, w.registrations)
				}
				if diff := cmp.Diff([]string{"no_image", test.next}, seen.all); diff != "" {
					t.Errorf("launches: %s", diff)
				}
				w.readyErr = nil
				w.queue = append(w.queue, message{job: 2, ev: run.Queued{Job: job(2), At: time.Now()}, at: again})
				w.settle(t, time.Hour)
				if len(w.sandboxes) != 1 {
					t.Errorf("once the image is mended: %d sandboxes, want the job's", len(w.sandboxes))
				}
			})
		})
	}
}
