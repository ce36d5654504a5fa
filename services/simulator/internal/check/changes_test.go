package check_test

import (
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/check"
	"modal-github-runner/services/simulator/internal/world"
)

// What only two looks can show.
func TestChangesThatMustNotBeAreSeen(t *testing.T) {
	t.Parallel()
	orphan := []world.Runner{{Name: name}}
	tests := []struct {
		name          string
		first, second func(*check.World)
		accepted      bool
		want          string
	}{
		{"nothing changes", func(*check.World) {}, func(*check.World) {}, true, ""},
		{"an accepted job is neither on record nor in the queue", forgotten, forgotten, true, "I1"},
		{"an accepted job is in the queue", queuedOnly, func(*check.World) {}, true, ""},
		{"an accepted job was on record", func(*check.World) {}, forgotten, true, "I1"},
		{"a job that nobody accepted is not on record", forgotten, forgotten, false, ""},
		{
			"a registration stays without its sandbox",
			func(w *check.World) { w.Runners = orphan }, func(w *check.World) { w.Runners = orphan }, false, "I6",
		},
		{
			"a registration waits for its sandbox while a job waits for it",
			noRoomFor("acme/app", "modal"), noRoomFor("acme/app", "modal"), false, "",
		},
		{"none of the jobs that wait may have it", noRoomFor("acme/lib", "modal"), noRoomFor("acme/lib", "modal"), false, "I6"},
		{"none of the jobs that wait fits it", noRoomFor("acme/app", "large"), noRoomFor("acme/app", "large"), false, "I6"},
		{"a registration is gone with the next look", func(w *check.World) { w.Runners = orphan }, func(*check.World) {}, false, ""},
		{
			"a record comes back from its end",
			func(*check.World) {}, func(w *check.World) { w.Stored.Runs[job] = record("waiting", "") }, false, "I8",
		},
		{"GitHub is called ever faster", func(*check.World) {}, func(w *check.World) { w.Calls = 10_000 }, false, "I9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newChecker()
			if test.accepted {
				c.Accepted(job, began)
			}
			w := sane()
			test.first(&w)
			c.Look(w)
			w = sane()
			w.At, w.Stored.At = w.At.Add(6*time.Minute), w.At.Add(6*time.Minute)
			test.second(&w)
			c.Look(w)
			expect(t, c, test.want)
		})
	}
}

// noRoomFor has a job wait, and a runner registered whose sandbox there was no room for: its own job ran elsewhere.
func noRoomFor(repo, label string) func(*check.World) {
	return func(w *check.World) {
		w.Jobs = append(w.Jobs, world.Job{ID: 56, Repo: repo, Labels: []string{"self-hosted", label}, Status: world.Queued, QueuedAt: w.At})
		w.Runners = []world.Runner{{
			Name: second, Scope: world.Scope{Owner: "acme", Repo: "app"}, Labels: []string{"self-hosted", "modal"},
		}}
	}
}

func forgotten(w *check.World) { w.Stored.Runs = map[int64]check.Record{} }

func queuedOnly(w *check.World) {
	forgotten(w)
	w.Stored.Queued[job] = true
}

func TestAnOutageMovesTheDeadlinesThatFallIntoIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		outage check.Interval
		want   string
	}{
		{"one that lasts beyond the deadline", check.Interval{From: after(6 * time.Minute), To: after(20 * time.Minute)}, ""},
		{"one that ended long before", check.Interval{From: after(0), To: after(time.Minute)}, "I5"},
		{"one that began after the deadline", check.Interval{From: after(9 * time.Minute), To: after(20 * time.Minute)}, "I5"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := sane()
			w.Sandboxes[0].EndedAt = after(21 * time.Minute)
			c := newChecker()
			c.Outage(test.outage)
			c.Look(w)
			expect(t, c, test.want)
		})
	}
}

func TestCallsAreCountedOverAMinuteHoweverOftenTheWorldIsLookedAt(t *testing.T) {
	t.Parallel()
	for calls, want := range map[int]string{limits.CallsPerMinute: "", limits.CallsPerMinute + 6: "I9"} {
		c := newChecker()
		for n := range 7 {
			w := sane()
			w.At, w.Calls = w.At.Add(time.Duration(n)*10*time.Second), n*calls/6
			c.Look(w)
		}
		expect(t, c, want)
	}
}

func TestForgettingTheQueueForgetsWhatWasOnlyThere(t *testing.T) {
	t.Parallel()
	c := newChecker()
	c.Accepted(job, began)
	w := sane()
	queuedOnly(&w)
	c.Look(w)
	c.Forget()
	forgotten(&w)
	c.Look(w)
	expect(t, c, "")
}
