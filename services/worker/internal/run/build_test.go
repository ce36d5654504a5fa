package run_test

import (
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// now is when things happen in these tests.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func in(d time.Duration) time.Time { return now.Add(d) }

func job(id int64, labels ...string) run.Job {
	return run.Job{ID: id, Owner: "octo", Repo: "repo", Pool: "default", Labels: append([]string{"modal"}, labels...)}
}

func runner(job int64, attempt int) run.Name { return run.Name{Job: job, Attempt: attempt} }

// waiting is job 1, which has waited for a minute and counts on its first runner. The changes are made to it.
func waiting(changes ...func(*run.Run)) run.Run {
	return with(run.Run{
		Job: job(1), State: run.Waiting, Runner: runner(1, 1), Attempts: 1, QueuedAt: ago(time.Minute), LastQueuedAt: ago(time.Minute),
	}, changes...)
}

// running is job 1 on its own runner.
func running(changes ...func(*run.Run)) run.Run {
	return with(waiting(func(r *run.Run) { r.State, r.RanOn, r.StartedAt = run.Running, runner(1, 1), ago(30*time.Second) }), changes...)
}

// done is job 1 after it ran on its own runner, which was just now.
func done(changes ...func(*run.Run)) run.Run {
	return with(running(func(r *run.Run) { r.State, r.Conclusion, r.FinishedAt = run.Done, "success", now }), changes...)
}

// launched is the first runner of job 1, which was launched half a minute ago and waits for a job.
func launched(changes ...func(*run.Runner)) run.Runner {
	return with(run.Runner{
		Name: runner(1, 1), State: run.Launched, Job: job(1), Scope: "octo/repo", For: 1, GitHubID: 77, SandboxID: "sb-1", LaunchedAt: ago(30 * time.Second),
	}, changes...)
}

// launching is the first runner of job 1, which a worker is making.
func launching(changes ...func(*run.Runner)) run.Runner {
	return with(run.Runner{
		Name: runner(1, 1), State: run.Launching, Job: job(1), Scope: "octo/repo", For: 1, Until: in(run.LaunchTimeout),
	}, changes...)
}

func with[T any](record T, changes ...func(*T)) T {
	for _, change := range changes {
		change(&record)
	}
	return record
}
