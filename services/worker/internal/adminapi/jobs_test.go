package adminapi_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
)

// delivery is GitHub's id of a delivery.
const delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958"

// waiting is job 1, which counts on its first runner and has waited for a minute. The changes are made to it.
func waiting(changes ...func(*run.Run)) run.Run {
	r := run.Run{
		Job:   run.Job{ID: 1, RunID: 2, RunAttempt: 3, Owner: "octo", Repo: "repo", Labels: []string{"modal"}, Pool: "default", WorkflowName: "CI", Name: "build", HeadBranch: "main"},
		State: run.Waiting, Runner: run.Name{Job: 1, Attempt: 1}, Attempts: 1, QueuedAt: ago(time.Minute), LastQueuedAt: ago(time.Minute),
		History: []run.Note{
			{At: ago(time.Minute), Event: delivery, Text: "queued"},
			{At: ago(time.Minute), Event: delivery, Runner: run.Name{Job: 1, Attempt: 1}, Text: "counted on, attempt 1"},
		},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

// runner is the first of job 1.
func runner(state run.RunnerState, changes ...func(*run.Runner)) run.Runner {
	r := run.Runner{Name: run.Name{Job: 1, Attempt: 1}, State: state, For: 1}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func TestAJobThatWaitsTellsWhyAndForHowLong(t *testing.T) {
	failed := func(times int) func(*run.Run) {
		return func(r *run.Run) { r.Failures, r.Reason = times, "no answer" }
	}
	for _, tt := range []struct {
		name   string
		run    run.Run
		runner run.Runner
		next   time.Duration
		want   string
	}{
		{
			"it is held", waiting(func(r *run.Run) { r.State, r.HeldAt = run.OnHold, ago(5*time.Minute) }),
			run.Runner{},
			0,
			"an approval at GitHub, for 5m0s",
		},
		{
			"its runner is idle", waiting(), runner(run.Launched, func(r *run.Runner) { r.LaunchedAt = ago(40 * time.Second) }), 0,
			"GitHub to give it a runner: mgr-1-1 was launched 40s ago and has no job (queued 1m0s ago)",
		},
		{
			"it has waited for hours", waiting(func(r *run.Run) { r.QueuedAt = ago(125 * time.Minute) }), runner(run.Launched, func(r *run.Runner) { r.LaunchedAt = ago(time.Second) }), 0,
			"GitHub to give it a runner: mgr-1-1 was launched 1s ago and has no job (queued 2h5m ago)",
		},
		{"its launch has not begun", waiting(), run.Runner{}, 0, "its launch as mgr-1-1; a worker to take it from the queue (queued 1m0s ago)"},
		{
			"a worker launches it", waiting(), runner(run.Launching, func(r *run.Runner) { r.Until = now.Add(50 * time.Second) }), time.Minute,
			"its launch as mgr-1-1; a worker began 10s ago (queued 1m0s ago)",
		},
		{
			"its launch failed once", waiting(failed(1)), runner(run.Launching), 12 * time.Second,
			"its launch as mgr-1-1: failed once, last: no answer; next try at 2000-01-01T00:00:12Z, in 12s (queued 1m0s ago)",
		},
		{
			"its launch failed often", waiting(failed(3)), runner(run.Launching), 12 * time.Second,
			"its launch as mgr-1-1: failed 3 times, last: no answer; next try at 2000-01-01T00:00:12Z, in 12s (queued 1m0s ago)",
		},
		{
			"its launch found no room", waiting(failed(0)), runner(run.Launching), time.Hour,
			"its launch as mgr-1-1: put off: no answer; next try at 2000-01-01T01:00:00Z, in 1h0m (queued 1m0s ago)",
		},
		{
			"another job took its runner", waiting(), runner(run.Busy, func(r *run.Runner) { r.Took = 2 }), 0,
			"another runner: mgr-1-1 took job 2 (queued 1m0s ago)",
		},
		{
			"its runner took it and GitHub's word is on its way", waiting(), runner(run.Busy, func(r *run.Runner) { r.Took = 1 }), 0,
			"GitHub to say that it runs: mgr-1-1 took it (queued 1m0s ago)",
		},
		{
			"its runner has a job, of which a webhook may still tell", waiting(),
			runner(run.Launched, func(r *run.Runner) { r.LaunchedAt, r.OccupiedSince = ago(40*time.Second), ago(time.Second) }), 0,
			"GitHub to say which job mgr-1-1 has (queued 1m0s ago)",
		},
		{
			"its runner has a job of which no webhook told", waiting(), runner(run.Busy), 0,
			"another runner: mgr-1-1 has a job of which no webhook told us (queued 1m0s ago)",
		},
		{
			"its runner has ended", waiting(), runner(run.Ended, func(r *run.Runner) { r.Reason = "idle" }), 0,
			"another runner: mgr-1-1 ended: idle (queued 1m0s ago)",
		},
		{
			"it has lost its runner", waiting(func(r *run.Run) { r.Runner, r.Reason = run.Name{}, "it took job 2" }),
			run.Runner{},
			0,
			"a worker to launch its next runner; the last one was lost: it took job 2 (queued 1m0s ago)",
		},
		{
			"it has lost its runner and nobody knows why", waiting(func(r *run.Run) { r.Runner = run.Name{} }),
			run.Runner{},
			0,
			"a worker to launch its next runner; the last one was lost: not known (queued 1m0s ago)",
		},
		{"a job that runs waits for nothing", waiting(func(r *run.Run) { r.State = run.Running }), run.Runner{}, 0, ""},
		{"a job that was given up waits for nothing", waiting(func(r *run.Run) { r.State = run.Dead }), run.Runner{}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := store{runs: []run.Run{tt.run}, runners: []run.Runner{tt.runner}}
				if tt.next != 0 {
					s.next = now.Add(tt.next)
				}
				status, got := ask[adminapi.Explanation](t, s.handler(), http.MethodGet, "/jobs/1")
				if status != http.StatusOK || got.WaitsFor != tt.want {
					t.Errorf("%d\n got %q\nwant %q", status, got.WaitsFor, tt.want)
				}
			})
		})
	}
}

// That a sandbox was made says little of what keeps its runner from the job.
func TestAJobThatWaitsTellsWhatItsSandboxSays(t *testing.T) {
	for says, want := range map[run.Evidence]string{
		run.Unscheduled: "Modal to schedule a sandbox: that of mgr-1-1 was asked for 9m0s ago",
		run.Starting:    "a sandbox to start its runner: that of mgr-1-1 was launched 9m0s ago",
		run.Idle:        "GitHub to give it a runner: mgr-1-1 was launched 9m0s ago and has no job",
		run.HasJob:      "GitHub to say which job mgr-1-1 has",
		run.Over:        "another runner: mgr-1-1 was launched 9m0s ago and takes no job any more",
		"":              "GitHub to give it a runner: mgr-1-1 was launched 9m0s ago and has no job",
	} {
		t.Run(string(says), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := store{runs: []run.Run{waiting()}, runners: []run.Runner{
					runner(run.Launched, func(r *run.Runner) { r.SandboxID, r.LaunchedAt = "sb-1", ago(9*time.Minute) }),
				}}
				silent := sandboxes{says: says}
				if says == "" {
					silent.err = errors.New("no answer")
				}
				h := serve(adminapi.Options{Ledger: s, Queue: s, Handler: s, Sandboxes: silent, Pools: noPools, Log: slog.New(slog.DiscardHandler)})
				_, got := ask[adminapi.Explanation](t, h, http.MethodGet, "/jobs/1")
				if want += " (queued 1m0s ago)"; got.WaitsFor != want {
					t.Errorf("\n got %q\nwant %q", got.WaitsFor, want)
				}
			})
		})
	}
}

// GitHub cancels what was given up a day later, or its author does so before.
func TestAJobThatWasGivenUpIsDeadSinceThenThoughGitHubEndedItLater(t *testing.T) {
	notes := func(texts ...string) func(*run.Run) {
		return func(r *run.Run) {
			r.State, r.Reason, r.History = run.Dead, "no pool", nil
			for n, text := range texts {
				r.History = append(r.History, run.Note{At: ago(time.Duration(len(texts)-n) * time.Minute), Text: text})
			}
		}
	}
	for name, tt := range map[string]struct {
		change func(*run.Run)
		since  time.Time
	}{
		"given up":                           {notes("queued", "given up: no pool"), ago(time.Minute)},
		"and cancelled":                      {notes("queued", "given up: no pool", "finished, though given up: cancelled"), ago(2 * time.Minute)},
		"replayed, and given up once more":   {notes("given up: no room", "replayed", "given up: no pool"), ago(time.Minute)},
		"of which the timeline says nothing": {notes("queued"), time.Time{}},
	} {
		_, got := ask[adminapi.Jobs](t, store{runs: []run.Run{waiting(tt.change)}}.handler(), http.MethodGet, "/jobs?state=dead")
		if len(got.Jobs) != 1 || !got.Jobs[0].Since.Equal(tt.since) {
			t.Errorf("%s: %+v, want it dead since %v", name, got.Jobs, tt.since)
		}
	}
}

func TestAJobIsExplainedFromItsRecordAndThoseOfItsRunners(t *testing.T) {
	first, spare := run.Name{Job: 1, Attempt: 1}, run.Name{Job: 7, Attempt: 2}
	s := store{
		runs: []run.Run{waiting(func(r *run.Run) {
			r.State, r.Runner, r.RanOn, r.StartedAt = run.Running, spare, spare, ago(5*time.Second)
			r.History = append(r.History,
				run.Note{At: ago(20 * time.Second), Runner: first, Text: "lost: it took job 9"},
				run.Note{At: ago(20 * time.Second), Runner: spare, Text: "counted on instead, a spare one"},
				run.Note{At: ago(5 * time.Second), Event: run.AskedGitHub, Runner: spare, Text: "running"})
		})},
		runners: []run.Runner{
			{Name: first, State: run.Ended, For: 1, Took: 9, GitHubID: 5, SandboxID: "sb-1", LaunchedAt: ago(50 * time.Second), EndedAt: ago(time.Second), Reason: "its job was completed"},
			{Name: spare, State: run.Busy, For: 1, Took: 1, SandboxID: "sb-7", Warm: true, LaunchedAt: ago(time.Hour)},
		},
	}
	status, got := ask[adminapi.Explanation](t, s.handler(), http.MethodGet, "/jobs/1")
	want := adminapi.Explanation{
		Summary: adminapi.Summary{
			ID: 1, Repo: "octo/repo", Workflow: "CI", Name: "build", Pool: "default", State: run.Running, Since: ago(5 * time.Second), Attempts: 1,
		},
		Labels: []string{"modal"}, RunID: 2, RunAttempt: 3, Branch: "main",
		Timeline: []adminapi.Moment{
			{At: ago(time.Hour), Runner: "mgr-7-2", Text: "given to sandbox sb-7, which had waited for a runner"},
			{At: ago(time.Minute), Text: "queued", Event: delivery},
			{At: ago(time.Minute), Runner: "mgr-1-1", Text: "counted on, attempt 1", Event: delivery},
			{At: ago(50 * time.Second), Runner: "mgr-1-1", Text: "launched, sandbox sb-1"},
			{At: ago(20 * time.Second), Runner: "mgr-1-1", Text: "lost: it took job 9"},
			{At: ago(20 * time.Second), Runner: "mgr-7-2", Text: "counted on instead, a spare one"},
			{At: ago(5 * time.Second), Runner: "mgr-7-2", Text: "running", Event: run.AskedGitHub},
			{At: ago(time.Second), Runner: "mgr-1-1", Text: "ended: its job was completed"},
		},
		Runners: []adminapi.Runner{
			{Name: "mgr-1-1", State: run.Ended, CountsFor: 1, Took: 9, GitHubID: 5, SandboxID: "sb-1", LaunchedAt: ago(50 * time.Second), EndedAt: ago(time.Second), Reason: "its job was completed"},
			{Name: "mgr-7-2", State: run.Busy, CountsFor: 1, Took: 1, SandboxID: "sb-7", LaunchedAt: ago(time.Hour)},
		},
	}
	if diff := cmp.Diff(want, got); status != http.StatusOK || diff != "" {
		t.Errorf("%d: %s", status, diff)
	}
}

func TestARunnerWhoseJobIsOverIsNotCalledBusy(t *testing.T) {
	other := run.Name{Job: 7, Attempt: 1}
	const reason = "its job is over; what is left of it is ended 30s after that"
	type state struct {
		run.State

		over bool
	}
	runs, over := state{run.Running, false}, state{run.Done, true}
	for name, tt := range map[string]struct {
		job, others state
		want        map[string]string // each runner's state and reason
	}{
		"both jobs run":               {runs, runs, map[string]string{"mgr-1-1": "busy ", "mgr-7-1": "busy "}},
		"the job is over":             {over, runs, map[string]string{"mgr-1-1": "busy ", "mgr-7-1": "ending " + reason}},
		"that of its runner is over":  {runs, over, map[string]string{"mgr-1-1": "ending " + reason, "mgr-7-1": "busy "}},
		"a job of which nobody knows": {runs, state{}, map[string]string{"mgr-1-1": "busy ", "mgr-7-1": "busy "}},
		"a job runs that was given up": {
			state{run.Dead, false}, runs, map[string]string{"mgr-1-1": "busy ", "mgr-7-1": "busy "},
		},
		"a job is over that was given up": {
			state{run.Dead, true}, state{run.Dead, true}, map[string]string{"mgr-1-1": "ending " + reason, "mgr-7-1": "ending " + reason},
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := func(s state) func(*run.Run) {
				return func(r *run.Run) {
					if r.State = s.State; s.over {
						r.FinishedAt = ago(time.Second)
					}
				}
			}
			s := store{
				runs: []run.Run{
					waiting(is(tt.job), func(r *run.Run) { r.RanOn = other }),
					waiting(is(tt.others), func(r *run.Run) { r.Job.ID = 9 }),
				},
				runners: []run.Runner{
					runner(run.Busy, func(r *run.Runner) { r.Took = 9 }),
					runner(run.Busy, func(r *run.Runner) { r.Name, r.Took = other, 1 }),
				},
			}
			_, told := ask[adminapi.Explanation](t, s.handler(), http.MethodGet, "/jobs/1")
			got := map[string]string{}
			for _, r := range told.Runners {
				got[r.Name] = string(r.State) + " " + r.Reason
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOfARunnerThatIsNotLaunchedYetTheLastReasonIsTold(t *testing.T) {
	const before, now = "no image to start from", "GitHub: 401 Bad credentials"
	s := store{
		runs:    []run.Run{waiting(func(r *run.Run) { r.Failures, r.Reason = 2, now })},
		runners: []run.Runner{runner(run.Launching, func(r *run.Runner) { r.Reason = before })},
	}
	_, told := ask[adminapi.Explanation](t, s.handler(), http.MethodGet, "/jobs/1")
	if len(told.Runners) != 1 || told.Runners[0].Reason != now {
		t.Errorf("got %+v, want the reason %q", told.Runners, now)
	}
}

func TestJobsAreListedByStateNewestFirst(t *testing.T) {
	in := func(id int64, state run.State, changes ...func(*run.Run)) run.Run {
		return waiting(append(changes, func(r *run.Run) { r.Job.ID, r.State = id, state })...)
	}
	s := store{runs: []run.Run{
		in(1, run.Waiting), in(2, run.Waiting), in(3, run.OnHold, func(r *run.Run) { r.HeldAt = ago(time.Second) }),
		in(4, run.Running, func(r *run.Run) { r.StartedAt = ago(time.Hour) }),
		in(5, run.Done, func(r *run.Run) { r.FinishedAt = now }),
		in(6, run.Dead, func(r *run.Run) { r.History = append(r.History, run.Note{At: now, Text: "given up: no pool"}) }), in(7, run.Dead),
	}}
	for query, want := range map[string][]int64{
		"": {3, 2, 1, 4}, "?state=": {3, 2, 1, 4}, "?state=held": {3}, "?state=waiting": {2, 1}, "?state=running": {4}, "?state=done": {5}, "?state=dead": {6, 7},
	} {
		status, got := ask[adminapi.Jobs](t, s.handler(), http.MethodGet, "/jobs"+query)
		var ids []int64
		for _, j := range got.Jobs {
			ids = append(ids, j.ID)
		}
		if diff := cmp.Diff(want, ids); status != http.StatusOK || diff != "" || got.LeftOff != 0 {
			t.Errorf("%q: %d, %d left off: %s", query, status, got.LeftOff, diff)
		}
	}
	if status, got := ask[adminapi.Jobs](t, store{}.handler(), http.MethodGet, "/jobs"); status != http.StatusOK || got.Jobs == nil || len(got.Jobs) != 0 {
		t.Errorf("of no jobs: %d %+v, want an empty list", status, got)
	}
}

func TestALongListIsCutAndTheRestCounted(t *testing.T) {
	var s store
	for id := range int64(503) {
		s.runs = append(s.runs, waiting(func(r *run.Run) { r.Job.ID = id + 1 }))
	}
	_, got := ask[adminapi.Jobs](t, s.handler(), http.MethodGet, "/jobs")
	if len(got.Jobs) != 500 || got.LeftOff != 3 || got.Jobs[0].ID != 503 {
		t.Errorf("%d jobs from %d on, %d left off", len(got.Jobs), got.Jobs[0].ID, got.LeftOff)
	}
}

func TestWhatCannotBeAnsweredIsSaidInOneLine(t *testing.T) {
	down := errors.New("the server is away")
	records := store{runs: []run.Run{waiting()}, letters: []intake.Letter{{ID: "message-7", Sequence: 7}, {ID: "1", Job: run.Job{ID: 1}}}}
	with := func(change func(*store)) store { s := records; change(&s); return s }
	all, later := with(func(s *store) { s.err = down }), with(func(s *store) { s.nextErr = down })
	old := with(func(s *store) {
		s.runs = []run.Run{waiting(func(r *run.Run) { r.State, r.QueuedAt = run.Dead, now })}
	})
	for _, tt := range []struct {
		name, method, path string
		store              store
		status             int
		want               string
	}{
		{"an id that is no number", http.MethodGet, "/jobs/x", records, 400, `id: must be a job's, a positive number (got "x")`},
		{"an id that is no job's", http.MethodGet, "/jobs/0", records, 400, `id: must be a job's, a positive number (got "0")`},
		{"a job that nobody knows", http.MethodGet, "/jobs/5", records, 404, `id: must be of a job that was taken on in the last week; why one was not, for its labels or its repository, is in the logs of ingress and workers (got "5")`},
		{"a state that there is not", http.MethodGet, "/jobs?state=lost", records, 400, `state: must be one of [held waiting running done dead] (got "lost")`},
		{"no list", http.MethodGet, "/jobs", all, 503, "the server is away"},
		{"no record", http.MethodGet, "/jobs/1", all, 503, "the server is away"},
		{"no runners and no time", http.MethodGet, "/jobs/1", later, 503, "the server is away"},
		{"no letters", http.MethodGet, "/dead-letters", all, 503, "the server is away"},
		{"no letter", http.MethodGet, "/dead-letters/1", all, 503, "the server is away"},
		{"a letter that there is not", http.MethodGet, "/dead-letters/5", records, 404, `id: must be that of a dead letter (got "5")`},
		{
			"a replay of a message", http.MethodPost, "/dead-letters/message-7/replay", records, 409,
			`id: must be of a job; a message that can't be read can't be replayed (got "message-7")`,
		},
		{"a replay of nothing", http.MethodPost, "/dead-letters/message-8/replay", records, 400, `id: must be a job's, a positive number (got "message-8")`},
		{"a replay of a job that nobody knows", http.MethodPost, "/dead-letters/5/replay", records, 404, `id: must be of a job that was taken on in the last week; why one was not, for its labels or its repository, is in the logs of ingress and workers (got "5")`},
		{"a replay of a job that was never given up", http.MethodPost, "/dead-letters/1/replay", with(func(s *store) { s.letters = nil }), 409, `id: must be of a job that was given up; this one is waiting (got "1")`},
		{
			"a replay of a job whose runner another took", http.MethodPost, "/dead-letters/1/replay",
			with(func(s *store) {
				s.letters, s.runs = nil, []run.Run{waiting(func(r *run.Run) { r.State, r.Forgiven = run.Running, 1 })}
			}), 409,
			`id: must be of a job that was given up; this one is running (got "1")`,
		},
		{"a replay that GitHub would not hear of", http.MethodPost, "/dead-letters/1/replay", old, 409, `queued_at: must be less than 24h0m ago, since GitHub cancels a job then (got "2000-01-01T00:00:00Z")`},
		{"a replay without a queue", http.MethodPost, "/dead-letters/1/replay", later, 503, "the server is away"},
		{"a replay without a letter to read", http.MethodPost, "/dead-letters/1/replay", all, 503, "the server is away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got := ask[adminapi.Problem](t, tt.store.handler(), tt.method, tt.path)
			if status != tt.status || got.Error != tt.want || strings.Contains(got.Error, "\n") {
				t.Errorf("%d %s\nwant %d %s", status, got.Error, tt.status, tt.want)
			}
		})
	}
}

// Now and then nothing lacks, as it seems, for which the job was put off a moment ago: then that is what it waits for, as far as is known.
func TestAJobThatStandsInLineTellsWhatItWaitsFor(t *testing.T) {
	inLine := func(reason string) run.Run {
		return waiting(func(r *run.Run) { r.InLine, r.Reason = true, reason })
	}
	as := func(r places.Record) places.Record { return r }
	paused := func(r places.Record) places.Record { return r.Pause(places.All, true, now) }
	broken := func(r places.Record) places.Record { return r.Failed("default", "2.1", "no such image", true, now) }
	for _, tt := range []struct {
		name   string
		run    run.Run
		places func(places.Record) places.Record
		want   string
	}{
		{"what lacks now", inLine("modal: no room"), paused, "the whole fleet is paused by an operator since 2000-01-01T00:00:00Z"},
		{
			"what lacks now, and until when", inLine("modal: no room"), broken,
			"launches of pool default do not start, the last one: no such image; not before 2000-01-01T00:00:30Z, in 30s",
		},
		{"what lacked the last time", inLine("modal: no room"), as, "it gets its place in its turn; the last time it was put off: modal: no room"},
		{"its turn, if nothing is known to have lacked", inLine(""), as, "it gets its place in its turn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				book := &placestest.Memory{}
				if _, err := book.Change(t.Context(), tt.places); err != nil {
					t.Fatal(err)
				}
				s := store{runs: []run.Run{tt.run}}
				h := serve(adminapi.Options{
					Ledger: s, Queue: s, Handler: s, Places: book, Rules: placestest.Rules{}, Pools: noPools, Log: slog.New(slog.DiscardHandler),
				})
				_, got := ask[adminapi.Explanation](t, h, http.MethodGet, "/jobs/1")
				if want := "a place for its sandbox: " + tt.want + "; it is number 1 of 1 in line (queued 1m0s ago)"; got.WaitsFor != want {
					t.Errorf("\n got %q\nwant %q", got.WaitsFor, want)
				}
			})
		})
	}
}
