package launch_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
)

// What follows the restoration of a ledger that has forgotten some of what there is.

// forgotten is a sandbox of the second attempt for job 1 that runs and is not on record. The first is to be launched.
func (w *world) forgotten() {
	second := run.Name{Job: 1, Attempt: 2}
	w.registrations[second] = "jit-1000"
	w.sandboxes = append(w.sandboxes, &sandbox{id: "sb-1000", name: second, jit: "jit-1000", running: true})
}

func TestARunnerIsLaunchedOnceNoForgottenOneOfTheJobCanTakeAJob(t *testing.T) {
	faultstest.Cover(t, "F60")
	tests := []struct {
		name     string
		evidence run.Evidence // what the forgotten one says; that it is idle if empty
		askErr   error
		launched bool
		remains  bool // the forgotten one
	}{
		{name: "one that is idle goes first", launched: true},
		{name: "one that works is left alone", evidence: run.HasJob, launched: true, remains: true},
		{name: "one that may start to work is waited for", evidence: run.Starting, remains: true},
		{name: "so is one that does not answer", askErr: errors.New("no answer"), remains: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.forgotten()
				w.evidence, w.askErr = tt.evidence, tt.askErr
				w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
				first := w.find(run.Name{Job: 1, Attempt: 1})
				if launched := first != nil; launched != tt.launched {
					t.Errorf("launched: %v", launched)
				}
				if w.sandboxes[0].running != tt.remains {
					t.Errorf("the forgotten one runs: %v", w.sandboxes[0].running)
				}
				if tt.evidence == "" && len(w.violations) > 0 {
					t.Error(w.violations)
				}
			})
		})
	}
}

// A job that was just created has had no other runner, and its launch is not to wait for a list.
func TestAFreshJobIsLaunchedWithoutALookForForgottenRunners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.forgotten()
		j := job(1)
		j.CreatedAt = time.Now()
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: j, At: time.Now()}}, nil)
		if w.find(run.Name{Job: 1, Attempt: 1}) == nil || !w.sandboxes[0].running {
			t.Errorf("%v, %v", w.runs[1], w.sandboxes[0])
		}
	})
}

func TestAnEarlierRunnerOnRecordIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		first := run.Name{Job: 1, Attempt: 1}
		w.evidence = run.Starting // If it were asked, the next launch would wait.
		w.deliver(t.Context(), message{job: 2, ev: run.Started{Job: job(2), Runner: first, GitHubID: w.sandboxes[0].githubID()}}, nil)
		delete(w.registrations, first)
		w.settle(t, time.Second)
		if w.find(run.Name{Job: 1, Attempt: 2}) == nil {
			t.Errorf("%+v", w.runs[1].record)
		}
	})
}

// The ledger knows a runner only by its name, since it heard of its job, and another of that name runs.
func TestOfARunnerKnownByNameNoLaterOneIsEnded(t *testing.T) {
	faultstest.Cover(t, "F60")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.forgotten()
		w.evidence = run.HasJob
		second := run.Name{Job: 1, Attempt: 2}
		finished := run.Finished{Job: job(7), Runner: second, GitHubID: 999, Conclusion: "success"}
		w.queue = []message{{job: 7, ev: finished, at: time.Now()}}
		w.settle(t, 5*time.Minute)
		if !w.sandboxes[0].running || w.runs[7].record.State != run.Done || w.runners[second].record.State != run.Ended {
			t.Errorf("it runs: %v; %+v; %+v", w.sandboxes[0].running, w.runs[7].record, w.runners[second].record)
		}
	})
}

// A name is used again, and then GitHub tells of the end of the job that the first runner of that name had.
func TestTheEndOfAnEarlierRunnersJobEndsNoLaterRunner(t *testing.T) {
	faultstest.Cover(t, "F60")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		now, first := w.sandboxes[0], run.Name{Job: 1, Attempt: 1}
		w.evidence = run.HasJob
		w.queue = []message{
			{job: 1, ev: run.Started{Job: job(1), Runner: first, GitHubID: now.githubID()}, at: time.Now()},
			{job: 7, ev: run.Finished{Job: job(7), Runner: first, GitHubID: now.githubID() - 1, Conclusion: "success"}, at: time.Now().Add(time.Second)},
		}
		w.settle(t, 5*time.Minute)
		if r := w.runners[first].record; !now.running || r.State != run.Busy || r.Took != 1 {
			t.Errorf("it runs: %v; %+v", now.running, r)
		}
		if w.runs[7].record.State != run.Done {
			t.Errorf("%+v", w.runs[7].record)
		}
	})
}

// The backup is of a moment at which the launch waited for GitHub, which was asked for the runner later.
func TestASandboxOfARunnerThatWasAskedForAfterTheBackupIsEnded(t *testing.T) {
	faultstest.Cover(t, "F60")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.registerErr = func(run.Runner) error {
			return &run.LimitedError{Until: time.Now().Add(time.Hour), Err: errors.New("GitHub's points are used up")}
		}
		w.deliver(t.Context(), message{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}}, nil)
		first := run.Name{Job: 1, Attempt: 1}
		w.registrations[first] = "jit-1000"
		w.sandboxes = append(w.sandboxes, &sandbox{id: "sb-1000", name: first, jit: "jit-1000", running: true})
		w.deliver(t.Context(), message{job: 1, ev: run.Started{Job: job(1), Runner: run.Name{Job: 2, Attempt: 1}}}, nil)
		if r := w.runners[first].record; r.State != run.Ended {
			t.Fatalf("runner %+v", r)
		}
		if _, err := launcher(w, nil).HandleRunner(t.Context(), first, run.Created{SandboxID: "sb-1000"}); err != nil { // as the sweep says
			t.Fatal(err)
		}
		if w.running() != 0 || len(w.registrations) != 0 {
			t.Errorf("%d run, registrations %v; want none", w.running(), w.registrations)
		}
	})
}
