package world

import (
	"slices"
	"strings"
	"time"
)

// enqueue puts a job at the end of the queue and looks for a runner.
func (w *World) enqueue(j *job) {
	j.QueuedAt = time.Now()
	w.queue = append(w.queue, j)
	j.queueTimer = time.AfterFunc(w.timing.Queue, func() { w.queueTimeout(j) })
	w.emit("queued", j)
	w.assign()
}

func (w *World) queueTimeout(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && j.Status == Queued {
		w.cancel(j, "queued longer than GitHub allows")
	}
}

// assign gives queued jobs, oldest first, to idle runners. Any online idle runner that covers the job may get it,
// whoever it was made for: a JIT configuration reserves no job.
func (w *World) assign() {
	idle := make([]*runner, 0, len(w.runners))
	for _, r := range w.runners {
		if r.session != nil && r.job == nil {
			idle = append(idle, r)
		}
	}
	for n := 0; n < len(w.queue) && len(idle) > 0; {
		j := w.queue[n]
		fitting := slices.DeleteFunc(slices.Clone(idle), func(r *runner) bool { return !r.fits(j) })
		if len(fitting) == 0 {
			n++
			continue
		}
		r := fitting[w.rnd.IntN(len(fitting))]
		idle = slices.DeleteFunc(idle, func(i *runner) bool { return i == r })
		w.queue = slices.Delete(w.queue, n, n+1)
		w.offer(j, r)
	}
}

func (w *World) offer(j *job, r *runner) {
	j.runner, r.job = r, j
	j.AssignedAt = time.Now()
	j.acquireTimer = time.AfterFunc(w.timing.Acquire, func() { w.acquireTimeout(j, r) })
	r.session.wake()
}

// acquireTimeout puts a job that its runner did not take back at the head of the queue.
func (w *World) acquireTimeout(j *job, r *runner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || j.Status != Queued || j.runner != r || time.Since(j.AssignedAt) < w.timing.Acquire {
		return
	}
	w.requeue(j)
	w.assign()
}

// requeue takes an assigned job from its runner.
func (w *World) requeue(j *job) {
	j.runner.job, j.runner = nil, nil
	j.acquireTimer.Stop()
	j.AssignedAt = time.Time{}
	j.Requeued++
	w.queue = slices.Insert(w.queue, 0, j)
}

// release takes a job that has not started from the queue and from its runner.
func (w *World) release(j *job) {
	j.queueTimer.Stop()
	j.acquireTimer.Stop()
	w.queue = slices.DeleteFunc(w.queue, func(q *job) bool { return q == j })
	if j.runner != nil {
		j.runner.job, j.runner = nil, nil
	}
}

func (w *World) complete(j *job, c Conclusion, reason string, at time.Time) {
	j.Status, j.Conclusion, j.Reason, j.CompletedAt = Completed, c, reason, at
	w.emit("completed", j)
}

func (w *World) emit(action string, j *job) {
	j.run.UpdatedAt = time.Now()
	repo := w.repos[strings.ToLower(j.Repo)]
	w.listener(Event{
		Action: action, Job: j.view(), Run: j.run.view(), Repo: repo, Owner: w.owners[strings.ToLower(repo.Owner)],
		Installation: w.installationFor(repo), At: time.Now(),
	})
}
