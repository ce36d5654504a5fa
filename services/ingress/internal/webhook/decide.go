package webhook

import (
	"errors"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
)

// Policy says which jobs are ours.
type Policy struct {
	// Route returns the pool that labels ask for, "" for none. With an error, which is the worker's to tell the job's author,
	// it is the pool that the job is published for nevertheless.
	Route func(labels []string) (pool string, err error)
	// LooksLike returns the pool that labels of no pool seem to ask for, in characters that only look like those of its labels; "" for none.
	LooksLike func(labels []string) (pool string)
	Repos     []wire.RepoPattern // as wire.AdmitRepo has it
}

// Reason says why an event is of no use to us.
type Reason string

// Why an event is ignored. None means that it is not.
const (
	None         Reason = ""
	OtherEvent   Reason = "other event"
	OtherAction  Reason = "other action"
	OtherLabels  Reason = "no label of ours"
	LookAlike    Reason = "label that only looks like ours"
	RepoRefused  Reason = "repository not allowed"
	PublicUnsaid Reason = "public repository not named"
)

// Verdict is what becomes of an event: it is published, for the pool if its labels ask for one, or ignored for a reason. Pool is the one
// that it looks like then, if that is the reason.
type Verdict struct {
	Pool   string
	Reason Reason
}

// Decide applies the policy to an event. Jobs whose labels and repository are ours are published whatever happened to them.
// So is what happens to any job that a runner of ours took, wherever it came from: the job that the runner was launched for
// still waits.
func Decide(ev *jobsv1.JobEvent, p Policy) Verdict {
	started := false
	switch ev.GetAction() {
	case jobsv1.Action_ACTION_UNSPECIFIED:
		return Verdict{Reason: OtherAction}
	case jobsv1.Action_ACTION_IN_PROGRESS, jobsv1.Action_ACTION_COMPLETED:
		started = true
	case jobsv1.Action_ACTION_QUEUED, jobsv1.Action_ACTION_WAITING:
	}
	pool, _ := p.Route(ev.GetLabels())
	if _, _, ours := wire.ParseRunnerName(ev.GetRunnerName()); ours && started {
		return Verdict{Pool: pool}
	}
	if pool == "" {
		if pool = p.LooksLike(ev.GetLabels()); pool != "" {
			return Verdict{Pool: pool, Reason: LookAlike}
		}
		return Verdict{Reason: OtherLabels}
	}
	if reason := p.admit(ev.GetRepository()); reason != None {
		return Verdict{Reason: reason}
	}
	return Verdict{Pool: pool}
}

func (p Policy) admit(repo *jobsv1.Repository) Reason {
	switch err := wire.AdmitRepo(p.Repos, repo.GetOwner(), repo.GetName(), repo.GetPrivate()); {
	case err == nil:
		return None
	case errors.Is(err, wire.ErrPublicNotNamed):
		return PublicUnsaid
	default:
		return RepoRefused
	}
}
