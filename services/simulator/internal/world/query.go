package world

import (
	"cmp"
	"slices"
	"strings"
)

// Run finds a run of a repository; an empty repo means any.
func (w *World) Run(repo string, id int64) (Run, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.findRun(id)
	if !ok || (repo != "" && !strings.EqualFold(r.Repo, repo)) {
		return Run{}, false
	}
	return r.view(), true
}

// Runs lists the runs of a repository, newest first as GitHub does.
func (w *World) Runs(repo string) []Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Run
	for _, r := range slices.Backward(w.runs) {
		if strings.EqualFold(r.Repo, repo) {
			out = append(out, r.view())
		}
	}
	return out
}

// RunJobs lists the jobs of a run, of its last attempt or of all.
func (w *World) RunJobs(runID int64, all bool) []Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.findRun(runID)
	if !ok {
		return nil
	}
	jobs := r.lastAttempt()
	if all {
		jobs = r.jobs
	}
	out := make([]Job, len(jobs))
	for n, j := range jobs {
		out[n] = j.view()
	}
	return out
}

// Job finds a job by id.
func (w *World) Job(id int64) (Job, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	j, ok := w.jobs[id]
	if !ok {
		return Job{}, false
	}
	return j.view(), true
}

// Jobs lists every job, oldest first.
func (w *World) Jobs() []Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Job, 0, len(w.jobs))
	for _, j := range w.jobs {
		out = append(out, j.view())
	}
	slices.SortFunc(out, func(a, b Job) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (w *World) findRun(id int64) (*run, bool) {
	n, ok := slices.BinarySearchFunc(w.runs, id, func(r *run, id int64) int { return cmp.Compare(r.ID, id) })
	if !ok {
		return nil, false
	}
	return w.runs[n], true
}

func (r *run) lastAttempt() []*job {
	n := slices.IndexFunc(r.jobs, func(j *job) bool { return j.Attempt == r.Attempt })
	return r.jobs[n:]
}

func (r *run) view() Run {
	v := r.Run
	v.Status = r.status()
	if v.Status == Completed {
		v.Conclusion = r.conclusion()
	}
	return v
}

// status follows the jobs: completed if all are, else in progress as soon as one has begun.
func (r *run) status() Status {
	count := map[Status]int{}
	jobs := r.lastAttempt()
	for _, j := range jobs {
		count[j.Status]++
	}
	switch {
	case count[Completed] == len(jobs):
		return Completed
	case count[InProgress]+count[Completed] > 0:
		return InProgress
	case count[Queued] > 0:
		return Queued
	default:
		return Waiting
	}
}

func (r *run) conclusion() Conclusion {
	worst := Success
	for _, j := range r.lastAttempt() {
		if j.Conclusion == Failure || (j.Conclusion == Cancelled && worst != Failure) {
			worst = j.Conclusion
		}
	}
	return worst
}

func (j *job) view() Job {
	v := j.Job
	v.Labels = slices.Clone(v.Labels)
	v.Steps = slices.Clone(v.Steps)
	return v
}
