package launch_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

func (w *world) queued(j run.Job) {
	w.queue = append(w.queue, message{job: j.ID, ev: run.Queued{Job: j, At: time.Now()}, at: time.Now()})
}

func TestAnUntrustedJobThatWasRefusedIsServedOnceThereIsAPoolForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.untrusted[1] = true
		w.noForks.Store(true)
		w.queued(job(1))
		w.settle(t, time.Minute)
		if r := w.runs[1].record; r.State != run.Dead || r.Job.Untrusted != untrusted || r.Job.Pool != "default" || len(w.sandboxes) > 0 {
			t.Fatalf("got %+v, and %d sandboxes", r, len(w.sandboxes))
		}
		w.noForks.Store(false)
		w.queue = append(w.queue, message{job: 1, ev: run.Replayed{}, at: time.Now()})
		w.settle(t, time.Minute)
		made := w.live(1)
		if r := w.runs[1].record; r.State != run.Waiting || r.Job.Pool != "forks" || made == nil {
			t.Fatalf("got %+v, with %+v", r, made)
		}
		if r := w.runners[made.name].record; r.Job.Pool != "forks" || r.Job.Untrusted != untrusted {
			t.Errorf("its runner is for trusted jobs: %+v", r)
		}
	})
}

// GitHub knows labels only, and may give an untrusted job a runner that was made for a trusted one.
func TestAnUntrustedJobOnARunnerForTrustedOnesIsToldOfLoudly(t *testing.T) {
	const cry = `level=ERROR msg="untrusted job took a runner for trusted ones" job_id=2`
	for name, test := range map[string]struct {
		refused bool
		job, on int64 // which of the jobs runs, and on whose runner
		want    bool
	}{
		"a refused one, on another's runner":   {refused: true, job: 2, on: 1, want: true},
		"an admitted one, on another's runner": {job: 2, on: 1, want: true},
		"an admitted one, on its own":          {job: 2, on: 2},
		"a trusted one, on its own":            {job: 1, on: 1},
		"a trusted one, on an untrusted one's": {job: 1, on: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				w := newWorld()
				w.log = slog.NewTextHandler(&log, nil)
				w.untrusted[2] = true
				w.noForks.Store(test.refused)
				w.queued(job(1))
				w.queued(job(2))
				w.settle(t, 10*time.Second)
				started := run.Started{Job: job(test.job), Runner: run.Name{Job: test.on, Attempt: 1}}
				w.queue = append(w.queue, message{job: test.job, ev: started, at: time.Now()})
				w.settle(t, time.Second)
				if got := strings.Contains(log.String(), cry); got != test.want {
					t.Errorf("told: %v, want %v:\n%s", got, test.want, log.String())
				}
			})
		})
	}
}

// Its own pool may trust it. The sandbox ends it all the same.
func TestAPublicJobOnARunnerForPrivateOnesIsToldOfLoudly(t *testing.T) {
	const cry = `level=ERROR msg="untrusted job took a runner for trusted ones" job_id=2`
	for name, test := range map[string]struct{ onlyPrivate, private, want bool }{
		"a public one":  {onlyPrivate: true, want: true},
		"a private one": {onlyPrivate: true, private: true},
		"a public one, on a runner for public ones": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				w := newWorld()
				w.log = slog.NewTextHandler(&log, nil)
				w.onlyPrivate.Store(test.onlyPrivate)
				other := job(2)
				other.Pool, other.Private = "forks", test.private
				w.queued(job(1))
				w.queued(other)
				w.settle(t, 10*time.Second)
				w.queue = append(w.queue, message{job: 2, ev: run.Started{Job: other, Runner: run.Name{Job: 1, Attempt: 1}}, at: time.Now()})
				w.settle(t, time.Second)
				told := strings.Contains(log.String(), cry) && strings.Contains(log.String(), `runner_pool=default sandbox_id=`)
				if told != test.want {
					t.Errorf("told: %v, want %v:\n%s", told, test.want, log.String())
				}
			})
		})
	}
}

func TestAJobOfWhichGitHubDoesNotTellYetWaitsUntilItMayBeAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		until := time.Now().Add(time.Minute)
		w.admitErr = func() error { return &run.LimitedError{Until: until, Err: errors.New("GitHub's points are used up")} }
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		if r := w.runs[1].record; r.Until.Before(until) || r.Failures != 0 || r.InLine || len(w.runners) != 0 {
			t.Errorf("record %+v, runners %v; want it to wait until %v", r, w.runners, until)
		}
	})
}
