package rollout

import (
	"cmp"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// agedAfter is at what age of the release in use a refused one is tried again: GitHub refuses releases of about 30 days.
	agedAfter = 28 * 24 * time.Hour
	// retryAfter is how long after it was refused it is the candidate again then, for as many trials as at first. Each may have its job
	// wait for some minutes.
	retryAfter = time.Hour
	// maxFailed is how many trials refuse a release, of runners for as many jobs: a sandbox can be lost, and GitHub give out no jobs for
	// a while, whatever the release is.
	maxFailed = 3
	// trialPause is how long after one that failed the next trial begins at the soonest, so that one mishap meets one of them.
	trialPause = 10 * time.Minute
)

// State is what is on record of the releases of the runner.
type State struct {
	// Good is the one that all sandboxes get: the last of which a runner took a job, or the first that there was. Zero before that.
	Good run.RunnerRelease `json:"good,omitzero"`
	// Candidate is the one to be tried; zero if there is none.
	Candidate run.RunnerRelease `json:"candidate,omitzero"`
	// Trying says that Runner tries Candidate. Otherwise Runner is the last one that tried a release.
	Trying bool     `json:"trying,omitempty"`
	Runner run.Name `json:"runner,omitzero"`
	// Failed are those whose trials of Candidate or Refused failed, the last at FailedAt and for Why.
	Failed   []run.Name `json:"failed,omitempty"`
	FailedAt time.Time  `json:"failed_at,omitzero"`
	Why      string     `json:"why,omitempty"`
	// Refused is the newest release, if as many trials of it failed as may, the last by Runner and at RefusedAt. That of a worker to
	// which one was enough has no Failed.
	Refused   run.RunnerRelease `json:"refused,omitzero"`
	RefusedAt time.Time         `json:"refused_at,omitzero"`
}

// Offered is s once GitHub has said which release is the newest.
func (s State) Offered(newest run.RunnerRelease) State {
	switch newest.Version {
	case s.Refused.Version:
	case s.Candidate.Version:
		s.Candidate = newest // Its archive may have moved.
	case s.Good.Version: // Of a newer one, if there was any, GitHub does not tell any more.
		s = s.withCandidate(run.RunnerRelease{})
		s.Good = newest
	default: // A trial of an older one is of no interest any more.
		s = s.withCandidate(newest)
	}
	if s.Good.Version == "" { // There is nothing to fall back to.
		s.Good, s.Candidate = newest, run.RunnerRelease{}
	}
	return s
}

// withCandidate is s with another candidate, of which nothing is known yet.
func (s State) withCandidate(r run.RunnerRelease) State {
	return State{Good: s.Good, Candidate: r, Runner: s.Runner}
}

// Again is s with the refused release as the candidate, as if it were new.
func (s State) Again() State {
	if s.Refused.Version == "" {
		return s
	}
	return s.withCandidate(s.Refused)
}

// Aged is s at now: if GitHub is about to refuse the release in use, a trial of one that failed before is better than none.
func (s State) Aged(now time.Time) State {
	if now.Sub(s.Good.PublishedAt) < agedAfter || now.Sub(s.RefusedAt) < retryAfter {
		return s
	}
	return s.Again()
}

// Begun is s once the sandbox of the runner is to be created where there is an image with that version, and whether it tries the
// candidate: one at a time does, and for each job one. The version is empty where there is no image with a candidate.
func (s State) Begun(name run.Name, version string, now time.Time) (next State, tries bool) {
	is := version != "" && version == s.Candidate.Version
	switch {
	case s.Trying && s.Runner == name: // It is created anew, perhaps by another worker.
		s.Trying = is
		return s, is
	case !is || !s.due(now), slices.ContainsFunc(s.Failed, func(f run.Name) bool { return f.Job == name.Job }):
		return s, false
	}
	s.Trying, s.Runner = true, name
	return s, true
}

// due reports whether the candidate is to be tried by the next sandbox that is created.
func (s State) due(now time.Time) bool {
	return s.Candidate.Version != "" && !s.Trying && now.Sub(s.FailedAt) >= trialPause
}

// Judged is s once r is the record of the runner that tries the candidate. well says that no runner of r's pool has failed to start
// since the last one that did not, but for r: what fails in a pool that fails anyway proves nothing.
func (s State) Judged(r run.Runner, well bool, now time.Time) State {
	if !s.Trying || r.State != run.Unknown && r.Name != s.Runner {
		return s
	}
	switch verdictOn(r) {
	case open:
	case took:
		s.Good = s.Candidate
		s = s.withCandidate(run.RunnerRelease{})
	case failed:
		if well {
			s.Failed, s.FailedAt, s.Why = append(slices.Clone(s.Failed), s.Runner), now, cmp.Or(r.Reason, "not known")
		}
		if len(s.Failed) >= maxFailed {
			s.Refused, s.RefusedAt, s.Candidate = s.Candidate, now, run.RunnerRelease{}
		}
		s.Trying = false
	case nothing:
		s.Trying = false
	}
	return s
}

// failedWith reports whether the trial by that runner failed.
func (s State) failedWith(name run.Name) bool {
	return slices.Contains(s.Failed, name) || len(s.Failed) == 0 && s.Refused.Version != "" && s.Runner == name
}

// verdict is what the record of a runner says of the release that it tries.
type verdict int

const (
	open    verdict = iota // It may yet take a job.
	took                   // It took one.
	failed                 // It ended without one.
	nothing                // It can't be told any more.
)

func verdictOn(r run.Runner) verdict {
	switch {
	case r.State == run.Unknown: // The ledger was restored from a backup.
		return nothing
	case r.State == run.Busy || r.Took != 0 || !r.OccupiedSince.IsZero():
		return took
	case r.State != run.Ended:
		return open
	case r.For == 0 || r.SandboxID == "": // Its job needed it no more, or it was never made.
		return nothing
	}
	return failed
}
