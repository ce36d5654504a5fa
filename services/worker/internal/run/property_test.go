package run_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
)

// The jobs, runners and times of the generated histories are few, so that they meet.
var (
	aJob  = rapid.Custom(func(t *rapid.T) run.Job { return job(1, rapid.SampledFrom([]string{"gpu", "linux"}).Draw(t, "label")) })
	aName = rapid.SampledFrom([]run.Name{{}, runner(1, 1), runner(1, 2), runner(2, 1)})
	anID  = rapid.Int64Range(0, 3)
	aTime = rapid.Custom(func(t *rapid.T) time.Time {
		return in(time.Duration(rapid.IntRange(-90, 90).Draw(t, "minutes")) * time.Minute)
	})
	aCause    = rapid.SampledFrom([]string{"", "e-1", run.AskedGitHub})
	aReason   = rapid.SampledFrom([]string{"", "boom"})
	aRunner   = rapid.Custom(drawRunner)
	anEvent   = rapid.Custom(drawEvent)
	aRunEvent = rapid.Custom(drawRunnerEvent)
)

func drawRunner(t *rapid.T) run.Runner {
	return run.Runner{
		Name:  aName.Draw(t, "name"),
		State: rapid.SampledFrom([]run.RunnerState{run.Unknown, run.Launching, run.Launched, run.Busy, run.Ended}).Draw(t, "state"),
		Job:   aJob.Draw(t, "job"), Scope: rapid.SampledFrom([]string{"", "octo", "octo/repo", "octo/other"}).Draw(t, "scope"), For: anID.Draw(t, "for"),
	}
}

func drawEvent(t *rapid.T) run.Event {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) run.Event {
			return run.Queued{Job: aJob.Draw(t, "job"), At: aTime.Draw(t, "at"), Event: aCause.Draw(t, "cause")}
		}),
		rapid.Custom(func(t *rapid.T) run.Event {
			return run.Held{Job: aJob.Draw(t, "job"), At: aTime.Draw(t, "at"), Event: aCause.Draw(t, "cause")}
		}),
		rapid.Custom(func(t *rapid.T) run.Event {
			return run.Started{Job: aJob.Draw(t, "job"), Runner: aName.Draw(t, "runner"), At: aTime.Draw(t, "at"), Event: aCause.Draw(t, "cause")}
		}),
		rapid.Custom(func(t *rapid.T) run.Event {
			return run.Finished{Job: aJob.Draw(t, "job"), Runner: aName.Draw(t, "runner"), Conclusion: "success", Event: aCause.Draw(t, "cause")}
		}),
		rapid.Custom(func(t *rapid.T) run.Event {
			return run.Lost{Runner: aName.Draw(t, "runner"), Spare: aRunner.Draw(t, "spare"), From: anID.Draw(t, "from"), Reason: aReason.Draw(t, "reason")}
		}),
		rapid.Custom(func(t *rapid.T) run.Event {
			return run.Failed{Reason: aReason.Draw(t, "reason"), Permanent: rapid.Bool().Draw(t, "permanent"), Limited: rapid.Bool().Draw(t, "limited")}
		}),
		rapid.Custom(func(t *rapid.T) run.Event { return run.Placed{Runner: aName.Draw(t, "runner")} }),
		rapid.Just[run.Event](run.Replayed{}),
	).Draw(t, "event")
}

func drawRunnerEvent(t *rapid.T) run.RunnerEvent {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) run.RunnerEvent {
			return run.Wanted{Name: runner(1, 1), Job: aJob.Draw(t, "job"), Scope: "octo/repo"}
		}),
		rapid.Custom(func(t *rapid.T) run.RunnerEvent { return run.Registered{GitHubID: anID.Draw(t, "id")} }),
		rapid.Custom(func(t *rapid.T) run.RunnerEvent { return run.Created{GitHubID: anID.Draw(t, "id"), SandboxID: "sb"} }),
		rapid.Custom(func(t *rapid.T) run.RunnerEvent { return run.GivenUp{Reason: aReason.Draw(t, "reason")} }),
		rapid.Custom(func(t *rapid.T) run.RunnerEvent {
			return run.Taken{Name: runner(1, 1), By: anID.Draw(t, "by"), Spare: aName.Draw(t, "spare")}
		}),
		rapid.Custom(func(t *rapid.T) run.RunnerEvent {
			return run.Counted{For: anID.Draw(t, "for"), From: anID.Draw(t, "from")}
		}),
		rapid.Custom(func(t *rapid.T) run.RunnerEvent { return run.Released{From: anID.Draw(t, "from")} }),
		rapid.Just[run.RunnerEvent](run.Occupied{}),
		rapid.Just[run.RunnerEvent](run.Overdue{}),
		rapid.Custom(func(t *rapid.T) run.RunnerEvent { return run.Gone{Reason: aReason.Draw(t, "reason")} }),
	).Draw(t, "event")
}

// history checks what must hold after each event, whatever came before.
type history struct {
	t   interface{ Errorf(string, ...any) }
	now time.Time
	run run.Run
}

func (h *history) happens(ev run.Event) {
	before := h.run
	after, effects := run.Decide(before, ev, h.now)
	h.run = after
	_, replayed := ev.(run.Replayed)
	if before.State.Terminal() && after.State != before.State && (before.State != run.Dead || !replayed) {
		h.t.Errorf("%T: left the state %q for %q", ev, before.State, after.State)
	}
	if after.Attempts-after.Forgiven > run.MaxAttempts || after.Attempts < before.Attempts || after.Forgiven > after.Attempts {
		h.t.Errorf("%T: %d attempts, %d of them forgiven, after %d", ev, after.Attempts, after.Forgiven, before.Attempts)
	}
	if after.State == run.Dead && after.Reason == "" && before.State != run.Dead && !emptyRefusal(ev) {
		h.t.Errorf("%T: given up without a reason", ev)
	}
	h.tells(ev, before, after)
	if _, queued := ev.(run.Queued); queued && after.State == run.Waiting {
		want := []run.Effect{run.Launch{Runner: after.Runner, Job: after.Job}}
		if after.Runner.IsZero() || !reflect.DeepEqual(effects, want) {
			h.t.Errorf("queued and waiting, it asks for %+v, want %+v", effects, want)
		}
	}
	if _, failed := ev.(run.Failed); failed {
		return // Told once, by the worker whose launch failed. What follows from it is asked for again when the job is queued.
	}
	again, effectsAgain := run.Decide(after, ev, h.now)
	if diff := cmp.Diff(after, again); diff != "" {
		h.t.Errorf("%T: handled twice, the record changes: %s", ev, diff)
	}
	if diff := cmp.Diff(effects, effectsAgain); diff != "" {
		h.t.Errorf("%T: handled twice, it asks for something else: %s", ev, diff)
	}
	twin, _ := run.Decide(after, renamed(ev), h.now)
	if diff := cmp.Diff(after, twin); diff != "" {
		h.t.Errorf("%T: told by another delivery, the record changes: %s", ev, diff)
	}
}

// renamed is ev as another delivery tells of it, such as that of a second hook or of the sweep.
func renamed(ev run.Event) run.Event {
	const other = "e-2"
	switch ev := ev.(type) {
	case run.Queued:
		ev.Event = other
		return ev
	case run.Held:
		ev.Event = other
		return ev
	case run.Started:
		ev.Event = other
		return ev
	case run.Finished:
		ev.Event = other
		return ev
	}
	return ev
}

// causeOf is what the notes of ev must name.
func causeOf(ev run.Event) string {
	switch ev := ev.(type) {
	case run.Queued:
		return ev.Event
	case run.Held:
		return ev.Event
	case run.Started:
		return ev.Event
	case run.Finished:
		return ev.Event
	case run.Replayed:
		return run.ByOperator
	}
	return ""
}

// tells checks that each change of the record is told once, but for a launch, of which the runner's record tells.
func (h *history) tells(ev run.Event, before, after run.Run) {
	changed := !cmp.Equal(before, after, withoutHistory)
	_, placed := ev.(run.Placed)
	last := len(after.History) - 1
	switch {
	case len(after.History) > 40:
		h.t.Errorf("%T: %d notes", ev, len(after.History))
	case !changed || placed:
		if !cmp.Equal(before.History, after.History) {
			h.t.Errorf("%T: nothing changed, yet it is told that %+v", ev, after.History[last])
		}
	case last < 0 || !after.History[last].At.Equal(h.now) || after.History[last].Text == "" || after.History[last].Event != causeOf(ev):
		h.t.Errorf("%T: the record changes from %+v to %+v and the history does not tell", ev, before, after)
	}
}

func emptyRefusal(ev run.Event) bool { f, ok := ev.(run.Failed); return ok && f.Reason == "" }

func TestWhateverHappensToARun(t *testing.T) {
	faultstest.Cover(t, "F03", "F04")
	rapid.Check(t, func(t *rapid.T) {
		h := &history{t: t, now: now}
		for _, ev := range rapid.SliceOfN(anEvent, 1, 40).Draw(t, "events") {
			h.now = h.now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "pause")) * time.Minute)
			h.happens(ev)
		}
	})
}

func TestWhateverHappensToARunner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, r := now, run.Runner{}
		for _, ev := range rapid.SliceOfN(aRunEvent, 1, 40).Draw(t, "events") {
			at = at.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "pause")) * time.Second)
			after, effects := run.DecideRunner(r, ev, at)
			if r.State == run.Ended && after.State != run.Ended {
				t.Errorf("%T: an ended runner became %q", ev, after.State)
			}
			if r.State == run.Busy && after.State != run.Busy && after.State != run.Ended {
				t.Errorf("%T: a busy runner became %q", ev, after.State)
			}
			again, effectsAgain := run.DecideRunner(after, ev, at)
			if diff := cmp.Diff(after, again); diff != "" {
				t.Errorf("%T: handled twice, the record changes: %s", ev, diff)
			}
			// The one that is created is waited for by whoever asks next.
			if _, wanted := ev.(run.Wanted); !wanted || r.State != run.Unknown && r.State != run.Launching {
				if diff := cmp.Diff(effects, effectsAgain); diff != "" {
					t.Errorf("%T: handled twice, it asks for something else: %s", ev, diff)
				}
			}
			r = after
		}
	})
}

func TestWhatIsNoEventIsAMistakeOfTheProgram(t *testing.T) {
	for name, decide := range map[string]func(){
		"Decide":       func() { run.Decide(run.Run{}, nil, now) },
		"DecideRunner": func() { run.DecideRunner(launched(), nil, now) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if said := recover(); said != "run: no such event: <nil>" {
					t.Errorf("panicked with %v", said)
				}
			}()
			decide()
		})
	}
}

func TestTheSpareRunnerIsUsedExactlyIfItsLabelsContainTheJobs(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "A", "b", "B", "c"})
	rapid.Check(t, func(t *rapid.T) {
		have, want := rapid.SliceOfN(label, 0, 4).Draw(t, "have"), rapid.SliceOfN(label, 0, 4).Draw(t, "want")
		contained := true
		for _, w := range want {
			contained = contained && strings.Contains(strings.ToLower(strings.Join(have, "")), strings.ToLower(w))
		}
		r := waiting(func(r *run.Run) { r.Job.Labels = want })
		after, _ := run.Decide(r, run.Lost{
			Runner: r.Runner, From: 2, Spare: run.Runner{Name: runner(2, 1), State: run.Launched, For: 2, Job: run.Job{Labels: have}},
		}, now)
		if used := after.Runner == runner(2, 1); used != contained {
			t.Errorf("used: %v, want %v", used, contained)
		}
	})
}

func TestARunnerIsCountedOnlyForJobsOfItsOwnValuesSpelledAsItsOwn(t *testing.T) {
	for name, test := range map[string]struct {
		have, want []string
		used       bool
	}{
		"the same value":                 {[]string{"modal", "cpu:4"}, []string{"modal", "cpu:4"}, true},
		"no value":                       {[]string{"modal", "cpu:4"}, []string{"modal"}, true},
		"another value":                  {[]string{"modal", "cpu:4"}, []string{"modal", "cpu:8"}, false},
		"a smaller value":                {[]string{"modal", "cpu:4"}, []string{"modal", "cpu:2"}, false},
		"the same value spelled anew":    {[]string{"modal", "cpu:4"}, []string{"modal", "cpu=4"}, false},
		"a value where there was none":   {[]string{"modal"}, []string{"modal", "cpu:4"}, false},
		"one value of the two there are": {[]string{"modal", "gpu:t4", "net:none"}, []string{"modal", "net:none"}, true},
	} {
		r := waiting(func(r *run.Run) { r.Job.Labels = test.want })
		after, _ := run.Decide(r, run.Lost{
			Runner: r.Runner, From: 2, Spare: run.Runner{Name: runner(2, 1), State: run.Launched, For: 2, Job: run.Job{Labels: test.have}},
		}, now)
		if used := after.Runner == runner(2, 1); used != test.used {
			t.Errorf("%s: used: %v, want %v", name, used, test.used)
		}
	}
}

func TestTheBackoffGrowsWithinItsBounds(t *testing.T) {
	const most = 1 - 1e-9
	rapid.Check(t, func(t *rapid.T) {
		failures, rnd := rapid.IntRange(-3, 1<<40).Draw(t, "failures"), rapid.Float64Range(0, most).Draw(t, "rnd")
		got, least, ceiling := run.Backoff(failures, rnd), run.Backoff(failures, 0), run.Backoff(failures, most)
		if got < least || got > ceiling || least != time.Second || ceiling > 5*time.Minute+time.Second {
			t.Errorf("got %v, between %v and %v", got, least, ceiling)
		}
		if failures >= 1 && run.Backoff(failures+1, most) < ceiling {
			t.Errorf("the ceiling falls from %v to %v", ceiling, run.Backoff(failures+1, most))
		}
	})
	for failures, want := range map[int]time.Duration{1: 2 * time.Second, 4: 9 * time.Second, 9: 257 * time.Second, 10: 301 * time.Second, 1000: 301 * time.Second} {
		if got := run.Backoff(failures, most).Round(time.Second); got != want {
			t.Errorf("after %d failures at most %v, want %v", failures, got, want)
		}
	}
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte("queued held started finished"))
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		h := &history{t: t, now: now}
		for _, ev := range rapid.SliceOf(anEvent).Draw(t, "events") {
			h.now = h.now.Add(rapid.Map(rapid.Int64Range(0, int64(2*time.Hour)), func(n int64) time.Duration { return time.Duration(n) }).Draw(t, "pause"))
			h.happens(ev)
		}
	}))
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	boom := errors.New("boom")
	limited := &run.LimitedError{Until: now, Err: boom}
	if limited.Error() != "boom" || !errors.Is(limited, boom) {
		t.Errorf("got %v", limited)
	}
	permanent := &run.PermanentError{Advice: "do this", Err: boom}
	if permanent.Error() != "boom; do this" || !errors.Is(permanent, boom) {
		t.Errorf("got %v", permanent)
	}
}

func TestASandboxIsLookedAtAfterItHasEndedItself(t *testing.T) {
	for _, idle := range []time.Duration{30 * time.Second, time.Hour} {
		if p := (run.Pool{IdleLimit: idle}); p.StartLimit() <= p.IdleLimit {
			t.Errorf("looked at after %v, but it may wait for %v", p.StartLimit(), p.IdleLimit)
		}
	}
}
