package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

// seen is one job in each state; the last one is still waiting, and the one before ran on a runner made for it.
func seen() (control.State, fakemodal.Snapshot) {
	jobs := []world.Job{
		{ID: 1, Name: "stolen", Status: world.Completed, Conclusion: world.Success, RunnerName: "b", QueuedAt: at(100), StartedAt: at(300), CompletedAt: at(900)},
		{ID: 2, Name: "failed", Status: world.Completed, Conclusion: world.Failure, RunnerName: "a", QueuedAt: at(0), StartedAt: at(200), CompletedAt: at(700), ExitCode: 3},
		{ID: 3, Name: "running", Status: world.InProgress, RunnerName: "c", QueuedAt: at(0), StartedAt: at(100)},
		{ID: 4, Name: "launched", Status: world.Queued, QueuedAt: at(0)},
		{ID: 5, Name: "queued", Status: world.Queued, QueuedAt: at(0)},
	}
	made := func(name, job string, ms int, ended time.Time) sandbox.Record {
		return sandbox.Record{Name: name, Tags: map[string]string{"job-id": job}, CreatedAt: at(ms), EndedAt: ended}
	}
	return control.State{Jobs: jobs, Runners: []world.Runner{{Name: "c"}, {Name: "d"}}}, fakemodal.Snapshot{Snapshot: sandbox.Snapshot{Sandboxes: []sandbox.Record{
		made("b", "2", 50, at(950)), made("a", "1", 140, at(950)), made("c", "3", 60, time.Time{}), made("d", "4", 70, time.Time{}), made("e", "4", 90, at(100)),
	}}}
}

func TestReport(t *testing.T) {
	r := report.New(seen())
	if diff := cmp.Diff(report.Counts{Queued: 1, Launched: 1, Running: 1, Succeeded: 1, Failed: 1}, r.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if got, want := r.Summary(6), "demo: 6 jobs, 1 succeeded, 1 failed, 4 lost, 4 leaked"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
	if launched, answered := r.Jobs[0].LaunchedAt, r.Jobs[0].AnsweredAt; launched != at(50) || answered != at(140) {
		t.Errorf("the job that took another's runner: launched at %s, answered at %s", launched, answered)
	}
	if answered := r.Jobs[3].AnsweredAt; answered != at(70) {
		t.Errorf("the job with two sandboxes: answered at %s, want the first", answered)
	}
}

func TestTable(t *testing.T) {
	github, modal := seen()
	tests := []struct {
		name string
		jobs []world.Job
		rows int
		want []string
	}{
		{"few jobs are shown one by one", github.Jobs, 5, []string{
			"stolen ", "0s ", "250ms", "600ms", "800ms", // launched before it was queued
			"failure", "none",
		}},
		{"of many only the slowest are", many(60), 10, []string{"slowest 10 jobs", "job-60 ", "job-51 "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			github.Jobs = tt.jobs
			var out strings.Builder
			if err := report.New(github, modal).WriteTable(&out); err != nil {
				t.Fatal(err)
			}
			rows, _, _ := strings.Cut(out.String(), "\n\n")
			if n := strings.Count(rows, "\n"); n != tt.rows {
				t.Errorf("%d rows, want %d", n, tt.rows)
			}
			for _, want := range tt.want {
				if !strings.Contains(rows, want) {
					t.Errorf("no %q in:\n%s", want, rows)
				}
			}
		})
	}
}

// many jobs, each a millisecond slower than the one before.
func many(n int) []world.Job {
	var jobs []world.Job
	for i := 1; i <= n; i++ {
		jobs = append(jobs, world.Job{ID: int64(i), Name: fmt.Sprintf("job-%02d", i), Status: world.Completed, Conclusion: world.Success, QueuedAt: at(0), CompletedAt: at(i)})
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
