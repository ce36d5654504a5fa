package world

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // commit ids of Git are SHA-1
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

type run struct {
	Run
	spec Workflow
	jobs []*job // of every attempt
}

// job is guarded by World.mu. Its timers exist from the start so that stopping them needs no question.
type job struct {
	Job
	run          *run
	spec         JobSpec
	runner       *runner // assigned or running
	cancelling   bool    // a running job was cancelled and its runner has not finished yet
	queueTimer   *time.Timer
	acquireTimer *time.Timer
}

// Dispatch starts a workflow run. The error wraps ErrNotFound or ErrInvalid.
func (w *World) Dispatch(wf Workflow) (Run, []Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	repo, ok := w.repos[strings.ToLower(wf.Repo)]
	if !ok {
		return Run{}, nil, fmt.Errorf("repo %q: %w", wf.Repo, ErrNotFound)
	}
	head, ok := w.repos[strings.ToLower(cmp.Or(wf.Head, wf.Repo))]
	if !ok {
		return Run{}, nil, fmt.Errorf("head %q: %w", wf.Head, ErrNotFound)
	}
	if len(wf.Jobs) == 0 {
		return Run{}, nil, fmt.Errorf("jobs: must hold at least one job (got none): %w", ErrInvalid)
	}
	for n, j := range wf.Jobs {
		if j.Name == "" || len(j.Labels) == 0 {
			return Run{}, nil, fmt.Errorf("jobs[%d]: must have a name and labels (got name %q, labels %q): %w", n, j.Name, j.Labels, ErrInvalid)
		}
	}
	now := time.Now()
	id := w.nextID("run", 5_300_000_000)
	sum := sha1.Sum(fmt.Appendf(nil, "commit %d", id)) //nolint:gosec // see the import
	r := &run{spec: wf, Run: Run{
		ID: id, Number: int(w.nextID("number "+repo.FullName(), 0)), Attempt: 1, Repo: repo.FullName(),
		Workflow: cmp.Or(wf.Name, "CI"), Event: cmp.Or(wf.Event, "push"), Branch: cmp.Or(wf.Branch, "main"), Head: head.FullName(),
		SHA: hex.EncodeToString(sum[:]), CreatedAt: now, StartedAt: now, UpdatedAt: now,
	}}
	w.runs = append(w.runs, r)
	jobs := w.start(r, wf.Jobs)
	return r.view(), jobs, nil
}

// start adds the jobs of an attempt and lets them queue or wait.
func (w *World) start(r *run, specs []JobSpec) []Job {
	added := make([]*job, len(specs))
	for n, spec := range specs {
		added[n] = &job{run: r, spec: spec, queueTimer: stoppedTimer(), acquireTimer: stoppedTimer(), Job: Job{
			ID: w.nextID("job", 14_500_000_000), RunID: r.ID, Attempt: r.Attempt, Repo: r.Repo, Enterprise: w.enterpriseOf(r.Repo), Name: spec.Name,
			Labels: slices.Clone(spec.Labels), Environment: spec.Environment, Status: Queued, CreatedAt: time.Now(),
		}}
		w.jobs[added[n].ID] = added[n]
		r.jobs = append(r.jobs, added[n])
	}
	out := make([]Job, len(added))
	for n, j := range added {
		if j.Environment == "" {
			w.enqueue(j)
		} else {
			// GitHub announces such a job twice: as queued with the status waiting, then as waiting
			// (octokit's example queued.with-deployment).
			j.Status = Waiting
			w.emit("queued", j)
			w.emit("waiting", j)
		}
		out[n] = j.view()
	}
	return out
}

// stoppedTimer never fires by itself; its owner replaces it when there is something to wait for.
func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// Approve lets a waiting job be queued. The error wraps ErrNotFound or ErrState.
func (w *World) Approve(jobID int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	j, ok := w.jobs[jobID]
	if !ok {
		return fmt.Errorf("job %d: %w", jobID, ErrNotFound)
	}
	if j.Status != Waiting {
		return fmt.Errorf("job %d is %s, not waiting: %w", jobID, j.Status, ErrState)
	}
	j.Status = Queued
	w.enqueue(j)
	return nil
}

// CancelRun cancels every job of the run's last attempt. The error wraps ErrNotFound, or ErrState if all are completed.
func (w *World) CancelRun(runID int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.findRun(runID)
	if !ok {
		return fmt.Errorf("run %d: %w", runID, ErrNotFound)
	}
	if r.status() == Completed {
		return fmt.Errorf("run %d is completed: %w", runID, ErrState)
	}
	for _, j := range r.lastAttempt() {
		w.cancel(j, "cancelled by a user")
	}
	return nil
}

// CancelJob cancels one job. A queued or waiting one is completed at once; a running one when its runner has stopped
// it. The error wraps ErrNotFound or ErrState.
func (w *World) CancelJob(jobID int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	j, ok := w.jobs[jobID]
	if !ok {
		return fmt.Errorf("job %d: %w", jobID, ErrNotFound)
	}
	if j.Status == Completed {
		return fmt.Errorf("job %d is completed: %w", jobID, ErrState)
	}
	w.cancel(j, "cancelled by a user")
	return nil
}

func (w *World) cancel(j *job, reason string) {
	switch j.Status {
	case Queued, Waiting:
		w.release(j)
		j.StartedAt = time.Now() // GitHub gives such a job a start that equals its end, and no runner
		w.complete(j, Cancelled, reason, j.StartedAt)
		w.assign()
	case InProgress:
		j.cancelling, j.Reason = true, reason
		if j.runner.session != nil {
			j.runner.session.wake()
		}
	case Completed:
	}
}

// Rerun starts the next attempt of a completed run: all jobs again, with new ids. The error wraps ErrNotFound or
// ErrState.
func (w *World) Rerun(runID int64) (Run, []Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.findRun(runID)
	if !ok {
		return Run{}, nil, fmt.Errorf("run %d: %w", runID, ErrNotFound)
	}
	if r.status() != Completed {
		return Run{}, nil, fmt.Errorf("run %d is %s, not completed: %w", runID, r.status(), ErrState)
	}
	r.Attempt++
	r.StartedAt = time.Now()
	jobs := w.start(r, r.spec.Jobs)
	return r.view(), jobs, nil
}
