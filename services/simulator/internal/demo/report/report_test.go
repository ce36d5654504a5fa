package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

// seen is one job in each state; two of them took the runners that were made for each other.
func seen() (control.State, fakemodal.Snapshot) {
	jobs := []world.Job{
		{ID: 1, Name: "stolen", Repo: "acme/api", Status: world.Completed, Conclusion: world.Success, RunnerName: "b", QueuedAt: at(100), StartedAt: at(300), CompletedAt: at(900)},
		{ID: 3, Name: "running", Repo: "acme/api", Status: world.InProgress, RunnerName: "c", QueuedAt: at(0), StartedAt: at(100)},
		{ID: 4, Name: "launched", Repo: "acme/api", Status: world.Queued, QueuedAt: at(0)},
		{ID: 5, Name: "queued", Repo: "acme/api", Status: world.Queued, QueuedAt: at(0)},
		{ID: 2, Name: "broken", Repo: "acme/api", Status: world.Completed, Conclusion: world.Failure, RunnerName: "a", QueuedAt: at(0), StartedAt: at(200), CompletedAt: at(700), ExitCode: 3},
	}
	made := func(name, job string, ms int, ended time.Time) sandbox.Record {
		return sandbox.Record{Name: name, Tags: map[string]string{"job-id": job}, CreatedAt: at(ms), EndedAt: ended}
	}
	return control.State{Jobs: jobs, Runners: []world.Runner{{Name: "c"}, {Name: "d"}, {Name: "e"}}, API: ratelimit.Stats{PrimaryRefusals: 1, SecondaryRefusals: 2}}, fakemodal.Snapshot{Snapshot: sandbox.Snapshot{Sandboxes: []sandbox.Record{
		made("b", "2", 50, at(950)), made("a", "1", 140, at(950)), made("c", "3", 60, time.Time{}), made("d", "4", 70, time.Time{}), made("e", "4", 90, at(100)),
	}}}
}

func TestReport(t *testing.T) {
	r := report.New(seen())
	if diff := cmp.Diff(report.Counts{Queued: 1, Launched: 1, Running: 1, Succeeded: 1, Failed: 1}, r.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if got, want := r.Summary(6), "demo: 6 jobs, 1 succeeded, 1 failed, 4 lost, 5 leaked"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
	if stolen := r.Jobs[0]; stolen.LaunchedAt != at(140) || stolen.TookFrom != "broken" {
		t.Errorf("the job that took another's runner: launched at %s, its runner made for %q", stolen.LaunchedAt, stolen.TookFrom)
	}
	if own := r.Jobs[1]; own.TookFrom != "" {
		t.Errorf("the job that took its own runner took that of %q", own.TookFrom)
	}
	if launched := r.Jobs[2].LaunchedAt; launched != at(70) {
		t.Errorf("the job with two sandboxes: launched at %s, want the first", launched)
	}
	if diff := cmp.Diff([]string{"c", "d", "e"}, r.Runners()); diff != "" {
		t.Errorf("runners (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"d"}, r.Surplus()); diff != "" {
		t.Errorf("surplus runners (-want +got):\n%s", diff)
	}
	if r.Refusals != 3 {
		t.Errorf("%d refusals, want those of both limits", r.Refusals)
	}
	if began, ended := r.Span(); began != at(0) || ended != at(900) {
		t.Errorf("from %s to %s, want from the first queued to the last finished", began, ended)
	}
}

func TestTable(t *testing.T) {
	github, modal := seen()
	tests := []struct {
		name string
		jobs []world.Job
		want string
	}{
		{"few jobs are shown one by one", github.Jobs, `
job       repository  launched  started  finished  exit  conclusion   runner
stolen    acme/api    40ms      200ms    800ms     0     success      b, made for broken
running   acme/api    60ms      100ms    -         -     in_progress  c
launched  acme/api    70ms      -        -         -     queued       -
queued    acme/api    -         -        -         -     queued       -
broken    acme/api    50ms      200ms    700ms     3     failure      a, made for stolen

launched, started, finished: time since the job was queued; launched is the first sandbox made for it

phase                jobs  p50    p90    p99    max
queued to launched   4     50ms   70ms   70ms   70ms
queued to started    3     200ms  200ms  200ms  200ms
queued to finished   2     700ms  800ms  800ms  800ms
started to finished  2     500ms  600ms  600ms  600ms
`},
		{"of many only the slowest are, and a job that a spare runner took at once was not launched for", many(60), `
slowest 10 jobs  repository  launched  started  finished  exit  conclusion  runner
job-60           acme/api    -         1ms      60ms      0     success     spare
job-59           acme/api    -         1ms      59ms      0     success     spare
job-58           acme/api    -         1ms      58ms      0     success     spare
job-57           acme/api    -         1ms      57ms      0     success     spare
job-56           acme/api    -         1ms      56ms      0     success     spare
job-55           acme/api    -         1ms      55ms      0     success     spare
job-54           acme/api    -         1ms      54ms      0     success     spare
job-53           acme/api    -         1ms      53ms      0     success     spare
job-52           acme/api    -         1ms      52ms      0     success     spare
job-51           acme/api    -         1ms      51ms      0     success     spare

launched, started, finished: time since the job was queued; launched is the first sandbox made for it

phase                jobs  p50   p90   p99   max
queued to launched   0     0s    0s    0s    0s
queued to started    60    1ms   1ms   1ms   1ms
queued to finished   60    30ms  54ms  60ms  60ms
started to finished  60    29ms  53ms  59ms  59ms
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := report.New(control.State{Jobs: tt.jobs}, modal).WriteTable(&out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// many jobs, each a millisecond slower than the one before.
func many(n int) []world.Job {
	var jobs []world.Job
	for i := 1; i <= n; i++ {
		jobs = append(jobs, world.Job{
			ID: int64(100 + i), Name: fmt.Sprintf("job-%02d", i), Repo: "acme/api", Status: world.Completed, Conclusion: world.Success,
			RunnerName: "spare", QueuedAt: at(0), StartedAt: at(1), CompletedAt: at(i),
		})
	}
	return jobs
}

func TestPercentile(t *testing.T) {
	ten := []time.Duration{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
	for _, tt := range []struct {
		of   []time.Duration
		p    int
		want time.Duration
	}{{nil, 50, 0}, {ten[:1], 1, 10}, {ten, 50, 5}, {ten, 90, 9}, {ten, 99, 10}, {ten, 100, 10}} {
		if got := report.Percentile(tt.of, tt.p); got != tt.want {
			t.Errorf("percentile %d of %v is %d, want %d", tt.p, tt.of, got, tt.want)
		}
	}
}
