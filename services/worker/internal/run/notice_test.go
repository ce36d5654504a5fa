package run_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/run"
)

// inState is the record of a job about whose author so much is known.
func inState(s run.State, reason string, n run.Notice) run.Run {
	return run.Run{Job: job(1), State: s, Reason: reason, Notice: n}
}

func TestWhatTheAuthorOfAJobIsTold(t *testing.T) {
	tell := func(reason string, tries int) (run.Notice, []run.Effect) {
		until := in(run.NoticeTime << tries)
		return run.Notice{Tries: tries + 1, Until: until}, []run.Effect{run.Tell{Job: job(1), Reason: reason, Until: until}}
	}
	first, given := tell("boom", 0)
	fourth, again := tell("boom", 3)
	back, taken := tell("", 0)
	back.Said = "boom"
	changed, anew := tell("bang", 0)
	changed.Said = "boom"
	moot, ran := tell("", 1)
	moot.Moot = true
	tests := []struct {
		name    string
		before  run.Run
		event   run.Event
		after   run.Notice
		effects []run.Effect
	}{
		{"that it was given up", inState(run.Dead, "boom", run.Notice{}), run.Failed{}, first, given},
		{"nothing more once that was said", inState(run.Dead, "boom", run.Notice{Said: "boom"}), run.Queued{}, run.Notice{Said: "boom"}, nil},
		{
			"nothing while a worker may be telling it, which is looked at later",
			inState(run.Dead, "boom", run.Notice{Tries: 1, Until: in(time.Second)}),
			run.Queued{},
			run.Notice{Tries: 1, Until: in(time.Second)},
			[]run.Effect{run.Later{At: in(time.Second)}},
		},
		{"the same once more if nobody knows whether it was said", inState(run.Dead, "boom", run.Notice{Tries: 3, Until: now}), run.Queued{}, fourth, again},
		{"nothing after the last try", inState(run.Dead, "boom", run.Notice{Tries: 12, Until: now}), run.Queued{}, run.Notice{Tries: 12, Until: now}, nil},
		{"nothing of a job that waits once more", inState(run.Waiting, "", run.Notice{Said: "boom"}), run.Replayed{}, run.Notice{Said: "boom"}, nil},
		{"that a runner took it after all", inState(run.Running, "", run.Notice{Said: "boom"}), run.Started{}, back, taken},
		{"that a runner took it after all, if only its end is heard of", inState(run.Done, "", run.Notice{Said: "boom"}), run.Finished{}, back, taken},
		{"a new reason for a job that was given up again", inState(run.Dead, "bang", run.Notice{Said: "boom"}), run.Failed{}, changed, anew},
		{"nothing of a job that was never given up", inState(run.Done, "", run.Notice{}), run.Finished{}, run.Notice{}, nil},
		{
			"that a runner took it although it was given up, also if it is not known whether that was said",
			inState(run.Dead, "boom", run.Notice{Tries: 1, Until: now}),
			run.Started{},
			moot,
			ran,
		},
		{
			"nothing more of that",
			inState(run.Dead, "boom", run.Notice{Moot: true}),
			run.Queued{},
			run.Notice{Moot: true},
			nil,
		},
		{
			"nothing of a job that was given up while its runner took it",
			inState(run.Dead, "boom", run.Notice{}),
			run.Finished{Runner: runner(2, 1)},
			run.Notice{Moot: true},
			nil,
		},
		{"that it was given up, though GitHub has cancelled it", inState(run.Dead, "boom", run.Notice{}), run.Finished{}, first, given},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after, effects := run.Inform(tt.before, tt.event, now)
			want := tt.before
			want.Notice = tt.after
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("record: %s", diff)
			}
			if diff := cmp.Diff(tt.effects, effects); diff != "" {
				t.Errorf("effects: %s", diff)
			}
		})
	}
}

// However often it fails, an author is told for some hours and no longer, and nobody else tries while a worker may be at it.
func TestTellingAnAuthorIsTriedForHoursAndThenNoMore(t *testing.T) {
	r, at, tries := inState(run.Dead, "boom", run.Notice{}), now, 0
	for range 100 {
		after, effects := run.Inform(r, run.Queued{}, at)
		if len(effects) == 0 {
			break
		}
		tell, ok := effects[0].(run.Tell)
		if !ok || tell.Until.Sub(at) < run.NoticeTime {
			t.Fatalf("at %v it asks for %+v", at, effects)
		}
		r, at, tries = after, tell.Until, tries+1
	}
	if took := at.Sub(now); tries < 8 || took < 6*time.Hour || took > 12*time.Hour {
		t.Errorf("%d tries in %v", tries, took)
	}
}

func TestTheOutcomeOfTellingIsOnRecord(t *testing.T) {
	r, _ := run.Inform(inState(run.Dead, "boom", run.Notice{}), run.Queued{}, now)
	if got := r.Informed("boom").Notice; got != (run.Notice{Said: "boom"}) {
		t.Errorf("once told: %+v", got)
	}
	if after, effects := run.Inform(r.Uninformable(), run.Queued{}, in(48*time.Hour)); len(effects) != 0 {
		t.Errorf("once refused, it asks for %+v: %+v", effects, after.Notice)
	}
}
