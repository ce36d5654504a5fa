package launch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
		"a pool that is refused":     {&run.PermanentError{Err: boom, Advice: "mend it"}, "invalid", run.Dead, 0},
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
