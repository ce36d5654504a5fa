package run

import (
	"fmt"
	"time"
)

const (
	// Grace is how long a runner may tidy up after GitHub has completed its job before its sandbox is ended. The
	// runner reports to GitHub before it exits; it is given the 30 s that it itself grants its worker on SIGTERM.
	Grace = 30 * time.Second
	// firstLook is how long after GitHub has completed its job a runner is first looked at again.
	firstLook = time.Second
	// GiveUpAfter is how long GitHub keeps a job queued before it cancels it. A launch after that helps nobody.
	GiveUpAfter = 24 * time.Hour
	// MaxAttempts bounds the runners that are launched for one job and never take a job. Each costs a sandbox's start.
	MaxAttempts = 10
)

// Decide is what becomes of r when ev happens at now, and what is to be done then. It depends on nothing else.
func Decide(r Run, ev Event, now time.Time) (Run, []Effect) {
	next, effects := decide(r, ev, now)
	next.History = chronicle(r, next, ev, now)
	return next, effects
}

func decide(r Run, ev Event, now time.Time) (Run, []Effect) {
	switch ev := ev.(type) {
	case Queued:
		return queued(r, ev, now)
	case Held:
		return held(r, ev), nil
	case Started:
		return started(r, ev, now)
	case Finished:
		return finished(r, ev, now)
	case Lost:
		return lost(r, ev)
	case Failed:
		return failed(r, ev, now)
	case Claimed:
		return r, claimed(r, ev)
	case Replayed:
		return replayed(r, now)
	case Vetted:
		return vetted(r, ev), nil
	case Placed:
		return placed(r, ev, now), nil
	}
	panic(fmt.Sprintf("run: no such event: %T", ev)) // Unreachable: the interface is closed.
}

// queued makes the job wait, on the runner that it counts on or on a new one.
func queued(r Run, ev Queued, now time.Time) (Run, []Effect) {
	if r.State == OnHold && !ev.At.After(r.HeldAt) { // A copy of what was said before the hold.
		return r, nil
	}
	if r.State == New || r.State == OnHold {
		// A held job keeps its runner: it may still be idle, and Launch tells if it is not.
		known := r.Job
		r.Job, r.State, r.QueuedAt = ev.Job, Waiting, ev.At
		if known.Untrusted != "" { // Nor is it vetted again while it has that runner.
			r.Job.Untrusted, r.Job.Pool = known.Untrusted, known.Pool
		}
	}
	if r.State == Dead {
		return dead(r, r.Reason)
	}
	if r.State != Waiting { // What an earlier launch for it has left behind goes.
		return r, taken(r, r.RanOn, r.RanOnID, ev.Event)
	}
	if ev.At.After(r.LastQueuedAt) {
		r.LastQueuedAt = ev.At
	}
	if r.Job.Untrusted == "" { // Where else it goes is said when it is vetted, which it is at each launch.
		r.Job.Pool = ev.Job.Pool // The pools file may have changed since.
	}
	if now.Sub(r.QueuedAt) >= GiveUpAfter {
		return dead(r, fmt.Sprintf("no runner could be launched within %v, after which GitHub cancels a queued job; the last obstacle was: %s",
			GiveUpAfter, orUnknown(r.Reason)))
	}
	if r.Runner.IsZero() {
		if tried := r.Attempts - r.Forgiven; tried >= MaxAttempts {
			return dead(r, fmt.Sprintf("%d runners were launched for it and none took a job; the last one: %s", tried, orUnknown(r.Reason)))
		}
		r.Attempts++
		r.Runner = Name{Job: r.Job.ID, Attempt: r.Attempts}
	}
	return r, []Effect{Launch{Runner: r.Runner, Job: r.Job}}
}

// held makes a job want no runner until it is queued again. It comes too late if the job was queued after it.
func held(r Run, ev Held) Run {
	switch r.State {
	case New:
		r.Job, r.State, r.HeldAt = ev.Job, OnHold, ev.At
	case Waiting:
		if ev.At.After(r.LastQueuedAt) {
			r.State, r.HeldAt = OnHold, ev.At
		}
	case OnHold, Running, Done, Dead:
	}
	return r
}

// started records which runner has the job.
func started(r Run, ev Started, now time.Time) (Run, []Effect) {
	if r.State == New {
		r.Job = ev.Job
	}
	if !r.Over() { // Also of one that was given up: a runner of another job may serve it.
		if r.StartedAt.IsZero() {
			r.StartedAt = now
		}
		r.RanOn, r.RanOnID = ev.Runner, ev.GitHubID
	}
	if !r.State.Terminal() {
		r.State, r.Reason = Running, ""
	}
	return r, taken(r, ev.Runner, ev.GitHubID, ev.Event)
}

// finished ends the Run, and after the grace what is left of its runner.
func finished(r Run, ev Finished, now time.Time) (Run, []Effect) {
	if r.State == New {
		r.Job = ev.Job
	}
	if !r.Over() {
		r.Conclusion, r.FinishedAt = ev.Conclusion, now
		if !ev.Runner.IsZero() {
			r.RanOn, r.RanOnID = ev.Runner, ev.GitHubID
		}
	}
	if !r.State.Terminal() {
		r.State = Done
	}
	effects := taken(r, ev.Runner, ev.GitHubID, ev.Event)
	if ev.Runner.IsZero() {
		return r, effects
	}
	if now.Before(r.FinishedAt.Add(Grace)) {
		return r, append(effects, Settle{Runner: ev.Runner, GitHubID: ev.GitHubID, Again: settleAt(r.FinishedAt, now)})
	}
	return r, append(effects, Retire{Runner: ev.Runner, GitHubID: ev.GitHubID})
}

// settleAt is when to look next whether the runner of a job that ended at finished has ended too: it takes a second or two, and
// until then it holds a place that another job may wait for.
func settleAt(finished, now time.Time) time.Time {
	after := firstLook
	for !finished.Add(after).After(now) {
		after *= 2
	}
	return finished.Add(min(after, Grace))
}

// taken is what follows from a runner's having taken the job of r, or from the job's needing none any more, as event tells.
func taken(r Run, by Name, githubID int64, event string) []Effect {
	spare := r.Runner
	if spare == by {
		spare = Name{}
	}
	if !by.IsZero() {
		return []Effect{Take{Runner: by, GitHubID: githubID, By: r.Job.ID, Spare: spare, Event: event}}
	}
	if !spare.IsZero() {
		return []Effect{Release{Runner: spare, From: r.Job.ID}}
	}
	return nil
}

// lost finds a new runner for a job that still waits: the spare one if it will do, or one yet to be launched.
func lost(r Run, ev Lost) (Run, []Effect) {
	hasSpare := !ev.Spare.Name.IsZero()
	if r.State == Waiting && r.Runner == ev.Runner && !ev.Runner.IsZero() {
		if ev.Blameless && r.Forgiven < r.Attempts { // It came, and GitHub gave it another job: no launch has failed.
			r.Forgiven++
		}
		if hasSpare && ev.Spare.For == ev.From && ev.Spare.willDo(r.Job) {
			r.Runner = ev.Spare.Name
		} else {
			r.Runner, r.Reason = Name{}, ev.Reason
		}
	}
	// By now the runner may count for the job after all: whoever found it lost may have looked too early.
	effects := []Effect{Release{Runner: ev.Runner, From: r.Job.ID}}
	switch {
	case hasSpare && r.State == Waiting && r.Runner == ev.Spare.Name:
		return r, append(effects, Count{Runner: ev.Spare.Name, For: r.Job.ID, From: ev.From})
	case hasSpare:
		effects = append(effects, Release{Runner: ev.Spare.Name, From: ev.From})
	}
	if r.State == Waiting && r.Runner.IsZero() {
		effects = append(effects, Requeue{Job: r.Job, QueuedAt: r.LastQueuedAt})
	}
	return r, effects
}

// claimed says what follows once a runner counts for the job of r.
func claimed(r Run, ev Claimed) []Effect {
	switch {
	case r.State != Waiting || r.Runner != ev.Runner: // It came too late.
		return []Effect{Release{Runner: ev.Runner, From: r.Job.ID}}
	case ev.Launching: // The launch was another job's to see through, which needs it no longer.
		return []Effect{Requeue{Job: r.Job, QueuedAt: r.LastQueuedAt}}
	default:
		return nil
	}
}

// failed records why the job still waits, or gives it up.
func failed(r Run, ev Failed, now time.Time) (Run, []Effect) {
	if r.State != Waiting {
		return r, nil
	}
	if ev.Permanent {
		return dead(r, ev.Reason)
	}
	r = r.heldBack(ev.InLine, ev.Until, now)
	r.Reason = ev.Reason
	if !ev.Limited {
		r.Failures++
	}
	return r, nil
}

// placed forgets what has kept the job from the runner that it counts on. A launch that ends after the job was given up, or that is of
// an earlier runner of it, leaves the reason of that as it is.
func placed(r Run, ev Placed, now time.Time) Run {
	if !r.State.Terminal() && r.Runner == ev.Runner {
		r = r.heldBack(false, time.Time{}, now)
		r.Failures, r.Reason = 0, ""
	}
	return r
}

// dead gives the job up.
func dead(r Run, reason string) (Run, []Effect) {
	effects := []Effect{Bury{Job: r.Job, Reason: reason}}
	if !r.Runner.IsZero() {
		effects = append(effects, Release{Runner: r.Runner, From: r.Job.ID})
	}
	r.State, r.Reason = Dead, reason
	return r, effects
}

func orUnknown(reason string) string {
	if reason == "" {
		return "not known"
	}
	return reason
}
