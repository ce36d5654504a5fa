package demo

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/world"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// served is a job that runner took at once and that ended after took; running without.
func served(runner string, took time.Duration) report.Job {
	j := world.Job{RunnerName: runner, Status: world.InProgress, QueuedAt: began, StartedAt: began}
	if took > 0 {
		j.Status, j.Conclusion, j.CompletedAt = world.Completed, world.Success, began.Add(took)
	}
	return report.Job{Job: j}
}

func TestProgressSaysWhatIsWaitedFor(t *testing.T) {
	tests := []struct {
		name     string
		now      report.Report
		terminal bool
		want     string
	}{
		{
			"jobs come first",
			report.Report{Jobs: []report.Job{served("a", time.Second), served("b", 0)}, Sandboxes: []string{"b", "c"}},
			false, "   0s  queued 0  launched 0  running 1  done 1 of 2\n",
		},
		{
			"when all are done, runners are that no job took",
			report.Report{Jobs: []report.Job{served("a", time.Second), served("b", time.Second)}, Sandboxes: []string{"b", "c"}, Registrations: []string{"c", "d"}, Refusals: 1},
			false, "   0s  done 2 of 2, waiting for 1 surplus runners to end\n",
		},
		{
			"then what GitHub did not let us delete",
			report.Report{Jobs: []report.Job{served("a", time.Second), served("b", time.Second)}, Registrations: []string{"c", "d"}, Refusals: 1},
			false, "   0s  done 2 of 2, waiting for 2 registrations to be deleted: there were too many calls for GitHub's limits\n",
		},
		{
			"a runner whose job has just ended needs no explanation",
			report.Report{Jobs: []report.Job{served("a", time.Second), served("b", time.Second)}, Sandboxes: []string{"b"}},
			false, "   0s  queued 0  launched 0  running 0  done 2 of 2\n",
		},
		{
			"a terminal gets one line that changes",
			report.Report{Jobs: []report.Job{served("a", time.Second), served("b", 0)}},
			true, "\r\x1b[K   0s  queued 0  launched 0  running 1  done 1 of 2",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // where no time passes meanwhile
				var out strings.Builder
				p := newProgress(&screen{out: &out, terminal: tt.terminal}, 2)
				p.update(tt.now)
				if out.String() != tt.want {
					t.Errorf("got %q, want %q", out.String(), tt.want)
				}
			})
		})
	}
}

func TestPace(t *testing.T) {
	twenty := slices.Repeat([]report.Job{served("a", 4*time.Second)}, 20)
	tests := []struct {
		name  string
		final report.Report
		want  string
	}{
		{
			"the wait for surplus runners is no part of the pace",
			report.Report{Jobs: twenty},
			"demo: 20 jobs from the first queued to the last finished in 4s, 5.0 a second; 6s later 0 runners were left",
		},
		{
			"runners that are left are counted once",
			report.Report{Jobs: twenty, Sandboxes: []string{"a"}, Registrations: []string{"a"}},
			"demo: 20 jobs from the first queued to the last finished in 4s, 5.0 a second; 6s later 1 runners were left",
		},
		{"without a job that finished there is none", report.Report{Jobs: []report.Job{served("a", 0)}}, "demo: no job finished"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := pace(tt.final, began.Add(10*time.Second)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

type closed struct{}

var errClosed = errors.New("closed")

func (closed) Write([]byte) (int, error) { return 0, errClosed }

func TestADemoEndsWhenNobodyReadsItsLastLines(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	err := judge(report.Report{Jobs: []report.Job{served("a", time.Second)}}, began, 1, 0, newScreen(closed{}, stop))
	if !errors.Is(err, errClosed) || !errors.Is(context.Cause(ctx), errClosed) {
		t.Errorf("got %v and the end of the demo for %v, want both to be that of the write", err, context.Cause(ctx))
	}
}
