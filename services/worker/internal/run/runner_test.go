package run_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/run"
)

// decidedRunner is one row: what becomes of a Runner, and what is asked for.
type decidedRunner struct {
	name    string
	before  run.Runner
	event   run.RunnerEvent
	after   run.Runner
	effects []run.Effect
}

func checkDecideRunner(t *testing.T, tests []decidedRunner) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after, effects := run.DecideRunner(tt.before, tt.event, now)
			if diff := cmp.Diff(tt.after, after); diff != "" {
				t.Errorf("record: %s", diff)
			}
			if diff := cmp.Diff(tt.effects, effects); diff != "" {
				t.Errorf("effects: %s", diff)
			}
		})
	}
}

// busyWith makes a runner have taken a job.
func busyWith(job int64) func(*run.Runner) {
	return func(r *run.Runner) { r.State, r.Took = run.Busy, job }
}

func unasked(r *run.Runner) { r.Unasked = true }

func ended(r *run.Runner) { r.State, r.EndedAt, r.Reason = run.Ended, ago(time.Second), "over" }

func TestAWantedRunnerLivesOrTheJobIsTold(t *testing.T) {
	wanted := run.Wanted{Name: runner(1, 1), Job: job(1), Scope: "octo/repo"}
	lose := func(reason string) []run.Effect {
		return []run.Effect{run.Lose{Job: 1, Runner: runner(1, 1), From: 1, Reason: reason, Blameless: !strings.HasPrefix(reason, "it ended")}}
	}
	old := func(r *run.Runner) { r.LaunchedAt = ago(run.LookAfter) }
	confirm := run.Confirm{Job: 1, Runner: runner(1, 1)}
	checkDecideRunner(t, []decidedRunner{
		{"one of which nothing is known is created", run.Runner{}, wanted, launching(), []run.Effect{confirm, run.Create{Runner: launching(unasked)}}},
		{"one that somebody creates is waited for", launching(), wanted, launching(), []run.Effect{confirm, run.Later{At: in(run.LaunchTimeout)}}},
		{
			"one whose creation took too long is created anew", launching(func(r *run.Runner) { r.Until, r.Reason = now, "slow" }), wanted,
			launching(func(r *run.Runner) { r.Reason = "slow" }),
			[]run.Effect{confirm, run.Create{Runner: launching(func(r *run.Runner) { r.Reason = "slow" })}},
		},
		{
			"one of which nothing was asked for is on record as if it were, before anything is",
			launching(unasked, func(r *run.Runner) { r.Until = now }), wanted,
			launching(),
			[]run.Effect{confirm, run.Create{Runner: launching(unasked)}},
		},
		{"one that was launched is looked at in time", launched(), wanted, launched(), []run.Effect{confirm, run.Later{At: in(run.LookAfter - 30*time.Second)}}},
		{"one that has waited long is looked at now", launched(old), wanted, launched(old), []run.Effect{confirm, run.Inspect{Runner: launched(old)}}},
		{"one that is busy with the job is all right", launched(busyWith(1)), wanted, launched(busyWith(1)), nil},
		{"one that is busy with another job is lost", launched(busyWith(2)), wanted, launched(busyWith(2)), lose("it took job 2")},
		{
			"one that has ended is lost, once what is left of it has ended too", launched(ended), wanted, launched(ended),
			append([]run.Effect{run.End{Runner: launched(ended)}}, lose("it ended: over")...),
		},
		{
			"one that was never begun is lost",
			run.Runner{Name: runner(1, 1), State: run.Ended, Reason: "not needed"},
			wanted,
			run.Runner{Name: runner(1, 1), State: run.Ended, Reason: "not needed"},
			[]run.Effect{run.Lose{Job: 1, Runner: runner(1, 1), Reason: "it ended: not needed", Blameless: true}},
		},
	})
}

func TestALaunchIsRecordedStepByStep(t *testing.T) {
	registered := func(r *run.Runner) { r.GitHubID = 77 }
	created := run.Created{GitHubID: 77, SandboxID: "sb-1"}
	fresh := func(r *run.Runner) { r.LaunchedAt = now }
	over := func(r *run.Runner) { r.JobOver = true }
	checkDecideRunner(t, []decidedRunner{
		{"GitHub's id is kept", launching(), run.Registered{GitHubID: 77}, launching(registered), nil},
		{
			"that there was another is kept", launching(registered),
			run.Registered{Replaced: true},
			launching(func(r *run.Runner) { r.Replaced = true }), nil,
		},
		{"of one that was never used nothing is kept", launching(registered), run.Registered{}, launching(), nil},
		{"nor of one that is not on record", launching(), run.Registered{Replaced: true}, launching(), nil},
		{"an id that comes after the launch is of no matter", launched(), run.Registered{GitHubID: 78}, launched(), nil},
		{"the sandbox makes it launched", launching(registered, func(r *run.Runner) { r.Reason = "slow" }), created, launched(fresh), nil},
		{"a sandbox that was adopted does not undo GitHub's id", launching(registered), run.Created{SandboxID: "sb-1"}, launched(fresh), nil},
		{
			"one that has been there for long is as old as it is", launching(registered),
			run.Created{SandboxID: "sb-1", At: now.Add(-time.Hour)},
			launched(func(r *run.Runner) { r.LaunchedAt = now.Add(-time.Hour) }), nil,
		},
		{
			"a runner that took its job before its sandbox was recorded stays busy", launching(busyWith(1)), created,
			launching(busyWith(1), func(r *run.Runner) { r.SandboxID, r.LaunchedAt, r.GitHubID = "sb-1", now, 77 }), nil,
		},
		{
			"the sandbox of one that nobody needs any more goes again", launching(func(r *run.Runner) { r.For = 0 }), created,
			launched(fresh, func(r *run.Runner) { r.For = 0 }),
			[]run.Effect{run.Dismiss{Runner: launched(fresh, func(r *run.Runner) { r.For = 0 })}},
		},
		{"a sandbox that is told twice is one", launched(), run.Created{GitHubID: 1, SandboxID: "sb-2"}, launched(), nil},
		{
			"a sandbox of a runner that has ended is ended", launched(ended),
			run.Created{SandboxID: "sb-2"},
			launched(ended, func(r *run.Runner) { r.SandboxID = "sb-2" }),
			[]run.Effect{run.End{Runner: launched(ended, func(r *run.Runner) { r.SandboxID = "sb-2" })}},
		},
		{
			"and is as old as it is", launched(ended),
			run.Created{SandboxID: "sb-2", At: now.Add(-time.Hour)},
			launched(ended, func(r *run.Runner) { r.SandboxID, r.LaunchedAt = "sb-2", now.Add(-time.Hour) }),
			[]run.Effect{run.End{Runner: launched(ended, func(r *run.Runner) { r.SandboxID, r.LaunchedAt = "sb-2", now.Add(-time.Hour) })}},
		},
		{
			"that the job of one that has ended was over is not known of another sandbox", launched(ended, over),
			run.Created{SandboxID: "sb-2"},
			launched(ended, func(r *run.Runner) { r.SandboxID = "sb-2" }),
			[]run.Effect{run.End{Runner: launched(ended, func(r *run.Runner) { r.SandboxID = "sb-2" })}},
		},
		{
			"but of its own it is", launched(ended, over),
			run.Created{SandboxID: "sb-1"},
			launched(ended, over),
			[]run.Effect{run.End{Runner: launched(ended, over)}},
		},
		{
			"and of the first that it tells of", launched(ended, over, func(r *run.Runner) { r.SandboxID = "" }),
			run.Created{SandboxID: "sb-1"},
			launched(ended, over),
			[]run.Effect{run.End{Runner: launched(ended, over)}},
		},
		{
			"a launch that was given up can be taken over at once", launching(),
			run.GivenUp{Reason: "boom"},
			launching(func(r *run.Runner) { r.Until, r.Reason = now, "boom" }), nil,
		},
		{
			"one in which nothing was asked for leaves nothing to remove", launching(),
			run.GivenUp{Until: launching().Until, Reason: "no room", Unasked: true},
			launching(func(r *run.Runner) { r.Until, r.Reason, r.Unasked = now, "no room", true }), nil,
		},
		{
			"but who says so late knows nothing of the launch of who took it over", launching(),
			run.GivenUp{Until: launching().Until.Add(-time.Minute), Reason: "no room", Unasked: true},
			launching(func(r *run.Runner) { r.Until, r.Reason = now, "no room" }), nil,
		},
		{"who gives up after another succeeded changes nothing", launched(), run.GivenUp{Reason: "boom"}, launched(), nil},
	})
}

// A ledger that was restored from a backup may say that nothing was asked for, though it was since.
func TestWhatIsThereWasAskedForWhateverTheRecordSays(t *testing.T) {
	fresh := func(r *run.Runner) { r.LaunchedAt = now }
	checkDecideRunner(t, []decidedRunner{
		{"a sandbox", launching(unasked), run.Created{GitHubID: 77, SandboxID: "sb-1"}, launched(fresh), nil},
		{
			"a sandbox of a runner that has ended", launched(ended, unasked),
			run.Created{SandboxID: "sb-1"},
			launched(ended),
			[]run.Effect{run.End{Runner: launched(ended)}},
		},
		{"a runner that has a job", launching(unasked), run.Taken{Name: runner(1, 1), By: 1}, launching(busyWith(1)), nil},
	})
}

func TestARunnerThatTookAJobTellsTheOneThatCountedOnIt(t *testing.T) {
	registered := func(r *run.Runner) { r.GitHubID = 77 }
	checkDecideRunner(t, []decidedRunner{
		{"its own job took it", launched(), run.Taken{Name: runner(1, 1), By: 1}, launched(busyWith(1)), nil},
		{
			"its own job took it and had counted on another by mistake", launched(),
			run.Taken{Name: runner(1, 1), By: 1, Spare: runner(3, 1)},
			launched(busyWith(1)),
			[]run.Effect{run.Release{Runner: runner(3, 1), From: 1}},
		},
		{
			"another job took it and offers what it had counted on", launched(),
			run.Taken{Name: runner(1, 1), By: 2, Spare: runner(2, 1)},
			launched(busyWith(2)),
			[]run.Effect{run.Lose{Job: 1, Runner: runner(1, 1), Spare: runner(2, 1), From: 2, Reason: "it took job 2", Blameless: true}},
		},
		{
			"another job took it and had counted on none", launched(),
			run.Taken{Name: runner(1, 1), By: 2},
			launched(busyWith(2)),
			[]run.Effect{run.Lose{Job: 1, Runner: runner(1, 1), From: 2, Reason: "it took job 2", Blameless: true}},
		},
		{
			"a spare one was taken", launched(func(r *run.Runner) { r.For = 0 }),
			run.Taken{Name: runner(1, 1), By: 2, Spare: runner(2, 1)},
			launched(func(r *run.Runner) { r.For = 0 }, busyWith(2)),
			[]run.Effect{run.Release{Runner: runner(2, 1), From: 2}},
		},
		{
			"one that is not on record is told by its name",
			run.Runner{},
			run.Taken{Name: runner(1, 1), By: 2},
			run.Runner{Name: runner(1, 1), State: run.Busy, For: 1, Took: 2},
			[]run.Effect{run.Lose{Job: 1, Runner: runner(1, 1), From: 2, Reason: "it took job 2", Blameless: true}},
		},
		{
			"one that is not on record is known by its registration from then on",
			run.Runner{},
			run.Taken{Name: runner(1, 1), GitHubID: 76, By: 1},
			run.Runner{Name: runner(1, 1), State: run.Busy, For: 1, Took: 1, GitHubID: 76},
			nil,
		},
		{"the very one on record took it", launched(), run.Taken{Name: runner(1, 1), GitHubID: 77, By: 1}, launched(registered, busyWith(1)), nil},
		{
			"another of its name took the job, which needs this one no longer", launched(),
			run.Taken{Name: runner(1, 1), GitHubID: 76, By: 1},
			launched(),
			[]run.Effect{run.Release{Runner: runner(1, 1), From: 1}},
		},
		{
			"another of its name took the job, which needs what it had counted on no longer", launched(),
			run.Taken{Name: runner(1, 1), GitHubID: 76, By: 2, Spare: runner(2, 1)},
			launched(),
			[]run.Effect{run.Release{Runner: runner(1, 1), From: 2}, run.Release{Runner: runner(2, 1), From: 2}},
		},
		{
			"one that has ended stays so", launched(ended),
			run.Taken{Name: runner(1, 1), By: 1},
			launched(ended, func(r *run.Runner) { r.Took = 1 }), nil,
		},
	})
}

func TestARunnerIsCountedForOneJob(t *testing.T) {
	for2 := func(r *run.Runner) { r.For = 2 }
	counted := run.Counted{For: 2, From: 1}
	lose := func(reason string) []run.Effect {
		return []run.Effect{run.Lose{Job: 2, Runner: runner(1, 1), From: 1, Reason: reason, Blameless: !strings.HasPrefix(reason, "it ended")}}
	}
	confirm := []run.Effect{run.Confirm{Job: 2, Runner: runner(1, 1)}}
	free := func(r *run.Runner) { r.For, r.SpareSince = 0, now }
	longFree := func(r *run.Runner) { r.For, r.SpareSince = 0, ago(run.SpareTime) }
	late := func(r *run.Runner) { r.Until = now }
	neverNeeded := func(r *run.Runner) {
		r.State, r.EndedAt, r.Until, r.Reason = run.Ended, now, time.Time{}, "not needed before its launch had ended"
	}
	checkDecideRunner(t, []decidedRunner{
		{"it goes from one to the other", launched(), counted, launched(for2), confirm},
		{"so does one that is being launched", launching(), counted, launching(for2), []run.Effect{run.Confirm{Job: 2, Runner: runner(1, 1), Launching: true}}},
		{"asked again, it counts already", launched(for2), counted, launched(for2), confirm},
		{
			"a spare one that a job is led to counts for it", launched(free),
			run.Wanted{Name: runner(1, 1), Job: job(2)},
			launched(for2),
			append(confirm, run.Later{At: launched().LaunchedAt.Add(time.Minute)}),
		},
		{
			"one that counts for another is lost to a job that is led to it", launched(),
			run.Wanted{Name: runner(1, 1), Job: job(2)},
			launched(),
			lose("it is not counted for this job any more"),
		},
		{"it counts for a third", launched(func(r *run.Runner) { r.For = 3 }), counted, launched(func(r *run.Runner) { r.For = 3 }), lose("it is not counted for this job any more")},
		{"it is busy with the very job", launched(busyWith(2)), counted, launched(busyWith(2)), nil},
		{"it is busy with another", launched(busyWith(3)), counted, launched(busyWith(3)), lose("it took job 3")},
		{"it has ended", launched(ended), counted, launched(ended), lose("it ended: over")},
		{
			"it is released by the one that counted on it, and may be given another job for a while",
			launched(),
			run.Released{Name: runner(1, 1), From: 1},
			launched(free),
			[]run.Effect{run.Later{At: in(run.SpareTime)}},
		},
		{
			"it was released a while ago, and goes", launched(longFree),
			run.Released{Name: runner(1, 1), From: 1},
			launched(longFree),
			[]run.Effect{run.Dismiss{Runner: launched(longFree)}},
		},
		{
			"it is released while it is launched, and looked at when the launch must have ended",
			launching(),
			run.Released{Name: runner(1, 1), From: 1},
			launching(free),
			[]run.Effect{run.Later{At: launching().Until}},
		},
		{
			"it is released and whoever launched it has died",
			launching(late),
			run.Released{Name: runner(1, 1), From: 1},
			launching(late, free, neverNeeded),
			[]run.Effect{run.End{Runner: launching(late, free, neverNeeded)}},
		},
		{
			"it is released before it was begun, and never is",
			run.Runner{},
			run.Released{Name: runner(1, 1), From: 1},
			run.Runner{Name: runner(1, 1), State: run.Ended, EndedAt: now, Reason: "not needed before it was launched"},
			nil,
		},
		{
			"it was released and ended, and what is left of it is ended again", launched(ended, func(r *run.Runner) { r.For = 0 }),
			run.Released{Name: runner(1, 1), From: 1},
			launched(ended, func(r *run.Runner) { r.For = 0 }),
			[]run.Effect{run.End{Runner: launched(ended, func(r *run.Runner) { r.For = 0 })}},
		},
		{"one of which nothing is recorded was counted for somebody else", run.Runner{}, run.Released{Name: runner(1, 1), From: 2}, run.Runner{}, nil},
		{"it is not released by another", launched(for2), run.Released{From: 1}, launched(for2), nil},
		{"one that is busy keeps whom it was for", launched(busyWith(2)), run.Released{From: 1}, launched(busyWith(2)), nil},
		{"one that has ended keeps whom it was for", launched(ended), run.Released{From: 1}, launched(ended), nil},
	})
}

func TestARunnerThatIsGoneEnds(t *testing.T) {
	over := func(r *run.Runner) { r.State, r.EndedAt, r.Reason, r.Until = run.Ended, now, "idle", time.Time{} }
	unknown := func(r *run.Runner) { r.GitHubID = 0 }
	jobOver := func(r *run.Runner) { r.JobOver = true }
	lose := func(reason string) run.Lose {
		return run.Lose{Job: 1, Runner: runner(1, 1), From: 1, Reason: reason, Blameless: !strings.HasPrefix(reason, "it ended")}
	}
	checkDecideRunner(t, []decidedRunner{
		{"what is left of it is ended", launched(), run.Gone{Reason: "idle"}, launched(over), []run.Effect{run.End{Runner: launched(over)}, lose("it ended: idle")}},
		{
			"one that had a job tells nobody", launched(busyWith(1)),
			run.Gone{Reason: "idle"},
			launched(busyWith(1), over),
			[]run.Effect{run.End{Runner: launched(busyWith(1), over)}},
		},
		{
			"one whose job is over needs no look", launched(busyWith(1)),
			run.Gone{Reason: "idle", JobOver: true, GitHubID: 77},
			launched(busyWith(1), over, jobOver),
			[]run.Effect{run.End{Runner: launched(busyWith(1), over, jobOver)}},
		},
		{
			"one that may be another than the one whose job is over does", launched(busyWith(1), unknown),
			run.Gone{Reason: "idle", JobOver: true, GitHubID: 77},
			launched(busyWith(1), unknown, over),
			[]run.Effect{run.End{Runner: launched(busyWith(1), unknown, over)}},
		},
		{
			"one that surely is another goes on", launched(busyWith(1)),
			run.Gone{Reason: "idle", JobOver: true, GitHubID: 76},
			launched(busyWith(1)), nil,
		},
		{"so is what is left of a launch", launching(), run.Gone{Reason: "idle"}, launching(over), []run.Effect{run.End{Runner: launching(over)}, lose("it ended: idle")}},
		{
			"asked again, what is left is ended again, for the first reason", launched(ended),
			run.Gone{Reason: "idle"},
			launched(ended),
			[]run.Effect{run.End{Runner: launched(ended)}, lose("it ended: over")},
		},
	})
}

func TestARunnerThatShouldHaveAJobByNowIsLookedAt(t *testing.T) {
	spare := func(r *run.Runner) { r.For = 0 }
	checkDecideRunner(t, []decidedRunner{
		{"one that a job counts on", launched(), run.Overdue{}, launched(), []run.Effect{run.Inspect{Runner: launched()}}},
		{"not a spare one, which goes by itself", launched(spare), run.Overdue{}, launched(spare), nil},
		{"nor one that has a job", launched(busyWith(2)), run.Overdue{}, launched(busyWith(2)), nil},
		{"nor one that is yet to be launched", launching(), run.Overdue{}, launching(), nil},
	})
}

// Whatever was under way when the ledger was restored from a backup says nothing of a runner that was forgotten.
func TestARunnerThatWasForgottenIsForgotten(t *testing.T) {
	var tests []decidedRunner
	for name, ev := range map[string]run.RunnerEvent{
		"registered": run.Registered{GitHubID: 77}, "created": run.Created{GitHubID: 77, SandboxID: "sb-1"}, "given up": run.GivenUp{Reason: "boom"},
		"counted": run.Counted{For: 2, From: 1}, "occupied": run.Occupied{}, "gone": run.Gone{Reason: "idle", JobOver: true},
	} {
		tests = append(tests, decidedRunner{name, run.Runner{}, ev, run.Runner{}, nil})
	}
	checkDecideRunner(t, tests)
}

func TestARunnerThatWasForgottenAndFoundIsASpareOne(t *testing.T) {
	found := run.Found{Name: runner(1, 1), Job: job(1), Scope: "octo/repo", Price: 0.5, SandboxID: "sb-1", CreatedAt: ago(time.Hour)}
	spare := func(since time.Time) run.Runner {
		return run.Runner{
			Name: runner(1, 1), State: run.Launched, Job: job(1), Scope: "octo/repo", Price: 0.5, SandboxID: "sb-1", LaunchedAt: ago(time.Hour),
			SpareSince: since,
		}
	}
	checkDecideRunner(t, []decidedRunner{
		{"it may be given a job for a while", run.Runner{}, found, spare(now), []run.Effect{run.Later{At: in(run.SpareTime)}}},
		{"found again, it goes", spare(ago(run.SpareTime)), found, spare(ago(run.SpareTime)), []run.Effect{run.Dismiss{Runner: spare(ago(run.SpareTime))}}},
		{"one that was on record after all is as it was", launched(), found, launched(), nil},
	})
}
