package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// Statuses of jobs and workflow runs that matter here. The set is GitHub's and open.
const (
	statusQueued     = "queued"
	statusWaiting    = "waiting"
	statusInProgress = "in_progress"
)

// Sight asks GitHub for a job. One that it does not show us was deleted with its run, or its repository can't be seen any
// more.
func (f *Forge) Sight(ctx context.Context, j run.Job) (run.Sighting, error) {
	var job *github.WorkflowJob
	err := f.call(ctx, j, func(ctx context.Context, c *github.Client) (err error) {
		job, _, err = c.Actions.GetWorkflowJobByID(ctx, j.Owner, j.Repo, j.ID)
		return unlessGone(err)
	})
	if err != nil {
		return run.Sighting{}, fmt.Errorf("get job %d: %w", j.ID, err)
	}
	if job == nil {
		return run.Sighting{Gone: true}, nil
	}
	seen := run.Sighting{Status: job.GetStatus(), Conclusion: job.GetConclusion(), Runner: nameOf(job.GetRunnerName())}
	if !seen.Runner.IsZero() {
		seen.GitHubID = job.GetRunnerID()
	}
	return seen, nil
}

// Queued lists the jobs of a repository that want a runner (queued) and those that are held for an approval (waiting),
// whatever their labels: Pool is empty. Both lists are complete, or there is an error; what they hold is true in any case. A job
// that turns up later is what its webhook is for.
func (f *Forge) Queued(ctx context.Context, owner, repo string, installation int64) (queued, waiting []run.Job, err error) {
	in := run.Job{Owner: owner, Repo: repo, Installation: installation}
	read := map[int64]bool{}
	var missing []error
	// A run goes from queued to in progress. Read in that order, it can't hide from both lists. While one of its jobs waits for an
	// approval it is on neither, and others of them may be queued.
	for _, status := range []string{statusQueued, statusWaiting, statusInProgress} {
		workflows, err := f.workflowRuns(ctx, in, status)
		if err != nil {
			missing = append(missing, fmt.Errorf("list %s runs of %s/%s: %w", status, owner, repo, err))
		}
		for _, w := range workflows {
			if read[w.GetID()] || !partial(missing) {
				continue
			}
			read[w.GetID()] = true
			jobs, err := f.workflowJobs(ctx, in, w.GetID())
			if err != nil {
				missing = append(missing, fmt.Errorf("list jobs of run %d: %w", w.GetID(), err))
			}
			q, held := sorted(in, w, jobs)
			queued, waiting = append(queued, q...), append(waiting, held...)
		}
		if !partial(missing) {
			break
		}
	}
	return queued, waiting, errors.Join(missing...)
}

// sorted are those of a run's jobs that want a runner, and those that are held.
func sorted(in run.Job, w *github.WorkflowRun, jobs []*github.WorkflowJob) (queued, waiting []run.Job) {
	for _, j := range jobs {
		switch j.GetStatus() {
		case statusQueued:
			queued = append(queued, jobOf(in, w, j))
		case statusWaiting:
			waiting = append(waiting, jobOf(in, w, j))
		}
	}
	return queued, waiting
}

// partial reports whether all that failed is that lists were not complete, so that there is a point in reading more.
func partial(missing []error) bool {
	return !slices.ContainsFunc(missing, func(err error) bool { return !errors.Is(err, errIncomplete) })
}

// workflowRuns lists the runs of a status. Of more than GitHub lists in all, the newest page is returned with an error: each run
// costs a request, and so many would leave nothing for launches.
func (f *Forge) workflowRuns(ctx context.Context, in run.Job, status string) ([]*github.WorkflowRun, error) {
	return readAll((*github.WorkflowRun).GetID, func(number int) (p page[*github.WorkflowRun], err error) {
		opts := &github.ListWorkflowRunsOptions{
			Status: status, ExcludePullRequests: true, ListOptions: github.ListOptions{Page: number, PerPage: pageSize},
		}
		err = f.call(ctx, in, func(ctx context.Context, c *github.Client) error {
			runs, resp, err := c.Actions.ListRepositoryWorkflowRuns(ctx, in.Owner, in.Repo, opts)
			if err != nil {
				return err
			}
			p = page[*github.WorkflowRun]{items: runs.WorkflowRuns, total: runs.GetTotalCount(), next: resp.NextPage}
			return nil
		})
		if err == nil && p.total > maxFiltered {
			return p, fmt.Errorf("%w: GitHub lists no more than %d of %d", errIncomplete, maxFiltered, p.total)
		}
		return p, err
	})
}

// workflowJobs lists the jobs of a run's newest attempt; none if the run is gone.
func (f *Forge) workflowJobs(ctx context.Context, in run.Job, workflow int64) ([]*github.WorkflowJob, error) {
	return readAll((*github.WorkflowJob).GetID, func(number int) (p page[*github.WorkflowJob], err error) {
		opts := &github.ListWorkflowJobsOptions{ListOptions: github.ListOptions{Page: number, PerPage: pageSize}}
		err = f.call(ctx, in, func(ctx context.Context, c *github.Client) error {
			jobs, resp, err := c.Actions.ListWorkflowJobs(ctx, in.Owner, in.Repo, workflow, opts)
			if err != nil {
				return unlessGone(err)
			}
			p = page[*github.WorkflowJob]{items: jobs.Jobs, total: jobs.GetTotalCount(), next: resp.NextPage}
			return nil
		})
		return p, err
	})
}

// jobOf is what a webhook about the job would say of it.
func jobOf(in run.Job, w *github.WorkflowRun, j *github.WorkflowJob) run.Job {
	repo := w.GetRepository()
	return run.Job{
		ID: j.GetID(), RunID: w.GetID(), RunAttempt: int(j.GetRunAttempt()),
		Owner: in.Owner, Repo: in.Repo, RepoID: repo.GetID(), Installation: in.Installation,
		OrgOwned: repo.GetOwner().GetType() == "Organization", Private: repo.GetPrivate(), Fork: repo.GetFork(),
		Labels: j.Labels, WorkflowName: wire.CutText(j.GetWorkflowName()), Name: wire.CutText(j.GetName()),
		HeadBranch: wire.CutText(j.GetHeadBranch()), HeadSHA: wire.CutText(j.GetHeadSHA()), CreatedAt: j.GetCreatedAt().Time,
	}
}

// unlessGone is err, or nil if it says that there is no such thing.
func unlessGone(err error) error {
	if isStatus(err, http.StatusNotFound) {
		return nil
	}
	return err
}
