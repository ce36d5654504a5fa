package ledger_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

// typical is a record of a size as they have at the end of a job's life.
func typical(job int64) run.Run {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	r := run.Run{
		Job: run.Job{
			ID: job, RunID: job, RunAttempt: 1, Owner: "octo-organization", Repo: "service", RepoID: job, Installation: 12345678, OrgOwned: true,
			Labels: []string{"self-hosted", "modal"}, Pool: wire.DefaultPool, WorkflowName: "Continuous integration", Name: "test (linux, 1.26)",
			HeadBranch: "feature/a-branch", HeadSHA: fmt.Sprintf("%040x", job), CreatedAt: at,
		},
		State: run.Done, RanOn: run.Name{Job: job, Attempt: 1}, Attempts: 1, Conclusion: "success",
		QueuedAt: at, LastQueuedAt: at, StartedAt: at, FinishedAt: at,
	}
	for range 8 {
		r.History = append(r.History, run.Note{At: at, Event: "00000000-0000-0000-0000-000000000000", Text: "taken by its own runner, attempt 1"})
	}
	return r
}

// It reports what a list costs by reading the ledger and by the mirror, with 20 changes between lists: their times, by how
// much one is quicker, and what the mirror holds a record.
func BenchmarkAListOf10000Records(b *testing.B) {
	l, _, _ := listed(b)
	const jobs, changes = 10_000, 20
	revisions := make([]uint64, jobs)
	for job := range revisions {
		revisions[job] = saveRun(b, l, typical(int64(job+1)), 0)
	}
	m := ledger.NewMirror(l)
	list := func(by func(context.Context) ([]ledger.Entry[run.Run], error)) time.Duration {
		began := time.Now()
		if runs, err := by(b.Context()); err != nil || len(runs) != jobs {
			b.Fatalf("got %d runs, %v", len(runs), err)
		}
		return time.Since(began)
	}
	without := heap()
	list(m.Runs)
	size := heap() - without
	var reading, mirroring time.Duration
	for n := 0; b.Loop(); n++ {
		for change := range changes {
			job := (n*changes + change) % jobs
			revisions[job] = saveRun(b, l, typical(int64(job+1)), revisions[job])
		}
		reading += list(l.Runs)
		mirroring += list(m.Runs)
	}
	b.ReportMetric(reading.Seconds()*1e3/float64(b.N), "ms/read")
	b.ReportMetric(mirroring.Seconds()*1e3/float64(b.N), "ms/mirror")
	b.ReportMetric(reading.Seconds()/mirroring.Seconds(), "read/mirror")
	b.ReportMetric(float64(size)/jobs, "bytes/record")
	runtime.KeepAlive(m)
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // What the first one only unlinked.
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
