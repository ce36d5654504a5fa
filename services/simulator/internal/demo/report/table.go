package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

const (
	// maxRows is how many jobs a table shows one by one; of more, only the slowest.
	maxRows, slowestRows = 40, 10
	// rounding of durations in tables.
	rounding = time.Millisecond
)

// phase is a part of a job's way.
type phase struct {
	name string
	took func(Job) time.Duration
}

func phases() []phase {
	return []phase{
		{"webhook to sandbox", func(j Job) time.Duration { return between(j.QueuedAt, j.AnsweredAt) }},
		{"queued to launched", func(j Job) time.Duration { return between(j.QueuedAt, j.LaunchedAt) }},
		{"launched to started", func(j Job) time.Duration { return between(j.LaunchedAt, j.StartedAt) }},
		{"started to finished", func(j Job) time.Duration { return between(j.StartedAt, j.CompletedAt) }},
		{"queued to finished", total},
	}
}

func total(j Job) time.Duration { return between(j.QueuedAt, j.CompletedAt) }

// between is 0 for a runner that was launched for another job before this one was queued.
func between(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return max(0, to.Sub(from))
}

// WriteTable writes a line per job and the percentiles of each phase; of many jobs, the slowest only.
func (r Report) WriteTable(w io.Writer) error {
	jobs, title := r.Jobs, "job"
	if len(jobs) > maxRows {
		bySlowness := func(a, b Job) int { return cmp.Compare(total(b), total(a)) }
		jobs, title = slices.SortedFunc(slices.Values(jobs), bySlowness)[:slowestRows], fmt.Sprintf("slowest %d jobs", slowestRows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\trepository\tqueued→launched\t→started\t→finished\ttotal\texit\tconclusion\trunner\n", title)
	for _, j := range jobs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", j.Name, j.Repo,
			round(between(j.QueuedAt, j.LaunchedAt)), round(between(j.LaunchedAt, j.StartedAt)), round(between(j.StartedAt, j.CompletedAt)),
			round(total(j)), j.ExitCode, cmp.Or(string(j.Conclusion), string(j.Status)), cmp.Or(j.RunnerName, "none"))
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "phase\tp50\tp90\tp99\tmax")
	for _, p := range phases() {
		var took []time.Duration
		for _, j := range r.Jobs {
			took = append(took, p.took(j))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.name, round(Percentile(took, 50)), round(Percentile(took, 90)), //nolint:mnd // usual ones
			round(Percentile(took, 99)), round(Percentile(took, 100))) //nolint:mnd // and the largest
	}
	return t.Flush()
}

func round(d time.Duration) time.Duration { return d.Round(rounding) }
