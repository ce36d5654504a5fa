package run

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// LaunchTimeout is how long one worker may take to make a runner. After it, another may take the launch over, so every
// call of a launch has ended by then. GitHub and Modal answer within seconds when they are well.
const LaunchTimeout = time.Minute

// SpareTime is how long a runner that no job counts on any more may still be given one. GitHub gives an idle runner to a
// job that waits within seconds; asking one to end in that moment would end the job. After it, nobody is paid for.
const SpareTime = 15 * time.Second

// LookAfter is how long after its launch a runner that has taken no job is looked at, and how often from then on. GitHub
// gives a waiting job to a runner within seconds of its coming online, which takes some ten seconds.
const LookAfter = time.Minute

// OccupiedFor is how long a runner must have a job of which no webhook told before it is lost to the job that counts on
// it. A webhook takes seconds, and GitHub's API lags no longer behind.
const OccupiedFor = 30 * time.Second

// DecideRunner is what becomes of r when ev happens at now, and what is to be done then. It depends on nothing else.
func DecideRunner(r Runner, ev RunnerEvent, now time.Time) (Runner, []Effect) {
	switch ev := ev.(type) {
	case Wanted:
		return wanted(r, ev, now)
	case Found:
		return found(r, ev, now)
	case Taken:
		return runnerTaken(r, ev)
	case Released:
		return released(r, ev, now)
	}
	if r.State == Unknown { // The ledger was restored while this was on its way: what is left of the runner is for the sweeps.
		return r, nil
	}
	switch ev := ev.(type) {
	case Registered:
		if r.State == Launching {
			r.Replaced = r.Replaced || ev.Replaced && r.GitHubID != 0
			r.GitHubID = ev.GitHubID
		}
		return r, nil
	case Created:
		return created(r, ev, now)
	case GivenUp:
		if r.State == Launching {
			r.Unasked = ev.Unasked && ev.Until.Equal(r.Until) // Else another has taken the launch over.
			r.Until, r.Reason = now, ev.Reason
		}
		return r, nil
	case Counted:
		return counted(r, ev)
	case Occupied:
		return occupied(r, now)
	case Overdue:
		if r.State == Launched && r.For != 0 {
			return r, []Effect{Inspect{Runner: r}}
		}
		return r, nil
	case Gone:
		return gone(r, ev, now)
	}
	panic(fmt.Sprintf("run: no such event: %T", ev)) // Unreachable: the interface is closed.
}

// runnerTaken records the job that the runner took, and lets the job that counted on it know if it is another.
func runnerTaken(r Runner, ev Taken) (Runner, []Effect) {
	if r.State == Unknown { // The ledger was lost or restored: the name tells what it was launched for.
		r = Runner{Name: ev.Name, For: ev.Name.Job, GitHubID: ev.GitHubID}
	}
	if r.isOther(ev.GitHubID) { // One that the ledger has forgotten, or forgot when this one got its name. The job needs neither.
		effects := []Effect{Release{Runner: r.Name, From: ev.By}}
		if !ev.Spare.IsZero() {
			effects = append(effects, Release{Runner: ev.Spare, From: ev.By})
		}
		return r, effects
	}
	if r.State != Ended {
		r.State = Busy
	}
	r.Took, r.Unasked = ev.By, false
	if r.For == 0 || r.For == ev.By {
		if ev.Spare.IsZero() {
			return r, nil
		}
		return r, []Effect{Release{Runner: ev.Spare, From: ev.By}}
	}
	lose := r.lostBy(r.For, ev.By)
	lose.Spare, lose.Event = ev.Spare, ev.Event
	return r, []Effect{lose}
}

// counted gives the runner to another job, unless it is too late.
func counted(r Runner, ev Counted) (Runner, []Effect) {
	if r.For == ev.From && r.alive() {
		r.For, r.SpareSince = ev.For, time.Time{}
	}
	switch {
	case r.For == ev.For && r.alive():
		return r, []Effect{Confirm{Job: ev.For, Runner: r.Name, Launching: r.State == Launching}}
	case r.State == Busy && r.Took == ev.For:
		return r, nil
	default:
		return r, []Effect{r.lostBy(ev.For, ev.From)}
	}
}

// released makes the runner a spare one, which goes unless GitHub gives it a job first. One that was not begun never is.
func released(r Runner, ev Released, now time.Time) (Runner, []Effect) {
	if r.State == Unknown && ev.Name.Job == ev.From {
		return Runner{Name: ev.Name, State: Ended, EndedAt: now, Reason: "not needed before it was launched"}, nil
	}
	if r.For != 0 && r.For == ev.From && r.alive() {
		r.For, r.SpareSince = 0, now
	}
	if r.State == Ended && r.For == 0 && r.Job.ID != 0 {
		return gone(r, Gone{}, now) // As the last time, which may not have come to its end.
	}
	if r.State != Launching || r.For != 0 {
		return r, spare(r, now)
	}
	if now.Before(r.Until) { // Whoever launches it sees that nobody counts on it, unless they die.
		return r, []Effect{Later{At: r.Until}}
	}
	return gone(r, Gone{Reason: "not needed before its launch had ended"}, now)
}

// spare is what follows for a runner that no job counts on.
func spare(r Runner, now time.Time) []Effect {
	if r.State != Launched || r.For != 0 {
		return nil
	}
	if end := r.SpareSince.Add(SpareTime); now.Before(end) {
		return []Effect{Later{At: end}}
	}
	return []Effect{Dismiss{Runner: r}}
}

// occupied makes the runner lost to the job that counts on it: it has another one, of which we are not told. That may be
// a job of a repository that sends no webhooks to us. It is asked twice, since what we know and what GitHub says come late.
func occupied(r Runner, now time.Time) (Runner, []Effect) {
	if r.alive() {
		if r.OccupiedSince.IsZero() {
			r.OccupiedSince = now
		}
		if sure := r.OccupiedSince.Add(OccupiedFor); now.Before(sure) {
			return r, []Effect{Later{At: sure}}
		}
		r.State = Busy
	}
	if r.State != Busy || r.Took != 0 || r.For == 0 {
		return r, nil
	}
	return r, []Effect{r.lostBy(r.For, r.For)}
}

// gone ends the runner, and then tells the job that still counts on it: no two runners launched for one job may be able to
// take one. What is left of it is ended again each time, since the last time may not have come to its end.
func gone(r Runner, ev Gone, now time.Time) (Runner, []Effect) {
	if r.isOther(ev.GitHubID) {
		return r, nil
	}
	if r.State != Ended {
		r.State, r.Reason, r.EndedAt, r.Until = Ended, ev.Reason, now, time.Time{}
	}
	r.JobOver = r.JobOver || ev.JobOver && ev.GitHubID == r.GitHubID
	effects := []Effect{End{Runner: r}}
	if r.For != 0 && r.Took == 0 {
		effects = append(effects, r.lostBy(r.For, r.For))
	}
	return r, effects
}

// lostBy is what tells a job that the runner will not serve it, and why.
func (r Runner) lostBy(job, from int64) Lose {
	lose := Lose{
		Job: job, Runner: r.Name, From: from,
		// Of one that no job counted on, the end was wanted.
		Blameless: r.Took != 0 || r.State == Busy || r.alive() || !r.OccupiedSince.IsZero() || r.For == 0,
	}
	switch {
	case r.Took != 0:
		lose.Reason = fmt.Sprintf("it took job %d", r.Took)
	case r.State == Busy:
		lose.Reason = "it has a job of which no webhook told us"
	case r.alive():
		lose.Reason = "it is not counted for this job any more"
	default:
		lose.Reason = "it ended: " + orUnknown(r.Reason)
	}
	return lose
}

// willDo reports whether j, which has lost its runner, may count on this one. One whose last launch failed is for the job
// that counts on it to try again, ever more slowly: handed from job to job, it would be tried at once for each.
func (r Runner) willDo(j Job) bool {
	failing := r.State == Launching && r.Reason != ""
	return r.alive() && !failing && r.covers(j)
}

// covers reports whether GitHub could give j to the runner and we would: it is registered where j's repository can use it, its
// labels contain all of j's, compared without case as GitHub does, and it is not one for trusted jobs if j is untrusted, nor the
// other way round, unless the pool is for both.
func (r Runner) covers(j Job) bool {
	if trusted := r.Job.Untrusted == "" && j.Untrusted == ""; !trusted && r.Job.Pool != j.Pool {
		return false
	}
	if r.Scope != "" && !j.Reaches(r.Scope) {
		return false
	}
	for _, want := range j.Labels {
		has := func(have string) bool { return strings.EqualFold(have, want) }
		if !slices.ContainsFunc(r.Job.Labels, has) {
			return false
		}
	}
	return true
}
