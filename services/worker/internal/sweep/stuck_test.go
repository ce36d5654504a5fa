package sweep_test

import (
	stdcmp "cmp"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

func stuck(w *world) *sweep.Stuck { return &sweep.Stuck{Jobs: w, Ledger: w, Queue: w, Now: time.Now} }

// living is the runner of job 1, as the record says.
func living() []sweep.Record[run.Runner] {
	return []sweep.Record[run.Runner]{record(run.Runner{Name: name(1), State: run.Launched, For: 1}, time.Hour)}
}

func TestWhatGitHubSaysOfAStuckJobIsReported(t *testing.T) {
	const wait, running = 10 * time.Minute, 30 * time.Minute
	queuedAt := time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC) // Bubbles begin at midnight.
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	waits := run.Run{Job: job(1), State: run.Waiting, Runner: name(1), QueuedAt: queuedAt, LastQueuedAt: queuedAt}
	held := run.Run{Job: job(1), State: run.OnHold, HeldAt: queuedAt}
	runs := run.Run{Job: job(1), State: run.Running, RanOn: name(1)}
	again := run.Queued{Job: job(1), At: queuedAt, Event: run.AskedGitHub}
	says := func(status string) run.Sighting { return run.Sighting{Status: status} }
	over := run.Sighting{Status: "completed", Conclusion: "cancelled", Runner: name(4)}
	finished := run.Finished{Job: job(1), Conclusion: "cancelled", Runner: name(4), Event: run.AskedGitHub}
	permanent := &run.PermanentError{Err: errAway, Advice: "look"}

	tests := []struct {
		name   string
		run    run.Run
		age    time.Duration
		status run.Sighting
		on     run.RunnerState // of its runner, if not Launched
		err    error
		kind   sweep.Kind
		want   run.Event
	}{
		{name: "a waiting job that is queued is looked at again", run: waits, age: wait, status: says("queued"), kind: sweep.Restarted, want: again},
		{name: "one that changed lately is not asked about", run: waits, age: wait - 1, status: over},
		{name: "one that is completed has ended", run: waits, age: wait, status: over, kind: sweep.Over, want: finished},
		{
			name: "one that runs has begun", run: waits, age: wait, status: run.Sighting{Status: "in_progress", Runner: name(3)},
			kind: sweep.Begun, want: run.Started{Job: job(1), Runner: name(3), At: now, Event: run.AskedGitHub},
		},
		{name: "one that waits for an approval is held", run: waits, age: wait, status: says("waiting"), kind: sweep.Holding, want: run.Held{Job: job(1), At: now, Event: run.AskedGitHub}},
		{
			name: "one that GitHub does not know has ended", run: waits, age: wait, status: run.Sighting{Gone: true},
			kind: sweep.Deleted, want: run.Finished{Job: job(1), Conclusion: "gone", Event: run.AskedGitHub},
		},
		{name: "one in a state of GitHub's that is new is still wanted", run: waits, age: wait, status: says("pondering"), kind: sweep.Restarted, want: again},
		{name: "one that GitHub does not want to tell of is still wanted", run: waits, age: wait, err: permanent, kind: sweep.Restarted, want: again},
		{name: "one that can't be asked about is left as it is", run: waits, age: wait, err: errAway},
		{name: "a held job that waits for its approval is all right", run: held, age: wait, status: says("waiting")},
		{name: "one that is queued waits from now on", run: held, age: wait, status: says("queued"), kind: sweep.Restarted, want: run.Queued{Job: job(1), At: now, Event: run.AskedGitHub}},
		{name: "one that is completed has ended, too", run: held, age: wait, status: over, kind: sweep.Over, want: finished},
		{name: "one that GitHub does not want to tell of stays held", run: held, age: wait, err: permanent},
		{name: "a running job that runs is all right", run: runs, age: running, status: says("in_progress")},
		{name: "one that is completed is over", run: runs, age: running, status: over, kind: sweep.Over, want: finished},
		{name: "one that began lately is not asked about", run: runs, age: running - 1, status: over},
		{name: "one that GitHub does not show us any more goes on while its runner does", run: runs, age: running, status: run.Sighting{Gone: true}, on: run.Busy},
		{
			name: "and has ended once that has", run: runs, age: running, status: run.Sighting{Gone: true}, on: run.Ended,
			kind: sweep.Deleted, want: run.Finished{Job: job(1), Conclusion: "gone", Event: run.AskedGitHub},
		},
		{name: "one that GitHub calls queued is left as it is", run: runs, age: running, status: says("queued")},
		{name: "a job that is done is never asked about", run: run.Run{Job: job(1), State: run.Done}, age: time.Hour, status: says("queued")},
		{name: "one that was given up neither", run: run.Run{Job: job(1), State: run.Dead}, age: time.Hour, status: says("queued")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					runs: []sweep.Record[run.Run]{record(tt.run, tt.age)}, runners: living(),
					statuses: map[int64]run.Sighting{1: tt.status}, fail: map[string]error{"sight": tt.err},
				}
				w.runners[0].Value.State = stdcmp.Or(tt.on, run.Launched)
				report, err := stuck(w).RunOnce(t.Context())
				if fails := errors.Is(tt.err, errAway) && !errors.Is(tt.err, permanent); (err != nil) != fails {
					t.Errorf("got %v", err)
				}
				var want []told
				var found map[sweep.Kind]int
				if tt.want != nil {
					want, found = []told{{Event: tt.want, Revision: 7}}, map[sweep.Kind]int{tt.kind: 1}
				}
				if diff := cmp.Diff(want, w.told); diff != "" {
					t.Errorf("told: %s", diff)
				}
				if diff := cmp.Diff(found, report.Found); diff != "" {
					t.Errorf("found: %s", diff)
				}
			})
		})
	}
}

func TestAJobWhoseRunnerWillNotComeIsLookedAtAgain(t *testing.T) {
	at := time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)
	tests := []struct {
		name       string
		state      run.State
		age        time.Duration
		runner     run.Runner
		runnerAge  time.Duration
		restarting bool
	}{
		{"its runner has ended", run.Waiting, old, run.Runner{Name: name(1), State: run.Ended, For: 1}, old, true},
		{"its runner is not on record", run.Waiting, old, run.Runner{Name: name(2), State: run.Launched, For: 1}, old, true},
		{"its runner counts for another job", run.Waiting, old, run.Runner{Name: name(1), State: run.Launched, For: 2}, old, true},
		{"its runner counts for nobody", run.Waiting, old, run.Runner{Name: name(1), State: run.Launched}, old, true},
		{"its runner took another job", run.Waiting, old, run.Runner{Name: name(1), State: run.Busy, For: 1, Took: 2}, old, true},
		{"not while its runner may come", run.Waiting, old, run.Runner{Name: name(1), State: run.Launched, For: 1}, old, false},
		{"not while its runner is launched", run.Waiting, old, run.Runner{Name: name(1), State: run.Launching, For: 1}, old, false},
		{"not if the job has just changed", run.Waiting, young, run.Runner{Name: name(1), State: run.Ended}, old, false},
		{"not if the runner has just changed", run.Waiting, old, run.Runner{Name: name(1), State: run.Ended}, young, false},
		{"not if the job waits no longer", run.Running, old, run.Runner{Name: name(1), State: run.Ended}, old, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					runs:    []sweep.Record[run.Run]{record(run.Run{Job: job(1), State: tt.state, Runner: name(1), LastQueuedAt: at}, tt.age)},
					runners: []sweep.Record[run.Runner]{record(tt.runner, tt.runnerAge)},
				}
				report, err := stuck(w).RunOnce(t.Context())
				if err != nil || w.count("sight") != 0 {
					t.Fatalf("%v; %d questions to GitHub", err, w.count("sight"))
				}
				var want []told
				if tt.restarting {
					want = []told{{Event: run.Queued{Job: job(1), At: at, Event: run.BySweep}, Revision: 7}}
				}
				if diff := cmp.Diff(want, w.told); diff != "" || report.Found[sweep.Unstarted] != len(want) {
					t.Errorf("%v: %s", report, diff)
				}
			})
		})
	}
}

func TestAJobThatWaitsForGitHubComesByItself(t *testing.T) {
	for name, tt := range map[string]struct {
		until time.Duration
		want  int
	}{
		"not before its time":                       {until: time.Minute},
		"nor just after, when it is on its way":     {until: -time.Second},
		"but later, when what was to come was lost": {until: -time.Hour, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				waits := run.Run{Job: job(1), State: run.Waiting, Runner: run.Name{Job: 1, Attempt: 1}, Until: time.Now().Add(tt.until)}
				w := &world{runs: []sweep.Record[run.Run]{record(waits, old)}}
				if _, err := stuck(w).RunOnce(t.Context()); err != nil || len(w.told) != tt.want {
					t.Errorf("told %v, %v; want %d", w.told, err, tt.want)
				}
			})
		})
	}
}

func TestGitHubIsNotAskedAboutAJobThatWaitsForItsTurnThere(t *testing.T) {
	for turn, tt := range map[string]struct {
		until time.Duration
		want  int
	}{
		"which is yet to come":               {until: time.Hour},
		"which has come not long ago":        {until: -time.Minute},
		"unless nothing came of it for long": {until: -time.Hour, want: 1},
	} {
		t.Run(turn, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				waits := waitingOn(1, name(1))
				waits.Until = time.Now().Add(tt.until)
				w := &world{
					statuses: map[int64]run.Sighting{1: {Status: "queued"}}, runners: living(),
					runs: []sweep.Record[run.Run]{record(waits, 2*time.Hour)},
				}
				if _, err := stuck(w).RunOnce(t.Context()); err != nil || w.count("sight") != tt.want {
					t.Errorf("asked %d times, %v; want %d", w.count("sight"), err, tt.want)
				}
			})
		})
	}
}

func TestGitHubIsAskedAboutFiftyJobsARunAndEachInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jobs = 120
		w := &world{statuses: map[int64]run.Sighting{}}
		for j := range int64(jobs) {
			w.runs = append(w.runs, record(run.Run{Job: job(j + 1), State: run.Running}, time.Hour+time.Duration(j)*time.Second))
			w.statuses[j+1] = run.Sighting{Status: "in_progress"}
		}
		w.statuses[jobs] = run.Sighting{Status: "completed"} // The oldest.
		s := stuck(w)
		asked := func() int {
			before := w.count("sight")
			if _, err := s.RunOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			return w.count("sight") - before
		}
		first := asked()
		if len(w.told) != 1 {
			t.Errorf("the oldest was not among the first: %v", w.told)
		}
		got := []int{first}
		for range 3 {
			time.Sleep(time.Minute)
			got = append(got, asked())
		}
		if diff := cmp.Diff([]int{50, 50, 20, 0}, got); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Hour)
		if n := asked(); n != 50 {
			t.Errorf("an hour later %d are asked about, want 50", n)
		}
	})
}

func TestAJobThatWaitsInARepositoryThatIsRemovedEndsAndOthersWaitOn(t *testing.T) {
	faultstest.Cover(t, "F14")
	w := &world{
		statuses: map[int64]run.Sighting{1: {Gone: true}, 2: {Status: "queued"}},
		runs:     []sweep.Record[run.Run]{record(waitingOn(1, name(1)), time.Hour), record(waitingOn(2, name(2)), time.Hour)},
		runners:  append(living(), record(run.Runner{Name: name(2), State: run.Launched, For: 2}, time.Hour)),
	}
	report, err := stuck(w).RunOnce(t.Context())
	if diff := cmp.Diff(map[sweep.Kind]int{sweep.Deleted: 1, sweep.Restarted: 1}, report.Found); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	ended := map[int64]bool{}
	for _, told := range w.told {
		switch ev := told.Event.(type) {
		case run.Finished:
			ended[ev.Job.ID] = true
		case run.Queued:
			ended[ev.Job.ID] = false
		}
	}
	if diff := cmp.Diff(map[int64]bool{1: true, 2: false}, ended); diff != "" {
		t.Error(diff)
	}
}

func TestNothingIsStuckInAnIncompleteLedger(t *testing.T) {
	for _, broken := range []string{"runs", "runners"} {
		w := &world{
			fail: map[string]error{broken: errAway}, statuses: map[int64]run.Sighting{1: {Gone: true}},
			runs: []sweep.Record[run.Run]{record(waitingOn(1, name(1)), time.Hour), record(waitingOn(2, name(2)), time.Hour)},
		}
		if report, err := stuck(w).RunOnce(t.Context()); !errors.Is(err, errAway) || len(w.told) != 0 || report.Found != nil {
			t.Errorf("%s: got %v, %v, %v", broken, w.told, report, err)
		}
	}
}

func TestALimitOfGitHubsEndsTheRun(t *testing.T) {
	w := &world{
		fail:    map[string]error{"sight": fmt.Errorf("github: %w", &run.LimitedError{Until: time.Now(), Err: errAway})},
		runners: append(living(), record(run.Runner{Name: name(2), State: run.Launched, For: 2}, time.Hour)),
		runs:    []sweep.Record[run.Run]{record(waitingOn(1, name(1)), time.Hour), record(waitingOn(2, name(2)), time.Hour)},
	}
	if _, err := stuck(w).RunOnce(t.Context()); !errors.Is(err, errAway) || w.count("sight") != 1 || len(w.told) != 0 {
		t.Errorf("%d questions, %v, %v", w.count("sight"), w.told, err)
	}
}

// Two jobs run unheard of, and GitHub does not answer the first question. The next run asks again, those first that were not asked about.
func TestAJobThatCouldNotBeAskedAboutIsAskedAboutInTheNextRun(t *testing.T) {
	for call, tell := range map[string]string{"sight": "GitHub does not answer", "report": "its end can't be reported"} {
		t.Run(tell, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					fail:     map[string]error{call: fmt.Errorf("away: %w", &run.LimitedError{Until: time.Now(), Err: errAway})},
					statuses: map[int64]run.Sighting{1: {Gone: true}, 2: {Gone: true}},
					runs: []sweep.Record[run.Run]{
						record(run.Run{Job: job(1), State: run.Running}, 50*time.Minute), record(run.Run{Job: job(2), State: run.Running}, 40*time.Minute),
					},
				}
				s := stuck(w)
				if _, err := s.RunOnce(t.Context()); !errors.Is(err, errAway) {
					t.Fatal(err)
				}
				w.fail = nil
				time.Sleep(time.Minute)
				if _, err := s.RunOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
				var order []int64
				for _, told := range w.told {
					order = append(order, told.Event.(run.Finished).Job.ID)
				}
				if diff := cmp.Diff([]int64{2, 1}, order); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestAReportThatFailsIsNoFinding(t *testing.T) {
	for name, runners := range map[string][]sweep.Record[run.Runner]{"after a question": living(), "without one": nil} {
		w := &world{
			fail: map[string]error{"report": errAway}, statuses: map[int64]run.Sighting{1: {Gone: true}}, runners: runners,
			runs: []sweep.Record[run.Run]{record(waitingOn(1, run.Name{Job: 1, Attempt: 1}), time.Hour)},
		}
		if report, err := stuck(w).RunOnce(t.Context()); !errors.Is(err, errAway) || report.Found != nil {
			t.Errorf("%s: got %v, %v", name, report, err)
		}
	}
}
