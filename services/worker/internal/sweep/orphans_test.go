package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

func orphans(w *world) *sweep.Orphans {
	return &sweep.Orphans{
		Fleet: w, Ledger: w, Handler: w, Places: &w.book, Rules: placestest.Rules{}, Now: time.Now, Scope: scopeOf,
		Deployment: func(context.Context) (string, error) { return ours, w.fail["deployment"] },
		Clock:      func(context.Context) (time.Time, error) { return time.Now().Add(w.ahead), w.fail["clock"] },
	}
}

// box is the sandbox of the runner of job 1.
func box(changes ...func(*sweep.Sandbox)) []sweep.Sandbox {
	s := sweep.Sandbox{ID: "sb-1", Name: name(1), CreatedAt: boxedAt, Deployment: ours}
	for _, change := range changes {
		change(&s)
	}
	return []sweep.Sandbox{s}
}

func foreign(s *sweep.Sandbox) { s.Deployment = "deployment-2" }

// boxedAt is an hour before the time at which synctest's bubbles begin.
var boxedAt = time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)

const (
	old   = 2 * time.Minute // Exactly as old as the grace: just not young any more.
	young = old - time.Nanosecond
)

// waitingOn is a job that counts on its runner.
func waitingOn(j int64, r run.Name) run.Run {
	return run.Run{Job: job(j), State: run.Waiting, Runner: r, QueuedAt: boxedAt}
}

func TestARunnerIsComparedWithItsSandbox(t *testing.T) {
	launching := func(until time.Time) run.Runner {
		return run.Runner{Name: name(1), State: run.Launching, Job: job(1), For: 1, Until: until}
	}
	launched := run.Runner{Name: name(1), State: run.Launched, Job: job(1), For: 1, SandboxID: "sb-1", LaunchedAt: boxedAt.Add(time.Hour)}
	since := func(r run.Runner, d time.Duration) run.Runner {
		r.LaunchedAt = ago(d)
		return r
	}
	busy := run.Runner{Name: name(1), State: run.Busy, Job: job(1), For: 1, Took: 2, SandboxID: "sb-1"}
	ended := run.Runner{Name: name(1), State: run.Ended, Job: job(1), SandboxID: "sb-1"}
	spare := func(since time.Duration) run.Runner {
		r := launched
		r.For, r.SpareSince = 0, ago(since)
		return r
	}
	done := func(since time.Duration) run.Run {
		return run.Run{Job: job(2), State: run.Done, FinishedAt: ago(since)}
	}
	gone := func(reason string) run.Gone { return run.Gone{Reason: reason} }
	const terminated = "its sandbox ended: terminated"

	tests := []struct {
		name      string
		runner    func() run.Runner
		age       time.Duration // of the record
		job       func() run.Run
		jobAge    time.Duration
		sandboxes func() []sweep.Sandbox
		unlisted  func() []sweep.Sandbox
		kind      sweep.Kind
		want      any
	}{
		{name: "a launched runner with its sandbox is all right", runner: is(launched), age: old, job: waits(1), sandboxes: boxes()},
		{name: "one without a sandbox is gone", runner: is(launched), age: old, job: waits(1), kind: sweep.Vanished, want: gone(terminated)},
		{name: "one that was just launched is left alone", runner: is(launched), age: young, job: waits(1)},
		{name: "one whose sandbox was left out of the list lives", runner: is(launched), age: old, job: waits(1), unlisted: boxes()},
		{
			name: "one whose sandbox is another deployment's is not ours to judge", runner: is(launched), age: old, job: waits(1),
			sandboxes: boxes(foreign),
		},
		{
			name: "one on which its job does not count is counted again", runner: is(launched), age: old, job: waitsOn(1, name(3)), jobAge: old,
			sandboxes: boxes(), kind: sweep.Uncounted, want: run.Counted{For: 1, From: 1},
		},
		{
			name: "one whose job has just changed is not", runner: is(launched), age: old, job: waitsOn(1, name(3)), jobAge: young,
			sandboxes: boxes(),
		},
		{
			name: "one whose job is unknown is", runner: is(launched), age: old, sandboxes: boxes(),
			kind: sweep.Uncounted, want: run.Counted{For: 1, From: 1},
		},
		{
			name: "one whose job is held is", runner: is(launched), age: old, sandboxes: boxes(), jobAge: old,
			job:  func() run.Run { return run.Run{Job: job(1), State: run.OnHold, Runner: name(1)} },
			kind: sweep.Uncounted, want: run.Counted{For: 1, From: 1},
		},
		{
			name: "a spare runner whose time is over is released, however young its record", runner: func() run.Runner { return spare(run.SpareTime) },
			sandboxes: boxes(), kind: sweep.Spare, want: run.Released{Name: name(1)},
		},
		{
			name: "a spare runner may still be given a job", runner: func() run.Runner { return spare(run.SpareTime - 1) },
			age: old, sandboxes: boxes(),
		},
		{
			name: "one that has been without a job for long is looked at", runner: func() run.Runner { return since(launched, 10*time.Minute) },
			age: old, job: waits(1), sandboxes: boxes(), kind: sweep.Late, want: run.Overdue{},
		},
		{
			name: "one that has not yet is left to itself", runner: func() run.Runner { return since(launched, 10*time.Minute-1) },
			age: old, job: waits(1), sandboxes: boxes(),
		},
		{name: "a runner that has a job is all right", runner: is(busy), age: old, sandboxes: boxes()},
		{name: "one without a sandbox has ended", runner: is(busy), age: old, kind: sweep.Vanished, want: gone(terminated)},
		{name: "one that has just taken its job is left alone", runner: is(busy), age: young},
		{
			name: "one whose job was completed goes", runner: is(busy), age: young, sandboxes: boxes(),
			job:  func() run.Run { return done(run.Grace + time.Minute) },
			kind: sweep.Unfinished, want: run.Gone{Reason: "its job was completed", JobOver: true},
		},
		{
			name: "one whose job had been given up before it took it goes, too", runner: is(busy), age: young, sandboxes: boxes(),
			job:  func() run.Run { return run.Run{Job: job(2), State: run.Dead, FinishedAt: ago(run.Grace + time.Minute)} },
			kind: sweep.Unfinished, want: run.Gone{Reason: "its job was completed", JobOver: true},
		},
		{
			name: "one whose job was given up, and is not over, is all right", runner: is(busy), age: young, sandboxes: boxes(),
			job: func() run.Run { return run.Run{Job: job(2), State: run.Dead, StartedAt: ago(time.Hour)} },
		},
		{
			name: "one whose job was just completed may tidy up", runner: is(busy), age: young, sandboxes: boxes(),
			job: func() run.Run { return done(run.Grace + time.Minute - 1) },
		},
		{name: "a launch that is under way is left alone", runner: func() run.Runner { return launching(time.Now().Add(time.Second)) }, age: old},
		{name: "one that has just failed is tried again", runner: func() run.Runner { return launching(ago(young)) }, age: old},
		{
			name: "one that ended without a record of it is on record now", runner: func() run.Runner { return launching(ago(old)) }, age: old,
			job: waits(1), sandboxes: boxes(), kind: sweep.Abandoned, want: run.Created{SandboxID: "sb-1", At: boxedAt},
		},
		{
			name: "one whose name another deployment uses is left alone", runner: func() run.Runner { return launching(ago(old)) }, age: old,
			sandboxes: boxes(foreign),
		},
		{
			name: "one that a job counts on waits for room", runner: func() run.Runner { return launching(ago(time.Hour)) }, age: old,
			job: waits(1), jobAge: old,
		},
		{
			name: "one that no job counts on is given up", runner: func() run.Runner { return launching(ago(old)) }, age: old,
			job: waitsOn(1, name(3)), jobAge: old, kind: sweep.Abandoned, want: gone("its launch did not come to an end"),
		},
		{
			name: "but not while its sandbox runs unlisted", runner: func() run.Runner { return launching(ago(old)) }, age: old,
			job: waitsOn(1, name(3)), jobAge: old, unlisted: boxes(),
		},
		{name: "a runner that ended with its sandbox is all right", runner: is(ended), age: old},
		{name: "one whose sandbox runs is ended again", runner: is(ended), age: old, sandboxes: boxes(), kind: sweep.Outlived, want: run.Gone{}},
		{name: "one that has just ended is left alone", runner: is(ended), age: young, sandboxes: boxes()},
		{name: "one whose name another deployment uses is, too", runner: is(ended), age: old, sandboxes: boxes(foreign)},
		{
			name: "one whose other sandbox runs has that on record now", runner: is(ended), age: old,
			sandboxes: boxes(func(s *sweep.Sandbox) { s.ID = "sb-2" }), kind: sweep.Outlived, want: run.Created{SandboxID: "sb-2", At: boxedAt},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // Time stands still, so that the bounds can be met exactly.
				w := &world{runners: []sweep.Record[run.Runner]{record(tt.runner(), tt.age)}}
				if tt.job != nil {
					w.runs = []sweep.Record[run.Run]{record(tt.job(), tt.jobAge)}
				}
				if tt.sandboxes != nil {
					w.sandboxes = tt.sandboxes()
				}
				if tt.unlisted != nil {
					w.unlisted = tt.unlisted()
				}
				report, err := orphans(w).RunOnce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var want []told
				var found map[sweep.Kind]int
				if tt.want != nil {
					want, found = []told{{Runner: name(1), Event: tt.want}}, map[sweep.Kind]int{tt.kind: 1}
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

func is(r run.Runner) func() run.Runner { return func() run.Runner { return r } }

func waits(j int64) func() run.Run { return waitsOn(j, name(j)) }

func waitsOn(j int64, r run.Name) func() run.Run { return func() run.Run { return waitingOn(j, r) } }

func boxes(changes ...func(*sweep.Sandbox)) func() []sweep.Sandbox {
	return func() []sweep.Sandbox { return box(changes...) }
}

func TestASandboxWithoutARecordGetsOneAsASpareRunner(t *testing.T) {
	faultstest.Cover(t, "F51", "F60")
	known := func() run.Job { return job(1) }
	const price = 0.5
	tests := []struct {
		name string
		box  func() []sweep.Sandbox
		job  func() run.Job // the job on record, if one is
		want func() run.Found
	}{
		{name: "its job is on record", box: boxes(), job: known, want: func() run.Found {
			return run.Found{Name: name(1), Job: job(1), Scope: place, Price: price, SandboxID: "sb-1", CreatedAt: boxedAt}
		}},
		{name: "its tags tell of a job that is not", box: boxes(tagged), want: func() run.Found {
			return run.Found{
				Name: name(1), Job: run.Job{ID: 1, Owner: "octo", Repo: "repo", OrgOwned: true, Pool: "default"}, Scope: "octo", Price: price,
				SandboxID: "sb-1", CreatedAt: ago(time.Hour),
			}
		}},
		{name: "it is just not young any more", box: boxes(createdAgo(old)), job: known, want: func() run.Found {
			return run.Found{Name: name(1), Job: job(1), Scope: place, Price: price, SandboxID: "sb-1", CreatedAt: ago(old)}
		}},
		{name: "one that is young is left alone", box: boxes(createdAgo(young)), job: known},
		{name: "one of another deployment is left alone", box: boxes(foreign), job: known},
		{name: "one of a time before there were deployments is left alone", box: boxes(func(s *sweep.Sandbox) { s.Deployment = "" }), job: known},
		{name: "one whose name is not of our making is left alone", box: boxes(func(s *sweep.Sandbox) { s.Name = run.Name{} }), job: known},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{sandboxes: tt.box()}
				if tt.job != nil {
					w.runs = []sweep.Record[run.Run]{record(run.Run{Job: tt.job(), State: run.Waiting}, time.Hour)}
				}
				o := orphans(w)
				o.Rules = placestest.Rules{USD: price}
				report, err := o.RunOnce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var want []told
				var found map[sweep.Kind]int
				if tt.want != nil {
					want, found = []told{{Runner: name(1), Event: tt.want()}}, map[sweep.Kind]int{sweep.Unrecorded: 1}
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

func tagged(s *sweep.Sandbox) { s.Repo, s.Pool = place, "default" }

func createdAgo(d time.Duration) func(*sweep.Sandbox) {
	return func(s *sweep.Sandbox) { s.CreatedAt = ago(d) }
}

func TestOrphansActOnCompleteListsOnly(t *testing.T) {
	faultstest.Cover(t, "F50")
	for _, broken := range []string{"deployment", "list", "runners", "runs"} {
		t.Run(broken, func(t *testing.T) {
			w := &world{
				fail:      map[string]error{broken: errAway},
				sandboxes: append(box(), sweep.Sandbox{ID: "sb-9", Name: name(9), CreatedAt: ago(time.Hour), Deployment: ours}),
				runners:   []sweep.Record[run.Runner]{record(run.Runner{Name: name(2), State: run.Launched}, time.Hour), record(run.Runner{Name: name(1), State: run.Ended}, time.Hour)},
			}
			report, err := orphans(w).RunOnce(t.Context())
			if !errors.Is(err, errAway) || report.Found != nil || report.Runs != nil {
				t.Errorf("got %v, %v", report, err)
			}
			if len(w.told) != 0 || len(w.sandboxes) != 2 {
				t.Errorf("it acted: %v, %v", w.told, w.sandboxes)
			}
		})
	}
}

func TestACheckThatFailsChangesNothing(t *testing.T) {
	for _, broken := range []string{"find", "fate"} {
		t.Run(broken, func(t *testing.T) {
			w := &world{
				fail:    map[string]error{broken: errAway},
				runners: []sweep.Record[run.Runner]{record(run.Runner{Name: name(2), State: run.Launched, For: 2, SandboxID: "sb-2"}, time.Hour)},
			}
			if _, err := orphans(w).RunOnce(t.Context()); !errors.Is(err, errAway) || len(w.told) != 0 {
				t.Errorf("got %v, %v", w.told, err)
			}
		})
	}
}

func TestTheListOfSandboxesIsOlderThanTheLedger(t *testing.T) {
	w := &world{}
	if _, err := orphans(w).RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"list", "runners", "runs"}, w.calls); diff != "" {
		t.Error(diff)
	}
}

func TestARunnerWithoutASandboxLivesIfItsIDSaysSo(t *testing.T) {
	w := &world{
		runners: []sweep.Record[run.Runner]{record(run.Runner{Name: name(1), State: run.Launched, For: 1, SandboxID: "sb-1"}, time.Hour)},
		fates:   map[string]run.Fate{"sb-1": {Running: true, How: "its sandbox runs"}},
	}
	if report, err := orphans(w).RunOnce(t.Context()); err != nil || len(w.told) != 0 || report.Found != nil {
		t.Errorf("got %v, %v, %v", w.told, report, err)
	}
}

func TestTheEndOfASandboxIsTold(t *testing.T) {
	tests := []struct {
		name string
		took int64
		id   string
		want string
	}{
		{"how it ended and its log", 0, "sb-1", "its sandbox ended: evicted; its log ends: boom"},
		{"without the log if it had a job, whose log that is", 4, "sb-1", "its sandbox ended: evicted"},
		{"nothing but that it is gone if there was none", 0, "", "its sandbox is not there any more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := run.Runner{Name: name(1), State: run.Launched, For: 1, SandboxID: tt.id, Took: tt.took}
			if tt.took != 0 {
				r.State = run.Busy
			}
			w := &world{
				runners: []sweep.Record[run.Runner]{record(r, time.Hour)},
				fates:   map[string]run.Fate{"sb-1": {How: "its sandbox ended: evicted"}}, tails: map[string]string{"sb-1": "boom"},
			}
			if _, err := orphans(w).RunOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]told{{Runner: name(1), Event: run.Gone{Reason: tt.want}}}, w.told); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOneFailureDoesNotEndARunButManyDo(t *testing.T) {
	spare := func(n int) *world {
		w := &world{}
		for j := range n {
			w.runners = append(w.runners, record(run.Runner{Name: name(int64(j + 1)), State: run.Launched}, time.Hour))
		}
		return w
	}
	w := spare(9)
	w.fail = map[string]error{"handle": errAway}
	if _, err := orphans(w).RunOnce(t.Context()); !errors.Is(err, errAway) || w.count("handle") != 9 {
		t.Errorf("%d calls, %v", w.count("handle"), err)
	}
	w = spare(30)
	w.fail = map[string]error{"handle": errAway}
	if _, err := orphans(w).RunOnce(t.Context()); !errors.Is(err, errAway) || w.count("handle") != 16 { // Eight at once: the tenth failure is among the second eight.
		t.Errorf("%d calls, %v", w.count("handle"), err)
	}
	w = spare(30)
	limited := fmt.Errorf("modal: %w", &run.LimitedError{Until: time.Now(), Err: errAway})
	w.fail = map[string]error{"handle": limited}
	if _, err := orphans(w).RunOnce(t.Context()); !errors.Is(err, errAway) || w.count("handle") != 8 {
		t.Errorf("a limit: %d calls, %v", w.count("handle"), err)
	}
}

// After the ledger was restored there may be more than can be set right while what was seen of it is true.
func TestSandboxesComeFirstAndEachInItsTurn(t *testing.T) {
	faultstest.Cover(t, "F60")
	w := &world{}
	for j := range int64(150) {
		w.runners = append(w.runners, record(run.Runner{Name: name(j + 1), State: run.Launched}, time.Hour))
		w.sandboxes = append(w.sandboxes, sweep.Sandbox{ID: fmt.Sprint("sb-", j), Name: name(1000 + j), CreatedAt: ago(time.Hour), Deployment: ours})
	}
	o := orphans(w)
	for turn, want := range []map[bool]int{{true: 150, false: 50}, {true: 300, false: 100}, {true: 450, false: 150}} {
		if _, err := o.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, runners := map[bool]int{}, map[run.Name]int{}
		for _, told := range w.told {
			got[told.Runner.Job >= 1000]++
			runners[told.Runner]++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("turn %d: %s", turn, diff)
		}
		if turn == 2 && len(runners) != 300 {
			t.Errorf("%d of 300 had their turn", len(runners))
		}
	}
}

// The clocks of two workers are minutes apart. A sweep goes by the ledger's, and takes no place from a launch that goes on.
func TestAWrongClockTakesNoPlaceFromALaunch(t *testing.T) {
	faultstest.Cover(t, "F54")
	const skew = 5 * time.Minute
	launching := run.Runner{Name: name(1), State: run.Launching, Job: job(1), For: 1}
	for what, tt := range map[string]struct {
		sweeper, launcher time.Duration // Their clocks, of the ledger's.
		recorded          bool
		age               time.Duration // Of the record and the place.
		want              bool
	}{
		"the sweeper's is fast":                     {sweeper: skew, recorded: true, want: true},
		"the sweeper's is fast, no intent yet":      {sweeper: skew, want: true},
		"the launcher's is slow":                    {launcher: -skew, recorded: true, want: true},
		"the launcher's is slow, no intent yet":     {launcher: -skew, want: true},
		"both are right":                            {recorded: true, want: true},
		"the launch ended without a word":           {recorded: true, age: 2*run.LaunchTimeout + old},
		"and the sweeper's clock is slow":           {sweeper: -skew, recorded: true, age: 2*run.LaunchTimeout + old},
		"its worker died before the intent":         {age: old},
		"the same, and the sweeper's clock is slow": {sweeper: -skew, age: old},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{ahead: -tt.sweeper} // The bubble's clock is the sweeper's.
				at := time.Now().Add(w.ahead - tt.age + tt.launcher)
				take := func() {
					_, _ = w.book.Change(t.Context(), func(r places.Record) places.Record {
						r, _ = r.Take(places.AskFor(name(1), job(1), placestest.Rules{}), placestest.Rules{}, at)
						return r
					})
				}
				if r := launching; tt.recorded {
					r.Until = at.Add(run.LaunchTimeout)
					w.runners = []sweep.Record[run.Runner]{record(r, tt.age-w.ahead)}
				}
				if w.listed = take; tt.age > 0 {
					take()
				}
				if _, err := orphans(w).RunOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
				r, _, _ := w.book.Read(t.Context())
				if _, held := r.Held[places.Key(name(1))]; held != tt.want {
					t.Errorf("the runner has a place: %v, want %v", held, tt.want)
				}
			})
		})
	}
}

// A runner that was ended holds a place for as long as its sandbox is not known to have ended, which takes a moment.
func TestWhatASweepBeginsItBringsToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{sandboxes: box()}
		w.runners = []sweep.Record[run.Runner]{record(run.Runner{Name: name(1), State: run.Launched, Job: job(1), SandboxID: "sb-1"}, time.Hour)}
		o := orphans(w)
		sweeps := func(want ...told) {
			t.Helper()
			w.told = nil
			report, err := o.RunOnce(t.Context())
			if diff := cmp.Diff(want, w.told); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
			if found := report.Found[sweep.Outlived]; found > 0 {
				t.Errorf("found %d sandboxes of ended runners", found)
			}
		}
		sweeps(told{Runner: name(1), Event: run.Released{Name: name(1)}})
		ended := *w.runners[0].Value
		ended.State = run.Ended
		w.runners, w.sandboxes = []sweep.Record[run.Runner]{record(ended, 0)}, nil
		sweeps()
		time.Sleep(soon)
		sweeps(told{Runner: name(1), Event: run.Gone{}})
		ended.State = run.Busy // Whatever it is by then.
		w.runners = []sweep.Record[run.Runner]{record(ended, 0)}
		time.Sleep(soon)
		sweeps()
	})
}

func TestTheCensusCountsWhatThereIs(t *testing.T) {
	w := &world{
		sandboxes: []sweep.Sandbox{
			{ID: "sb-1", Name: name(1), CreatedAt: time.Now(), Deployment: ours},
			{ID: "sb-2", Name: name(2), CreatedAt: time.Now(), Deployment: ours},
			{ID: "sb-3", Name: name(3), CreatedAt: time.Now(), Deployment: ours},
			{ID: "sb-4", CreatedAt: time.Now()},
		},
		runners: []sweep.Record[run.Runner]{
			record(run.Runner{Name: name(1), State: run.Busy}, 0), record(run.Runner{Name: name(2), State: run.Launched, For: 2, LaunchedAt: time.Now()}, 0),
			record(run.Runner{Name: name(5), State: run.Ended}, 0),
		},
		runs: []sweep.Record[run.Run]{
			record(run.Run{Job: job(1), State: run.Running}, 0), record(waitingOn(2, name(2)), 0), record(run.Run{Job: job(5), State: run.Running}, 0),
		},
	}
	report, err := orphans(w).RunOnce(t.Context())
	want := sweep.Report{
		Runs:      map[run.State]int{run.Running: 2, run.Waiting: 1},
		Sandboxes: map[run.RunnerState]int{run.Busy: 1, run.Launched: 1, run.Unknown: 1},
		Neglected: map[string]time.Time{"default": boxedAt},
	}
	if diff := cmp.Diff(want, report); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
}

func TestTheCensusKnowsTheOldestJobThatWaitsThoughNothingHoldsItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := func(id int64, pool string, queued time.Duration, changes ...func(*run.Run)) sweep.Record[run.Run] {
			r := run.Run{Job: job(id), State: run.Waiting, Runner: name(id), QueuedAt: ago(queued)}
			r.Job.Pool = pool
			for _, change := range changes {
				change(&r)
			}
			return record(r, 0)
		}
		w := &world{
			runners: []sweep.Record[run.Runner]{},
			runs: []sweep.Record[run.Run]{
				waits(1, "default", 20*time.Minute), // However often its runners end, as one has just now.
				waits(2, "default", 10*time.Minute),
				waits(3, "default", time.Hour, func(r *run.Run) { r.InLine = true }),
				waits(4, "default", time.Hour, func(r *run.Run) { r.Until = ago(-time.Second) }),
				waits(5, "default", time.Hour, func(r *run.Run) { r.State = run.OnHold }),
				waits(6, "default", time.Hour, func(r *run.Run) { r.State = run.Running }),
				waits(7, "gpu", time.Hour, func(r *run.Run) { r.FreeSince = ago(3 * time.Minute) }), // Its place has come, and its sandbox starts.
				waits(8, "big", time.Hour, func(r *run.Run) { r.FreeSince, r.Until = ago(4*time.Minute), ago(2*time.Minute) }),
			},
		}
		want := map[string]time.Time{"default": ago(20 * time.Minute), "gpu": ago(3 * time.Minute), "big": ago(2 * time.Minute)}
		for _, broken := range []error{nil, errAway} { // While Modal is away they wait no less.
			w.fail = map[string]error{"list": broken}
			report, err := orphans(w).RunOnce(t.Context())
			if diff := cmp.Diff(want, report.Neglected); diff != "" || !errors.Is(err, broken) {
				t.Errorf("%v, %s", err, diff)
			}
		}
	})
}

// The ledger was lost: whose pool a sandbox is of its tags say.
func TestASandboxThatIsNotOnRecordHoldsAPlaceOfItsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fail: map[string]error{}}
		o := orphans(w)
		o.Rules = placestest.Rules{Pools: map[string]places.Limit{"default": {Max: 1}}}
		w.sandboxes = []sweep.Sandbox{{ID: "sb", Name: name(1), CreatedAt: ago(time.Hour), Deployment: ours, Repo: "octo/repo", Pool: "default"}}
		if _, err := o.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, _, _ := w.book.Read(t.Context())
		if _, obstacle := r.Take(places.AskFor(name(9), job(9), o.Rules), o.Rules, time.Now()); obstacle == nil {
			t.Errorf("a pool whose max_sandboxes is 1 has %+v, and another one gets a place", r.Held)
		}
	})
}
