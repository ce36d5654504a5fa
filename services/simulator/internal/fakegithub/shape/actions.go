package shape

import (
	"fmt"

	"modal-github-runner/services/simulator/internal/world"
)

// Job renders a job of a run, as REST does and as the "workflow_job" of a payload.
func (l Links) Job(j world.Job, r world.Run) Object {
	repo := l.API + "/repos/" + j.Repo
	started := j.StartedAt
	if started.IsZero() {
		started = j.CreatedAt // GitHub never leaves it empty
	}
	out := Object{
		"id": j.ID, "run_id": j.RunID, "run_attempt": j.Attempt, "node_id": NodeID("CheckRun", j.ID), "name": j.Name,
		"workflow_name": r.Workflow, "head_branch": r.Branch, "head_sha": r.SHA, "labels": j.Labels,
		"run_url": fmt.Sprintf("%s/actions/runs/%d", repo, j.RunID), "url": fmt.Sprintf("%s/actions/jobs/%d", repo, j.ID),
		"html_url":      fmt.Sprintf("%s/%s/actions/runs/%d/job/%d", l.HTML, j.Repo, j.RunID, j.ID),
		"check_run_url": fmt.Sprintf("%s/check-runs/%d", repo, j.ID), "status": j.Status, "conclusion": conclusion(j.Conclusion),
		"created_at": Time(j.CreatedAt), "started_at": Time(started), "completed_at": Time(j.CompletedAt), "steps": steps(j.Steps),
		"runner_id": nil, "runner_name": nil, "runner_group_id": nil, "runner_group_name": nil,
	}
	if j.RunnerID != 0 || j.Status == world.Completed {
		// A job that was cancelled in the queue is completed with the runner 0 (actions/runner issue 4684).
		out["runner_id"], out["runner_name"] = j.RunnerID, j.RunnerName
		out["runner_group_id"], out["runner_group_name"] = j.GroupID, j.GroupName
	}
	return out
}

func steps(in []world.Step) []Object {
	out := make([]Object, len(in))
	for n, s := range in {
		out[n] = Object{
			"name": s.Name, "status": s.Status, "conclusion": conclusion(s.Conclusion), "number": s.Number,
			"started_at": Time(s.StartedAt), "completed_at": Time(s.CompletedAt),
		}
	}
	return out
}

func conclusion(c world.Conclusion) any {
	if c == "" {
		return nil
	}
	return c
}

// Run renders a workflow run of a repository. head is the rendering of the repository that its commit is of.
func (l Links) Run(r world.Run, repo world.Repo, owner world.Owner, head Object) Object {
	api := fmt.Sprintf("%s/repos/%s/actions/runs/%d", l.API, r.Repo, r.ID)
	author := Object{"name": "octocat", "email": "octocat@github.com"}
	return Object{
		"id": r.ID, "name": r.Workflow, "node_id": NodeID("WorkflowRun", r.ID), "check_suite_id": r.ID,
		"check_suite_node_id": NodeID("CheckSuite", r.ID), "head_branch": r.Branch, "head_sha": r.SHA,
		"path": ".github/workflows/ci.yml", "run_number": r.Number, "run_attempt": r.Attempt, "event": r.Event,
		"display_title": r.Workflow, "status": r.Status, "conclusion": conclusion(r.Conclusion), "workflow_id": repo.ID,
		"url": api, "html_url": fmt.Sprintf("%s/%s/actions/runs/%d", l.HTML, r.Repo, r.ID), "pull_requests": []Object{},
		"created_at": Time(r.CreatedAt), "updated_at": Time(r.UpdatedAt), "run_started_at": Time(r.StartedAt),
		"actor": l.Sender(), "triggering_actor": l.Sender(), "referenced_workflows": []Object{}, "previous_attempt_url": nil,
		"jobs_url": api + "/jobs", "logs_url": api + "/logs", "artifacts_url": api + "/artifacts", "cancel_url": api + "/cancel",
		"rerun_url": api + "/rerun", "check_suite_url": fmt.Sprintf("%s/repos/%s/check-suites/%d", l.API, r.Repo, r.ID),
		"workflow_url": fmt.Sprintf("%s/repos/%s/actions/workflows/%d", l.API, r.Repo, repo.ID),
		"head_commit": Object{
			"id": r.SHA, "tree_id": r.SHA, "message": r.Workflow, "timestamp": Time(r.CreatedAt), "author": author, "committer": author,
		},
		"repository": l.Repo(repo, owner), "head_repository": head,
	}
}

// Deployment renders the deployment of a job that names an environment.
func (l Links) Deployment(j world.Job, r world.Run) Object {
	repo := l.API + "/repos/" + j.Repo
	url := fmt.Sprintf("%s/deployments/%d", repo, j.ID)
	return Object{
		"url": url, "id": j.ID, "node_id": NodeID("Deployment", j.ID), "task": "deploy", "original_environment": j.Environment,
		"environment": j.Environment, "description": nil, "created_at": Time(j.CreatedAt), "updated_at": Time(j.CreatedAt),
		"statuses_url": url + "/statuses", "repository_url": repo, "creator": l.Sender(), "sha": r.SHA, "ref": r.Branch,
		"payload": Object{}, "transient_environment": false, "production_environment": false, "performed_via_github_app": nil,
	}
}

// JobPayload renders the webhook payload of an event. installation is the App's, 0 for hooks that are not an App's.
func (l Links) JobPayload(e world.Event, installation int64) Object {
	out := Object{
		"action": e.Action, "workflow_job": l.Job(e.Job, e.Run), "repository": l.Repo(e.Repo, e.Owner), "sender": l.Sender(),
	}
	if e.Owner.Org {
		out["organization"] = l.Organization(e.Owner)
	}
	if e.Owner.Enterprise != "" {
		out["enterprise"] = l.Enterprise(e.Owner.Enterprise)
	}
	if e.Job.Environment != "" && e.Action != "waiting" { // as octokit's examples have it
		out["deployment"] = l.Deployment(e.Job, e.Run)
	}
	if installation != 0 {
		out["installation"] = Object{"id": installation, "node_id": NodeID("IntegrationInstallation", installation)}
	}
	return out
}
