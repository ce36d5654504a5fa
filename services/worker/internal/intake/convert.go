package intake

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// eventOf translates a message, which came in the trace, to what the rules know.
func eventOf(ev *jobsv1.JobEvent, traceparent string) (run.Event, error) {
	job := jobOf(ev)
	job.Trace = traceparent
	var runner run.Name
	var githubID int64
	if id, attempt, ok := wire.ParseRunnerName(ev.GetRunnerName()); ok {
		runner, githubID = run.Name{Job: id, Attempt: attempt}, ev.GetRunnerId()
	}
	received, event := timeOf(ev.GetReceivedAt()), ev.GetDeliveryId()
	switch ev.GetAction() {
	case jobsv1.Action_ACTION_QUEUED:
		return run.Queued{Job: job, At: received, Event: event}, nil
	case jobsv1.Action_ACTION_WAITING:
		return run.Held{Job: job, At: received, Event: event}, nil
	case jobsv1.Action_ACTION_IN_PROGRESS:
		return run.Started{Job: job, Runner: runner, GitHubID: githubID, At: received, Event: event}, nil
	case jobsv1.Action_ACTION_COMPLETED:
		return run.Finished{Job: job, Runner: runner, GitHubID: githubID, Conclusion: ev.GetConclusion(), Event: event}, nil
	case jobsv1.Action_ACTION_UNSPECIFIED:
	}
	return nil, fmt.Errorf("action: must be one of the known ones (got %v): %w", ev.GetAction(), wire.ErrMalformed)
}

func jobOf(ev *jobsv1.JobEvent) run.Job {
	repo := ev.GetRepository()
	return run.Job{
		ID: ev.GetJobId(), RunID: ev.GetRunId(), RunAttempt: int(ev.GetRunAttempt()),
		Owner: repo.GetOwner(), Repo: repo.GetName(), RepoID: repo.GetId(),
		OrgOwned: repo.GetOwnedByOrganization(), Private: repo.GetPrivate(), Fork: repo.GetFork(),
		Installation: ev.GetInstallationId(), Labels: ev.GetLabels(), Pool: ev.GetPool(),
		WorkflowName: ev.GetWorkflowName(), Name: ev.GetJobName(), HeadBranch: ev.GetHeadBranch(), HeadSHA: ev.GetHeadSha(),
		CreatedAt: timeOf(ev.GetCreatedAt()),
	}
}

// messageOf is the queued event of j, received at at; jobOf of it is j, but for the trace, which goes in the message's headers.
func messageOf(j run.Job, at time.Time) *jobsv1.JobEvent {
	ev := &jobsv1.JobEvent{
		Action: jobsv1.Action_ACTION_QUEUED, JobId: j.ID, RunId: j.RunID, RunAttempt: int32(j.RunAttempt), //nolint:gosec // came from an int32
		Labels: j.Labels, Pool: j.Pool, InstallationId: j.Installation, ReceivedAt: timestamppb.New(at),
		Repository: &jobsv1.Repository{
			Id: j.RepoID, Owner: j.Owner, Name: j.Repo, Private: j.Private, Fork: j.Fork, OwnedByOrganization: j.OrgOwned,
		},
		WorkflowName: j.WorkflowName, JobName: j.Name, HeadBranch: j.HeadBranch, HeadSha: j.HeadSHA,
	}
	if !j.CreatedAt.IsZero() {
		ev.CreatedAt = timestamppb.New(j.CreatedAt)
	}
	return ev
}

// reportOf is the message that tells of what was found out about a job at now; eventOf of it is the same.
func reportOf(found run.Event, now time.Time) (*jobsv1.JobEvent, error) {
	var ev *jobsv1.JobEvent
	switch f := found.(type) {
	case run.Queued:
		ev = messageOf(f.Job, f.At)
		ev.DeliveryId = f.Event
	case run.Held:
		ev = messageOf(f.Job, f.At)
		ev.Action, ev.DeliveryId = jobsv1.Action_ACTION_WAITING, f.Event
	case run.Started:
		ev = messageOf(f.Job, f.At)
		ev.Action, ev.DeliveryId, ev.RunnerName, ev.RunnerId = jobsv1.Action_ACTION_IN_PROGRESS, f.Event, runnerName(f.Runner), f.GitHubID
	case run.Finished:
		ev = messageOf(f.Job, now)
		ev.Action, ev.DeliveryId, ev.Conclusion = jobsv1.Action_ACTION_COMPLETED, f.Event, f.Conclusion
		ev.RunnerName, ev.RunnerId = runnerName(f.Runner), f.GitHubID
	default:
		return nil, fmt.Errorf("event: must be one that GitHub tells of (got %T)", found)
	}
	return ev, nil
}

// runnerName is the runner's name at GitHub; empty for the zero Name.
func runnerName(n run.Name) string {
	if n.IsZero() {
		return ""
	}
	return wire.RunnerName(n.Job, n.Attempt)
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
