package check

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

// modalClock is what Modal's times are rounded down to.
const modalClock = time.Microsecond

// isWanted reports whether the reason of a job's cancellation asks for no explanation.
func isWanted(reason string) bool {
	return reason == "cancelled by a user" || reason == "queued longer than GitHub allows"
}

// FailCode is the exit code of jobs that are meant to fail. Any other failure needs somebody to blame.
const FailCode = 7

// oneSandboxPerName is the first half of I3.
func (c *Checker) oneSandboxPerName(v view) {
	for name, most := range v.MostPerName {
		if job, _, ok := wire.ParseRunnerName(name); ok && most > 1 {
			c.reportf("I3", v.At, job, "%d sandboxes were named %s at once", most, name)
		}
	}
}

// oneRunnerPerJob is the second half of I3: there is no next runner for a job while the last one may still come.
func (c *Checker) oneRunnerPerJob(v view) {
	attempts := map[int64][]fakemodal.SandboxRecord{}
	for _, s := range v.Sandboxes {
		if job, _, ok := wire.ParseRunnerName(s.Name); ok {
			attempts[job] = append(attempts[job], s)
		}
	}
	for job, all := range attempts {
		slices.SortFunc(all, func(a, b fakemodal.SandboxRecord) int { return a.CreatedAt.Compare(b.CreatedAt) })
		for n, last := range all[:len(all)-1] {
			next := all[n+1]
			took, busy := v.took[last.Name]
			if busy && !took.StartedAt.Truncate(modalClock).After(next.CreatedAt) || c.Blamed(last.ID) {
				continue // The last one was lost to another job.
			}
			if end := v.endOf(last); end.After(c.deadline(next.CreatedAt, c.Limits.Overlap)) {
				c.reportf("I3", next.CreatedAt, job, "%s was there beside %s, which had no job, until %v later",
					next.Name, last.Name, end.Sub(next.CreatedAt))
			}
		}
	}
}

// boundedLife is I5.
func (c *Checker) boundedLife(v view) {
	for _, s := range v.Sandboxes {
		end := v.endOf(s)
		if limit := c.deadline(s.CreatedAt, c.Limits.Warm); waits(s) && end.After(limit) {
			c.reportf("I5", limit, 0, "sandbox %s waited for a runner for longer than %v", s.Name, c.Limits.Warm)
		}
		job, _, ok := wire.ParseRunnerName(s.Name)
		if !ok {
			continue
		}
		took, busy := v.took[s.Name]
		switch {
		case !busy:
			if limit := c.deadline(s.CreatedAt, c.Limits.Idle); end.After(limit) {
				c.reportf("I5", limit, job, "sandbox %s had no job and was there for longer than %v", s.Name, c.Limits.Idle)
			}
			c.surplus(v, s)
		case took.Status == world.Completed:
			if limit := c.deadline(took.CompletedAt, c.Limits.Tidy); end.After(limit) {
				c.reportf("I5", limit, job, "sandbox %s was there for longer than %v after its job %d", s.Name, c.Limits.Tidy, took.ID)
			}
		}
	}
}

// surplus is the sharper half of I5. A runner without a job could have had any job that waits and that it covers, so nobody
// needs it once the job that it was made for is over, or has another. It may be kept for one that waits for an approval, and that
// it covers.
func (c *Checker) surplus(v view, s fakemodal.SandboxRecord) {
	job, _, _ := wire.ParseRunnerName(s.Name)
	j := v.jobs[job]
	since := j.CompletedAt
	if j.RunnerName != "" {
		since = j.StartedAt
	}
	if since.IsZero() {
		return
	}
	if s.CreatedAt.After(since) {
		since = s.CreatedAt
	}
	if limit := c.deadline(since, c.Limits.Surplus); v.endOf(s).After(limit) && !v.heldFor(s.Name, limit) {
		c.reportf("I5", limit, job, "sandbox %s was there for longer than %v after its job needed it no more", s.Name, c.Limits.Surplus)
	}
}

// heldFor reports whether a job waited for an approval then that GitHub could have given to the runner of the name.
func (v view) heldFor(name string, at time.Time) bool {
	return slices.ContainsFunc(v.Jobs, func(j world.Job) bool {
		over := j.QueuedAt
		if over.IsZero() {
			over = j.CompletedAt // It was cancelled meanwhile.
		}
		held := j.Environment != "" && j.CreatedAt.Before(at) && (over.IsZero() || over.After(at))
		return held && slices.ContainsFunc(v.Registered, func(r world.Runner) bool { return r.Name == name && covers(r, j) })
	})
}

// noOrphanedRegistration is I6.
func (c *Checker) noOrphanedRegistration(v view) {
	before := c.orphaned
	c.orphaned = map[string]time.Time{}
	for _, r := range v.Runners {
		job, _, ok := wire.ParseRunnerName(r.Name)
		had := v.sandboxes[r.Name]
		lives := slices.ContainsFunc(had, func(s fakemodal.SandboxRecord) bool { return !s.Ended() })
		onItsWay := len(had) == 0 && v.awaited(r) // There may be no room for its sandbox yet.
		if !ok || lives || onItsWay {
			continue
		}
		since := cmp.Or(before[r.Name], v.At) // Between two looks it may have had one: it counts from the first that saw none.
		c.orphaned[r.Name] = since
		if limit := c.deadline(since, c.Limits.Register); v.At.After(limit) {
			c.reportf("I6", since, job, "registration %s has no sandbox for longer than %v", r.Name, c.Limits.Register)
		}
	}
}

// awaited reports whether a job waits that GitHub could give the runner: its own one, or another that counts on it by now.
func (v view) awaited(r world.Runner) bool {
	return slices.ContainsFunc(v.Jobs, func(j world.Job) bool { return j.Status == world.Queued && covers(r, j) })
}

// covers is GitHub's rule: the job's repository is in the runner's scope, and the runner has all labels that the job asks for.
func covers(r world.Runner, j world.Job) bool {
	return r.Scope.Covers(j) && !slices.ContainsFunc(j.Labels, func(asked string) bool {
		return !slices.ContainsFunc(r.Labels, func(has string) bool { return strings.EqualFold(has, asked) })
	})
}

// nothingEndedAtWork: a job's end is its own, unless its sandbox came to harm.
func (c *Checker) nothingEndedAtWork(v view) {
	for _, j := range v.Jobs {
		if j.RunnerName == "" {
			continue
		}
		all := v.sandboxes[j.RunnerName]
		if len(all) == 0 {
			c.reportf("I2", v.At, j.ID, "it ran on %s, which Modal never had", j.RunnerName)
			continue
		}
		s := all[len(all)-1]
		if c.Blamed(s.ID) {
			continue
		}
		endedAtWork := s.Ended() && s.EndedAt.After(j.StartedAt) && (j.Status != world.Completed || s.EndedAt.Before(j.CompletedAt))
		byUs := s.Status == sandbox.Terminated || s.Status == sandbox.TimedOut
		switch {
		case endedAtWork && byUs:
			c.reportf("work", s.EndedAt, j.ID, "sandbox %s was ended (%s) %v after the job's start", s.Name, s.Status, s.EndedAt.Sub(j.StartedAt))
		case j.Conclusion == world.Failure && j.ExitCode != FailCode:
			c.reportf("work", j.CompletedAt, j.ID, "it failed on %s with code %d, %q, and nothing had befallen it", s.Name, j.ExitCode, j.Reason)
		case j.Conclusion == world.Cancelled && !isWanted(j.Reason):
			c.reportf("work", j.CompletedAt, j.ID, "it was cancelled on %s, and nobody had asked for that", s.Name)
		}
	}
}

// callsBounded is a part of I9: no outage makes the services ask for ever faster.
func (c *Checker) callsBounded(v view) {
	past := v.At.Sub(c.counted)
	if !c.counted.IsZero() && past < time.Minute {
		return // So short a time shows no rate.
	}
	if !c.counted.IsZero() {
		if perMinute := float64(v.Calls-c.calls) / past.Minutes(); perMinute > float64(c.Limits.CallsPerMinute) {
			c.reportf("I9", v.At, 0, "GitHub was called %.0f times a minute since %v ago", perMinute, past)
		}
	}
	c.calls, c.counted = v.Calls, v.At
}

// durable is I1.
func (c *Checker) durable(v view) {
	for job, at := range c.accepted {
		if c.safe[job] {
			if _, ok := v.Stored.Runs[job]; !ok {
				c.reportf("I1", v.At, job, "it was on record and is not any more")
			}
			continue
		}
		_, recorded := v.Stored.Runs[job]
		switch {
		case recorded:
			c.safe[job] = true
		case !v.Stored.Queued[job] && at.Before(v.Stored.At):
			c.reportf("I1", v.At, job, "its webhook was accepted at %s, and it is neither on record nor in the queue", at.Format("15:04:05"))
		}
	}
}

// monotonic is I8.
func (c *Checker) monotonic(v view) {
	for id, was := range c.ended {
		if is := v.Stored.Runs[id].State; is != was && is != "" {
			c.reportf("I8", v.At, id, "its record was %s and is %s", was, is)
		}
	}
	for id, r := range v.Stored.Runs {
		j, known := v.jobs[id]
		switch {
		case r.State == done:
			c.ended[id] = done
			if known && j.Status != world.Completed {
				c.reportf("I8", v.At, id, "its record is done, and at GitHub it is %s", j.Status)
			}
		case known && j.Status == world.Completed && r.State != dead && v.Stored.At.After(c.deadline(j.CompletedAt, c.Limits.Hear)):
			c.reportf("I8", v.At, id, "it ended at GitHub more than %v ago, and its record is %s", c.Limits.Hear, r.State)
		}
	}
}

// explained is I12, as far as the ledger goes.
func (c *Checker) explained(v view) {
	for id, r := range v.Stored.Runs {
		switch {
		case len(r.History) == 0:
			c.reportf("I12", v.At, id, "its record is %s and tells nothing of why", r.State)
		case r.State == dead && r.Reason == "":
			c.reportf("I12", v.At, id, "it was given up without a reason")
		}
	}
}
