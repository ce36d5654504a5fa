package fakegithub

import (
	"net/http"
	"slices"
	"strings"

	"modal-github-runner/services/simulator/internal/fakegithub/reply"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/world"
)

// getJob serves GET /repos/{owner}/{repo}/actions/jobs/{job_id}.
func getJob(c *call) (answer, error) {
	repo, err := c.repo()
	if err != nil {
		return answer{}, err
	}
	id, err := c.id("job_id")
	if err != nil {
		return answer{}, err
	}
	job, found := c.gh.World.Job(id)
	if !found || !strings.EqualFold(job.Repo, repo.FullName()) {
		return answer{}, errNotFound
	}
	run, found := c.gh.World.Run(job.Repo, job.RunID)
	if !found {
		return answer{}, errNotFound
	}
	return ok(c.links.Job(job, run))
}

// listRuns serves GET /repos/{owner}/{repo}/actions/runs; status filters by status or conclusion.
func listRuns(c *call) (answer, error) {
	repo, err := c.repo()
	if err != nil {
		return answer{}, err
	}
	all := c.gh.World.Runs(repo.FullName())
	if status := c.URL.Query().Get("status"); status != "" {
		all = slices.DeleteFunc(all, func(r world.Run) bool { return string(r.Status) != status && string(r.Conclusion) != status })
	}
	return list(c, "workflow_runs", all, func(r world.Run) shape.Object { return c.renderRun(r, repo) }), nil
}

// run finds the run of the path.
func (c *call) run() (world.Run, world.Repo, error) {
	repo, err := c.repo()
	if err != nil {
		return world.Run{}, world.Repo{}, err
	}
	id, err := c.id("run_id")
	if err != nil {
		return world.Run{}, world.Repo{}, err
	}
	run, found := c.gh.World.Run(repo.FullName(), id)
	if !found {
		return world.Run{}, world.Repo{}, errNotFound
	}
	return run, repo, nil
}

// getRun serves GET /repos/{owner}/{repo}/actions/runs/{run_id}.
func getRun(c *call) (answer, error) {
	run, repo, err := c.run()
	if err != nil {
		return answer{}, err
	}
	return ok(c.renderRun(run, repo))
}

func (c *call) renderRun(r world.Run, repo world.Repo) shape.Object {
	owner, _ := c.gh.World.Owner(repo.Owner)
	head := c.links.Repo(repo, owner)
	if account, name, _ := strings.Cut(r.Head, "/"); r.Head != repo.FullName() {
		fork, _ := c.gh.World.Repo(account, name)
		owner, _ := c.gh.World.Owner(account)
		head = c.links.Repo(fork, owner)
		head["fork"] = true
	}
	return c.links.Run(r, repo, owner, head)
}

// listJobs serves GET /repos/{owner}/{repo}/actions/runs/{run_id}/jobs; filter is "latest" (default) or "all".
func listJobs(c *call) (answer, error) {
	run, _, err := c.run()
	if err != nil {
		return answer{}, err
	}
	all := c.gh.World.RunJobs(run.ID, c.URL.Query().Get("filter") == "all")
	return list(c, "jobs", all, func(j world.Job) shape.Object { return c.links.Job(j, run) }), nil
}

// cancelRun serves POST /repos/{owner}/{repo}/actions/runs/{run_id}/cancel.
func cancelRun(c *call) (answer, error) {
	run, _, err := c.run()
	if err != nil {
		return answer{}, err
	}
	if err := c.gh.World.CancelRun(run.ID); err != nil {
		return answer{}, reply.Fail(http.StatusConflict, "Cannot cancel a workflow run that is completed.")
	}
	return answer{status: http.StatusAccepted, body: shape.Object{}}, nil
}

// rerun serves POST /repos/{owner}/{repo}/actions/runs/{run_id}/rerun.
func rerun(c *call) (answer, error) {
	run, _, err := c.run()
	if err != nil {
		return answer{}, err
	}
	if _, _, err := c.gh.World.Rerun(run.ID); err != nil {
		return answer{}, reply.Fail(http.StatusForbidden, "This workflow run is not completed and cannot be retried.")
	}
	return answer{status: http.StatusCreated, body: shape.Object{}}, nil
}
