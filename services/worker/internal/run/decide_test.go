package run_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"modal-github-runner/services/worker/internal/run"
)

// decided is one row: what becomes of a Run, and what is asked for.
type decided struct {
	name    string
	before  run.Run
	event   run.Event
	after   run.Run
	effects []run.Effect
}

// withoutHistory compares what the rules go by. What the history tells: TestTheHistoryTellsWhatBecameOfTheJob.
var withoutHistory = cmpopts.IgnoreFields(run.Run{}, "History")

func checkDecide(t *testing.T, tests []decided) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after, effects := run.Decide(tt.before, tt.event, now)
			if diff := cmp.Diff(tt.after, after, withoutHistory); diff != "" {
				t.Errorf("record: %s", diff)
			}
			if diff := cmp.Diff(tt.effects, effects); diff != "" {
				t.Errorf("effects: %s", diff)
			}
		})
	}
}

func TestAQueuedJobWaitsOnARunner(t *testing.T) {
	queued := run.Queued{Job: job(1), At: ago(time.Second)}
	launch := []run.Effect{run.Launch{Runner: runner(1, 1), Job: job(1)}}
	checkDecide(t, []decided{
		{
			"a new job waits on its first runner",
			run.Run{},
			queued,
			run.Run{Job: job(1), State: run.Waiting, Runner: runner(1, 1), Attempts: 1, QueuedAt: ago(time.Second), LastQueuedAt: ago(time.Second)},
			launch,
		},
		{
			"a job that was held waits from now on",
			run.Run{Job: job(1), State: run.OnHold, HeldAt: ago(time.Hour)},
			queued,
			run.Run{
				Job: job(1), State: run.Waiting, Runner: runner(1, 1), Attempts: 1, HeldAt: ago(time.Hour), QueuedAt: ago(time.Second), LastQueuedAt: ago(time.Second),
			},
			launch,
		},
		{
			"a job that was held after a runner was launched keeps that runner",
			waiting(func(r *run.Run) { r.State, r.HeldAt = run.OnHold, ago(time.Minute) }), queued,
			waiting(func(r *run.Run) {
				r.HeldAt, r.QueuedAt, r.LastQueuedAt = ago(time.Minute), ago(time.Second), ago(time.Second)
			}), launch,
		},
		{
			"a job that waits asks for its runner again", waiting(), run.Queued{Job: job(1), At: ago(time.Minute)}, waiting(), launch,
		},
		{
			"a job whose labels ask for another pool now is launched there", waiting(),
			run.Queued{Job: run.Job{ID: 1, Pool: "new"}, At: ago(time.Minute)},
			waiting(func(r *run.Run) { r.Job.Pool = "new" }),
			[]run.Effect{run.Launch{Runner: runner(1, 1), Job: waiting(func(r *run.Run) { r.Job.Pool = "new" }).Job}},
		},
		{
			"a newer queueing is remembered, the begin of the wait stays", waiting(), queued,
			waiting(func(r *run.Run) { r.LastQueuedAt = ago(time.Second) }), launch,
		},
		{
			"an older queueing changes nothing", waiting(), run.Queued{Job: job(1), At: ago(time.Hour)}, waiting(), launch,
		},
		{
			"what is on record of a job is not replaced", waiting(), run.Queued{Job: job(1, "gpu"), At: ago(time.Minute)}, waiting(), launch,
		},
		{
			"a job that lost its runner gets the next one", waiting(func(r *run.Run) { r.Runner = run.Name{} }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(func(r *run.Run) { r.Runner, r.Attempts = runner(1, 2), 2 }),
			[]run.Effect{run.Launch{Runner: runner(1, 2), Job: job(1)}},
		},
		{
			"the last attempt is made", waiting(func(r *run.Run) { r.Runner, r.Attempts = run.Name{}, run.MaxAttempts-1 }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(func(r *run.Run) { r.Runner, r.Attempts = runner(1, run.MaxAttempts), run.MaxAttempts }),
			[]run.Effect{run.Launch{Runner: runner(1, run.MaxAttempts), Job: job(1)}},
		},
		{
			"a job whose runners all took nothing is given up",
			waiting(func(r *run.Run) { r.Runner, r.Attempts, r.Reason = run.Name{}, run.MaxAttempts, "it fell over" }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(func(r *run.Run) {
				r.Runner, r.Attempts, r.State = run.Name{}, run.MaxAttempts, run.Dead
				r.Reason = "10 runners were launched for it and none took a job; the last one: it fell over"
			}),
			[]run.Effect{run.Bury{Job: job(1), Reason: "10 runners were launched for it and none took a job; the last one: it fell over"}},
		},
		{
			"a job that counts on its last runner is not given up yet", waiting(func(r *run.Run) { r.Runner, r.Attempts = runner(1, run.MaxAttempts), run.MaxAttempts }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(func(r *run.Run) { r.Runner, r.Attempts = runner(1, run.MaxAttempts), run.MaxAttempts }),
			[]run.Effect{run.Launch{Runner: runner(1, run.MaxAttempts), Job: job(1)}},
		},
		{
			"a job that GitHub has cancelled by now is given up, and its runner is free",
			waiting(func(r *run.Run) { r.QueuedAt = ago(run.GiveUpAfter) }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(func(r *run.Run) {
				r.QueuedAt, r.State = ago(run.GiveUpAfter), run.Dead
				r.Reason = "no runner could be launched within 24h0m0s, after which GitHub cancels a queued job; the last obstacle was: not known"
			}),
			[]run.Effect{
				run.Bury{Job: job(1), Reason: "no runner could be launched within 24h0m0s, after which GitHub cancels a queued job; the last obstacle was: not known"},
				run.Release{Runner: runner(1, 1), From: 1},
			},
		},
		{
			"a job is tried until the last moment", waiting(func(r *run.Run) { r.QueuedAt = ago(run.GiveUpAfter - 1) }),
			run.Queued{Job: job(1), At: ago(time.Minute)},
			waiting(func(r *run.Run) { r.QueuedAt = ago(run.GiveUpAfter - 1) }), launch,
		},
		{"a job that runs wants nothing, but what its launch left behind is looked at", running(), queued, running(), []run.Effect{run.Take{Runner: runner(1, 1), By: 1}}},
		{"a job that is done wants nothing either", done(), queued, done(), []run.Effect{run.Take{Runner: runner(1, 1), By: 1}}},
		{
			"a job that was given up is buried and its runner freed again, in case they were not",
			waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "no room" }), queued,
			waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "no room" }),
			[]run.Effect{run.Bury{Job: job(1), Reason: "no room"}, run.Release{Runner: runner(1, 1), From: 1}},
		},
	})
}

func TestAHeldJobWantsNoRunner(t *testing.T) {
	held := run.Held{Job: job(1), At: ago(time.Second)}
	checkDecide(t, []decided{
		{"a new job is on hold", run.Run{}, held, run.Run{Job: job(1), State: run.OnHold, HeldAt: ago(time.Second)}, nil},
		{
			"a job that waits is on hold and keeps its runner", waiting(), held,
			waiting(func(r *run.Run) { r.State, r.HeldAt = run.OnHold, ago(time.Second) }), nil,
		},
		{"a hold that is older than the queueing comes too late", waiting(), run.Held{Job: job(1), At: ago(time.Hour)}, waiting(), nil},
		{"a hold of the moment of the queueing comes too late", waiting(), run.Held{Job: job(1), At: ago(time.Minute)}, waiting(), nil},
		{"a job that is on hold stays so", run.Run{Job: job(1), State: run.OnHold, HeldAt: ago(time.Hour)}, held, run.Run{Job: job(1), State: run.OnHold, HeldAt: ago(time.Hour)}, nil},
		{"a job that runs is not held", running(), held, running(), nil},
		{"a job that is done is not held", done(), held, done(), nil},
	})
}

func TestAJobThatARunnerTookRuns(t *testing.T) {
	own := run.Started{Job: job(1), Runner: runner(1, 1), At: ago(time.Second)}
	other := run.Started{Job: job(1), Runner: runner(2, 1), At: ago(time.Second)}
	foreign := run.Started{Job: job(1), At: ago(time.Second)}
	started := func(by run.Name) func(*run.Run) {
		return func(r *run.Run) { r.State, r.RanOn, r.StartedAt = run.Running, by, now }
	}
	checkDecide(t, []decided{
		{
			"a job on its own runner", waiting(func(r *run.Run) { r.Reason = "no room" }), own, waiting(started(runner(1, 1))),
			[]run.Effect{run.Take{Runner: runner(1, 1), By: 1}},
		},
		{
			"a job on the runner of another job leaves its own to that one", waiting(), other, waiting(started(runner(2, 1))),
			[]run.Effect{run.Take{Runner: runner(2, 1), By: 1, Spare: runner(1, 1)}},
		},
		{
			"a job on somebody else's runner leaves its own to whoever comes", waiting(), foreign, waiting(started(run.Name{})),
			[]run.Effect{run.Release{Runner: runner(1, 1), From: 1}},
		},
		{
			"a job of which nothing was known",
			run.Run{},
			other,
			run.Run{Job: job(1), State: run.Running, RanOn: runner(2, 1), StartedAt: now},
			[]run.Effect{run.Take{Runner: runner(2, 1), By: 1}},
		},
		{
			"a job of which nothing was known on somebody else's runner",
			run.Run{},
			foreign,
			run.Run{Job: job(1), State: run.Running, StartedAt: now},
			nil,
		},
		{
			"the start is when it was first told", running(), own, running(), []run.Effect{run.Take{Runner: runner(1, 1), By: 1}},
		},
		{
			"a start that comes after the end still tells the runner", done(func(r *run.Run) { r.RanOn = runner(2, 1) }), other,
			done(func(r *run.Run) { r.RanOn = runner(2, 1) }),
			[]run.Effect{run.Take{Runner: runner(2, 1), By: 1, Spare: runner(1, 1)}},
		},
		{
			"a job that was given up stays so, and which runner has it is on record", waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "no room" }), own,
			waiting(func(r *run.Run) { r.State, r.Reason, r.RanOn, r.StartedAt = run.Dead, "no room", runner(1, 1), now }),
			[]run.Effect{run.Take{Runner: runner(1, 1), By: 1}},
		},
	})
}

func TestAJobThatGitHubCompletedIsDone(t *testing.T) {
	own := run.Finished{Job: job(1), Runner: runner(1, 1), Conclusion: "success"}
	cancelled := run.Finished{Job: job(1), Conclusion: "cancelled"}
	take := run.Take{Runner: runner(1, 1), By: 1}
	checkDecide(t, []decided{
		{
			"its runner is ended after the grace", running(), own, done(), []run.Effect{take, run.Settle{Runner: runner(1, 1), Again: in(time.Second)}},
		},
		{
			"its runner has its grace until the last moment", done(func(r *run.Run) { r.FinishedAt = ago(run.Grace - 1) }), own,
			done(func(r *run.Run) { r.FinishedAt = ago(run.Grace - 1) }),
			[]run.Effect{take, run.Settle{Runner: runner(1, 1), Again: in(1)}},
		},
		{
			"its runner is ended when the grace is over", done(func(r *run.Run) { r.FinishedAt = ago(run.Grace) }), own,
			done(func(r *run.Run) { r.FinishedAt = ago(run.Grace) }),
			[]run.Effect{take, run.Retire{Runner: runner(1, 1)}},
		},
		{
			"a job that nobody took leaves its runner to whoever comes", waiting(), cancelled,
			waiting(func(r *run.Run) { r.State, r.Conclusion, r.FinishedAt = run.Done, "cancelled", now }),
			[]run.Effect{run.Release{Runner: runner(1, 1), From: 1}},
		},
		{
			"an end without a runner does not forget which one it was", running(), cancelled,
			done(func(r *run.Run) { r.Conclusion = "cancelled" }),
			[]run.Effect{run.Release{Runner: runner(1, 1), From: 1}},
		},
		{
			"an end of which the start is unknown tells the runner", waiting(),
			run.Finished{Job: job(1), Runner: runner(2, 1), Conclusion: "success"},
			waiting(func(r *run.Run) {
				r.State, r.Conclusion, r.FinishedAt, r.RanOn = run.Done, "success", now, runner(2, 1)
			}),
			[]run.Effect{run.Take{Runner: runner(2, 1), By: 1, Spare: runner(1, 1)}, run.Settle{Runner: runner(2, 1), Again: in(time.Second)}},
		},
		{
			"a job of which nothing was known is done",
			run.Run{},
			cancelled,
			run.Run{Job: job(1), State: run.Done, Conclusion: "cancelled", FinishedAt: now},
			nil,
		},
		{
			"a job that is done keeps its conclusion", done(), cancelled, done(), []run.Effect{run.Release{Runner: runner(1, 1), From: 1}},
		},
		{
			"a job that was given up stays so, and how it ended is on record", waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "no room" }), own,
			waiting(func(r *run.Run) {
				r.State, r.Reason, r.RanOn, r.Conclusion, r.FinishedAt = run.Dead, "no room", runner(1, 1), "success", now
			}),
			[]run.Effect{take, run.Settle{Runner: runner(1, 1), Again: now.Add(time.Second)}},
		},
	})
}

func TestAJobThatLostItsRunnerGetsTheSpareOneOrANewOne(t *testing.T) {
	spare := run.Runner{Name: runner(2, 1), State: run.Launched, Job: job(2), Scope: "octo/repo", For: 2}
	lost := func(changes ...func(*run.Runner)) run.Lost {
		return run.Lost{Runner: runner(1, 1), Spare: with(spare, changes...), From: 2}
	}
	const why = "its code is that of mallory/repo (pull_request)"
	untrusted := func(r *run.Runner) { r.Job.Untrusted, r.Job.Pool = why, "forks" }
	strangers := job(1)
	strangers.Untrusted, strangers.Pool = why, "forks"
	alone := waiting(func(r *run.Run) { r.Runner = run.Name{} })
	requeue := run.Requeue{Job: job(1), QueuedAt: ago(time.Minute)}
	release := run.Release{Runner: runner(2, 1), From: 2}
	onSpare := waiting(func(r *run.Run) { r.Runner = runner(2, 1) })
	// Each time, the runner that is lost is freed too, in case it counts for the job by now.
	free := run.Release{Runner: runner(1, 1), From: 1}
	count := []run.Effect{free, run.Count{Runner: runner(2, 1), For: 1, From: 2}}
	checkDecide(t, []decided{
		{"the spare one will do", waiting(), lost(), onSpare, count},
		{"a spare one that is being launched will do", waiting(), lost(func(r *run.Runner) { r.State = run.Launching }), onSpare, count},
		{
			"a spare one whose last launch failed is not handed on, to be tried at once for each job", waiting(),
			lost(func(r *run.Runner) { r.State, r.Reason = run.Launching, "no answer" }), alone,
			[]run.Effect{free, release, requeue},
		},
		{"a spare one whose organization is the job's will do", waiting(), lost(func(r *run.Runner) { r.Scope = "Octo" }), onSpare, count},
		{"a spare one of which it is not known where it is registered will do", waiting(), lost(func(r *run.Runner) { r.Scope = "" }), onSpare, count},
		{"labels and names are compared without case", waiting(), lost(func(r *run.Runner) { r.Job.Labels, r.Scope = []string{"x", "MODAL"}, "OCTO/Repo" }), onSpare, count},
		{"asked again, the spare one is counted again", onSpare, lost(), onSpare, count},
		{"there is no spare one", waiting(), run.Lost{Runner: runner(1, 1)}, alone, []run.Effect{free, requeue}},
		{
			"why it was lost is remembered", waiting(),
			run.Lost{Runner: runner(1, 1), Reason: "it ended: idle"},
			waiting(func(r *run.Run) { r.Runner, r.Reason = run.Name{}, "it ended: idle" }),
			[]run.Effect{free, requeue},
		},
		{"asked again, a new one is wanted again", alone, run.Lost{Runner: runner(1, 1)}, alone, []run.Effect{free, requeue}},
		{"the spare one is busy", waiting(), lost(func(r *run.Runner) { r.State = run.Busy }), alone, []run.Effect{free, release, requeue}},
		{"the spare one has ended", waiting(), lost(func(r *run.Runner) { r.State = run.Ended }), alone, []run.Effect{free, release, requeue}},
		{"the spare one is not on record", waiting(), lost(func(r *run.Runner) { r.State = run.Unknown }), alone, []run.Effect{free, release, requeue}},
		{"the spare one counts for another by now", waiting(), lost(func(r *run.Runner) { r.For = 3 }), alone, []run.Effect{free, release, requeue}},
		{"the spare one lacks a label", waiting(), lost(func(r *run.Runner) { r.Job.Labels = []string{"linux"} }), alone, []run.Effect{free, release, requeue}},
		{"the spare one is for untrusted jobs", waiting(), lost(untrusted), alone, []run.Effect{free, release, requeue}},
		{
			"the spare one is for trusted jobs", waiting(func(r *run.Run) { r.Job = strangers }), lost(),
			waiting(func(r *run.Run) { r.Job, r.Runner = strangers, run.Name{} }),
			[]run.Effect{free, release, run.Requeue{Job: strangers, QueuedAt: ago(time.Minute)}},
		},
		{
			"the spare one is for untrusted jobs, as it is itself", waiting(func(r *run.Run) { r.Job = strangers }), lost(untrusted),
			waiting(func(r *run.Run) { r.Job, r.Runner = strangers, runner(2, 1) }), count,
		},
		{
			"the spare one is of a pool that is for both", waiting(), lost(func(r *run.Runner) { r.Job.Untrusted = why }), onSpare, count,
		},
		{"the spare one is another repository's", waiting(), lost(func(r *run.Runner) { r.Scope = "octo/other" }), alone, []run.Effect{free, release, requeue}},
		{
			"a job that counts on another runner keeps it", waiting(func(r *run.Run) { r.Runner = runner(1, 2) }), lost(),
			waiting(func(r *run.Run) { r.Runner = runner(1, 2) }),
			[]run.Effect{free, release},
		},
		{"a job that runs needs none", running(), lost(), running(), []run.Effect{free, release}},
		{
			"the loss of a runner that has no record is none",
			alone,
			run.Lost{Reason: "it ended: idle"},
			alone,
			[]run.Effect{run.Release{From: 1}, requeue},
		},
		{"a job that runs needs none, and there is no spare one", running(), run.Lost{Runner: runner(1, 1)}, running(), []run.Effect{free}},
		{"a job that is done needs none", done(), lost(), done(), []run.Effect{free, release}},
		{"a job of which nothing is known needs none", run.Run{}, run.Lost{Runner: runner(1, 1)}, run.Run{}, []run.Effect{run.Release{Runner: runner(1, 1)}}},
	})
}

func TestARunnerThatCountsForAJobIsStillWantedByIt(t *testing.T) {
	claimed := run.Claimed{Runner: runner(1, 1)}
	release := []run.Effect{run.Release{Runner: runner(1, 1), From: 1}}
	checkDecide(t, []decided{
		{"the job still waits on it", waiting(), claimed, waiting(), nil},
		{
			"the job still waits on it, and has to see its launch through", waiting(),
			run.Claimed{Runner: runner(1, 1), Launching: true},
			waiting(),
			[]run.Effect{run.Requeue{Job: job(1), QueuedAt: ago(time.Minute)}},
		},
		{"the job counts on another by now", waiting(func(r *run.Run) { r.Runner = runner(1, 2) }), claimed, waiting(func(r *run.Run) { r.Runner = runner(1, 2) }), release},
		{"the job runs by now", running(), claimed, running(), release},
	})
}

func TestAFailedLaunchIsRemembered(t *testing.T) {
	failed := run.Failed{Reason: "boom"}
	checkDecide(t, []decided{
		{"it counts", waiting(), failed, waiting(func(r *run.Run) { r.Reason, r.Failures = "boom", 1 }), nil},
		{"a lack of room does not count", waiting(), run.Failed{Reason: "no room", Limited: true}, waiting(func(r *run.Run) { r.Reason = "no room" }), nil},
		{
			"a refusal for good gives the job up and frees its runner", waiting(),
			run.Failed{Reason: "no such group", Permanent: true},
			waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "no such group" }),
			[]run.Effect{run.Bury{Job: job(1), Reason: "no such group"}, run.Release{Runner: runner(1, 1), From: 1}},
		},
		{"it is of no matter to a job that runs", running(), failed, running(), nil},
		{"a refusal is of no matter to a job that is done", done(), run.Failed{Reason: "no such group", Permanent: true}, done(), nil},
		{
			"a launch that succeeded ends the count", waiting(func(r *run.Run) { r.Reason, r.Failures = "boom", 4 }), run.Placed{Runner: runner(1, 1)}, waiting(), nil,
		},
		{
			"one that had a place has waited for nothing else since", waiting(func(r *run.Run) { r.InLine = true }),
			run.Placed{Runner: runner(1, 1)},
			waiting(func(r *run.Run) { r.FreeSince = now }), nil,
		},
		{
			"so it has if that failed", waiting(func(r *run.Run) { r.Until = ago(time.Second) }), failed,
			waiting(func(r *run.Run) { r.Reason, r.Failures, r.FreeSince = "boom", 1, now }), nil,
		},
		{
			"it is still so if another fails", waiting(func(r *run.Run) { r.FreeSince = ago(time.Hour) }), failed,
			waiting(func(r *run.Run) { r.Reason, r.Failures, r.FreeSince = "boom", 1, ago(time.Hour) }), nil,
		},
		{
			"it is not known yet while it stands in line", waiting(func(r *run.Run) { r.InLine = true }),
			run.Failed{Limited: true, InLine: true},
			waiting(func(r *run.Run) { r.InLine = true }), nil,
		},
		{
			"nor while it waits for its turn at GitHub after that", waiting(func(r *run.Run) { r.InLine = true }),
			run.Failed{Limited: true, Until: in(time.Hour)},
			waiting(func(r *run.Run) { r.Until = in(time.Hour) }), nil,
		},
		{
			"so it does while the job is held",
			waiting(func(r *run.Run) { r.State, r.Reason, r.Failures = run.OnHold, "boom", 4 }),
			run.Placed{Runner: runner(1, 1)},
			waiting(func(r *run.Run) { r.State = run.OnHold }), nil,
		},
		{
			"that of an earlier runner says nothing of the next one's",
			waiting(func(r *run.Run) { r.Runner, r.Attempts, r.Reason, r.Failures = runner(1, 2), 2, "boom", 4 }),
			run.Placed{Runner: runner(1, 1)},
			waiting(func(r *run.Run) { r.Runner, r.Attempts, r.Reason, r.Failures = runner(1, 2), 2, "boom", 4 }), nil,
		},
		{
			"one that succeeded after the job was given up leaves the reason as it is",
			waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "the repository is not allowed" }),
			run.Placed{Runner: runner(1, 1)},
			waiting(func(r *run.Run) { r.State, r.Reason = run.Dead, "the repository is not allowed" }), nil,
		},
	})
}
