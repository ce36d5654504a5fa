package adminapi

import (
	"context"
	"fmt"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// evidence is what the sandbox says of the runner that a waiting job counts on, if that should have the job by now. Empty if there is
// none, or it gives no answer.
func (a *API) evidence(ctx context.Context, r run.Run, runner run.Runner) run.Evidence {
	if r.State != run.Waiting || runner.State != run.Launched || runner.SandboxID == "" {
		return ""
	}
	says, err := a.Sandboxes.Ask(ctx, runner.SandboxID, false)
	if err != nil {
		return ""
	}
	return says
}

// waitsFor says what a job waits for, or nothing if it does not wait. The runner is the one that the job counts on, zero if
// there is no record of one, and says what its sandbox says; next is when the job is looked at again, zero if that is not set.
func waitsFor(r run.Run, runner run.Runner, says run.Evidence, next, now time.Time) string {
	switch r.State {
	case run.OnHold:
		return "an approval at GitHub, for " + Span(now.Sub(r.HeldAt))
	case run.Waiting:
		return fmt.Sprintf("%s (queued %s ago)", obstacle(r, runner, says, next, now), Span(now.Sub(r.QueuedAt)))
	case run.New, run.Running, run.Done, run.Dead:
	}
	return ""
}

// obstacle is what stands between a job that wants a runner and its start.
func obstacle(r run.Run, runner run.Runner, says run.Evidence, next, now time.Time) string {
	name := nameOf(r.Runner)
	if r.Runner.IsZero() {
		return "a worker to launch its next runner; the last one was lost: " + orUnknown(r.Reason)
	}
	switch runner.State {
	case run.Launched:
		return launched(runner, says, now)
	case run.Busy:
		switch runner.Took {
		case 0:
			return fmt.Sprintf("another runner: %s has a job of which no webhook told us", name)
		case r.Job.ID:
			return fmt.Sprintf("GitHub to say that it runs: %s took it", name)
		}
		return fmt.Sprintf("another runner: %s took job %d", name, runner.Took)
	case run.Ended:
		return fmt.Sprintf("another runner: %s ended: %s", name, orUnknown(runner.Reason))
	case run.Unknown, run.Launching:
	}
	return launching(r, runner, next, now)
}

// launched is what is lacking though the runner has a sandbox, by what that says.
func launched(runner run.Runner, says run.Evidence, now time.Time) string {
	name, age := nameOf(runner.Name), Span(now.Sub(runner.LaunchedAt))
	if !runner.OccupiedSince.IsZero() {
		says = run.HasJob
	}
	switch says {
	case run.Unscheduled:
		return fmt.Sprintf("Modal to schedule a sandbox: that of %s was asked for %s ago", name, age)
	case run.Starting, run.Warm:
		return fmt.Sprintf("a sandbox to start its runner: that of %s was launched %s ago", name, age)
	case run.HasJob:
		return fmt.Sprintf("GitHub to say which job %s has", name)
	case run.Over, run.ReleasedNow, run.Hangs:
		return fmt.Sprintf("another runner: %s was launched %s ago and takes no job any more", name, age)
	case run.Idle:
	}
	return fmt.Sprintf("GitHub to give it a runner: %s was launched %s ago and has no job", name, age)
}

// launching is how the launch of the runner that a job counts on is going.
func launching(r run.Run, runner run.Runner, next, now time.Time) string {
	text := "its launch as " + nameOf(r.Runner)
	switch {
	case r.Failures > 0:
		text += fmt.Sprintf(": failed %s, last: %s", times(r.Failures), orUnknown(r.Reason))
	case r.Reason != "":
		text += ": put off: " + r.Reason
	}
	switch {
	case runner.State == run.Launching && now.Before(runner.Until):
		text += fmt.Sprintf("; a worker began %s ago", Span(now.Sub(runner.Until.Add(-run.LaunchTimeout))))
	case next.After(now):
		text += fmt.Sprintf("; next try at %s, in %s", next.UTC().Format(time.RFC3339), Span(next.Sub(now)))
	default:
		text += "; a worker to take it from the queue"
	}
	return text
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// Span is d for a person: whole seconds, and none of them when hours have passed.
func Span(d time.Duration) string {
	d = max(0, d)
	if d >= time.Hour {
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.Truncate(time.Second).String()
}

// nameOf is the runner's name at GitHub and at Modal. Empty for none.
func nameOf(name run.Name) string {
	if name.IsZero() {
		return ""
	}
	return wire.RunnerName(name.Job, name.Attempt)
}

func orUnknown(reason string) string {
	if reason == "" {
		return "not known"
	}
	return reason
}
