package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/run"
)

func TestTheHistoryTellsWhatBecameOfTheJob(t *testing.T) {
	none := run.Name{}
	spare := run.Runner{Name: runner(2, 1), State: run.Launched, Job: job(2), Scope: "octo/repo", For: 2}
	note := func(about run.Name, text string) run.Note { return run.Note{At: now, Runner: about, Text: text} }
	of := func(event string, note run.Note) run.Note { note.Event = event; return note }
	for _, tt := range []struct {
		name   string
		before run.Run
		event  run.Event
		want   []run.Note
	}{
		{
			"a new job is queued and counts on its first runner",
			run.Run{},
			run.Queued{Job: job(1), At: now, Event: "e-1"},
			[]run.Note{of("e-1", note(none, "queued")), of("e-1", note(runner(1, 1), "counted on, attempt 1"))},
		},
		{"it is queued again", waiting(), run.Queued{Job: job(1), At: now}, []run.Note{note(none, "queued again")}},
		{
			"it gets the next runner", waiting(func(r *run.Run) { r.Runner = none }),
			run.Queued{Job: job(1)},
			[]run.Note{note(runner(1, 2), "counted on, attempt 2")},
		},
		{"it is held", run.Run{}, run.Held{Job: job(1), At: now, Event: "e-1"}, []run.Note{of("e-1", note(none, "held until an approval at GitHub"))}},
		{"a launch failed", waiting(), run.Failed{Reason: "boom"}, []run.Note{note(runner(1, 1), "launch failed: boom")}},
		{"a launch failed and nobody knows why", waiting(), run.Failed{}, []run.Note{note(runner(1, 1), "launch failed: not known")}},
		{"a launch found no room", waiting(), run.Failed{Reason: "no room", Limited: true}, []run.Note{note(runner(1, 1), "launch put off: no room")}},
		{"a launch that succeeded is told by the runner", waiting(func(r *run.Run) { r.Failures, r.Reason = 1, "boom" }), run.Placed{Runner: runner(1, 1)}, nil},
		{
			"its runner was lost", waiting(),
			run.Lost{Runner: runner(1, 1), Reason: "it took job 2"},
			[]run.Note{note(runner(1, 1), "lost: it took job 2")},
		},
		{
			"its runner was lost and a spare one will do", waiting(),
			run.Lost{Runner: runner(1, 1), Spare: spare, From: 2, Reason: "it took job 2", Event: "e-2"},
			[]run.Note{of("e-2", note(runner(1, 1), "lost: it took job 2")), of("e-2", note(runner(2, 1), "counted on instead, a spare one"))},
		},
		{"it runs", waiting(), run.Started{Job: job(1), Runner: runner(2, 1), Event: "e-2"}, []run.Note{of("e-2", note(runner(2, 1), "running"))}},
		{"it runs elsewhere", waiting(), run.Started{Job: job(1)}, []run.Note{note(none, "running on a runner that is not ours")}},
		{
			"it ends", running(),
			run.Finished{Job: job(1), Runner: runner(1, 1), Conclusion: "success", Event: run.AskedGitHub},
			[]run.Note{of(run.AskedGitHub, note(runner(1, 1), "finished: success"))},
		},
		{"it ends, and GitHub does not say how", waiting(), run.Finished{Job: job(1)}, []run.Note{note(none, "finished: not known")}},
		{"it is given up", waiting(), run.Failed{Reason: "no such group", Permanent: true}, []run.Note{note(none, "given up: no such group")}},
		{
			"it runs all the same, though given up", waiting(func(r *run.Run) { r.State = run.Dead }),
			run.Started{Job: job(1), Runner: runner(2, 1), Event: "e-2"},
			[]run.Note{of("e-2", note(runner(2, 1), "running, though given up"))},
		},
		{
			"it runs all the same, though given up, on a runner that is not ours", waiting(func(r *run.Run) { r.State = run.Dead }),
			run.Started{Job: job(1), Event: "e-2"},
			[]run.Note{of("e-2", note(none, "running, though given up"))},
		},
		{
			"it ends all the same, though given up", waiting(func(r *run.Run) { r.State, r.RanOn = run.Dead, runner(2, 1) }),
			run.Finished{Job: job(1), Runner: runner(2, 1), Conclusion: "success", Event: "e-2"},
			[]run.Note{of("e-2", note(runner(2, 1), "finished, though given up: success"))},
		},
		{
			"an operator wants it", waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "no such group" }),
			run.Replayed{},
			[]run.Note{of(run.ByOperator, note(none, "replayed"))},
		},
		{
			"it is found to be untrusted", waiting(),
			run.Vetted{Job: run.Job{Pool: "forks", Untrusted: "its code is that of mallory/repo (pull_request)"}},
			[]run.Note{of(run.AskedGitHub, note(none, "untrusted, for pool forks: its code is that of mallory/repo (pull_request)"))},
		},
		{"what changes nothing is not told", running(), run.Queued{Job: job(1), At: now}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after, _ := run.Decide(tt.before, tt.event, now)
			if diff := cmp.Diff(tt.want, after.History); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestALongHistoryLosesItsMiddleAndTheRecordBeforeKeepsIts(t *testing.T) {
	r, _ := run.Decide(run.Run{}, run.Queued{Job: job(1), At: now}, now)
	var before []run.Note
	for n := range 100 {
		earlier := r
		before = append([]run.Note(nil), earlier.History...)
		r, _ = run.Decide(r, run.Failed{Reason: fmt.Sprint(n)}, now)
		if diff := cmp.Diff(before, earlier.History); diff != "" {
			t.Fatalf("the record before has changed: %s", diff)
		}
	}
	var got []string
	for _, note := range r.History {
		got = append(got, strings.TrimPrefix(note.Text, "launch failed: "))
	}
	want := []string{"queued", "counted on, attempt 1", "0", "1", "2"}
	for n := 65; n < 100; n++ {
		want = append(want, fmt.Sprint(n))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestANoteIsOneShortLine(t *testing.T) {
	long := "GitHub says:\n\t" + strings.Repeat("a", 250) + strings.Repeat("é", 100)
	after, _ := run.Decide(waiting(), run.Failed{Reason: long}, now)
	text := after.History[0].Text
	if len(text) != 299 || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\t") || !strings.HasSuffix(text, "é…") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

func TestANoteNamesItsEventShortly(t *testing.T) {
	const guid = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
	for event, want := range map[string]string{
		guid:                     guid,
		guid + "0":               guid[:33] + "…",
		"forged\n\tline":         "forged line",
		strings.Repeat("é", 100): strings.Repeat("é", 16) + "…",
		run.AskedGitHub:          run.AskedGitHub,
		"":                       "",
	} {
		after, _ := run.Decide(run.Run{}, run.Held{Job: job(1), At: now, Event: event}, now)
		if got := after.History[0].Event; got != want {
			t.Errorf("%q: got %q, want %q", event, got, want)
		}
	}
}

// Job 2 takes the runner of job 1: what becomes of job 1 comes of the delivery that told of job 2.
func TestTheJobThatLosesItsRunnerIsToldOfTheDelivery(t *testing.T) {
	started := run.Started{Job: job(2), Runner: runner(1, 1), Event: "e-2"}
	_, effects := run.Decide(run.Run{}, started, now)
	take := run.Take{Runner: runner(1, 1), By: 2, Event: "e-2"}
	if diff := cmp.Diff([]run.Effect{take}, effects); diff != "" {
		t.Error(diff)
	}
	_, effects = run.DecideRunner(launched(), run.Taken{Name: take.Runner, By: take.By, Event: take.Event}, now)
	lose := run.Lose{Job: 1, Runner: runner(1, 1), From: 2, Reason: "it took job 2", Event: "e-2", Blameless: true}
	if diff := cmp.Diff([]run.Effect{lose}, effects); diff != "" {
		t.Error(diff)
	}
}

func TestAJobThatWasGivenUpIsTriedOnceMoreIfAnOperatorWantsIt(t *testing.T) {
	requeue := []run.Effect{run.Requeue{Job: job(1), QueuedAt: ago(time.Minute)}}
	givenUp := func(r *run.Run) { r.State, r.Reason, r.Failures = run.Dead, "no such group", 3 }
	again := func(r *run.Run) { r.Forgiven = 1 }
	anew := func(r *run.Run) { r.Forgiven, r.FreeSince = 1, now }
	begun := func(r *run.Run) { r.RanOn, r.StartedAt = runner(2, 1), ago(30*time.Second) }
	ended := func(r *run.Run) { r.Conclusion, r.FinishedAt = "success", ago(10*time.Second) }
	as := func(s run.State) func(*run.Run) { return func(r *run.Run) { r.State = s } }
	late := func(r *run.Run) { r.QueuedAt = ago(run.GiveUpAfter) }
	spent := func(r *run.Run) { r.Attempts, r.Forgiven = run.MaxAttempts+1, 1 }
	checkDecide(t, []decided{
		{"it waits on the runner it had, and its attempts are forgiven", waiting(givenUp), run.Replayed{}, waiting(anew), requeue},
		{"asked again, it is looked at again", waiting(again), run.Replayed{}, waiting(again), requeue},
		{"another's runner has it", waiting(givenUp, begun), run.Replayed{}, waiting(again, begun, as(run.Running)), nil},
		{"another's runner did it", waiting(givenUp, begun, ended), run.Replayed{}, waiting(again, begun, ended, as(run.Done)), nil},
		{"GitHub has cancelled it by now", waiting(givenUp, late), run.Replayed{}, waiting(givenUp, late), nil},
		{"a job that runs needs no replay", running(), run.Replayed{}, running(), nil},
		{"a job that is done needs no replay", done(), run.Replayed{}, done(), nil},
		{"a job of which nothing is known can't be replayed", run.Run{}, run.Replayed{}, run.Run{}, nil},
		{
			"it gets a runner of a new name",
			waiting(again, func(r *run.Run) { r.Runner, r.Attempts, r.Forgiven = run.Name{}, run.MaxAttempts, run.MaxAttempts }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(func(r *run.Run) {
				r.Runner, r.Attempts, r.Forgiven = runner(1, run.MaxAttempts+1), run.MaxAttempts+1, run.MaxAttempts
			}),
			[]run.Effect{run.Launch{Runner: runner(1, run.MaxAttempts+1), Job: job(1)}},
		},
		{
			"it is given up again after as many runners",
			waiting(spent, func(r *run.Run) { r.Runner = run.Name{} }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(spent, func(r *run.Run) {
				r.Runner, r.State = run.Name{}, run.Dead
				r.Reason = "10 runners were launched for it and none took a job; the last one: not known"
			}),
			[]run.Effect{run.Bury{Job: job(1), Reason: "10 runners were launched for it and none took a job; the last one: not known"}},
		},
	})
}
