package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"modal-github-runner/services/simulator/internal/world"
)

const (
	// maxRows is how many jobs a table shows one by one; of more, only the slowest.
	maxRows, slowestRows = 40, 10
	// rounding of durations in tables.
	rounding = time.Millisecond
	// none is in the cell of what did not happen, or not yet.
	none = "-"
)

// phase is a part of a job's way.
type phase struct {
	name     string
	from, to func(Job) time.Time
}

func phases() []phase {
	queued := func(j Job) time.Time { return j.QueuedAt }
	started := func(j Job) time.Time { return j.StartedAt }
	finished := func(j Job) time.Time { return j.CompletedAt }
	return []phase{
		{"queued to launched", queued, func(j Job) time.Time { return j.LaunchedAt }},
		{"queued to started", queued, started},
		{"queued to finished", queued, finished},
		{"started to finished", started, finished},
	}
}

// took returns false if the job did not get as far.
func (p phase) took(j Job) (time.Duration, bool) {
	from, to := p.from(j), p.to(j)
	return to.Sub(from), !from.IsZero() && !to.IsZero()
}

// WriteTable writes a line per job and the percentiles of each phase; of many jobs, the slowest only.
func (r Report) WriteTable(w io.Writer) error {
	jobs, title := r.Jobs, "job"
	if len(jobs) > maxRows {
		bySlowness := func(a, b Job) int { return cmp.Compare(b.CompletedAt.Sub(b.QueuedAt), a.CompletedAt.Sub(a.QueuedAt)) }
		jobs, title = slices.SortedFunc(slices.Values(jobs), bySlowness)[:slowestRows], fmt.Sprintf("slowest %d jobs", slowestRows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\trepository\tlaunched\tstarted\tfinished\texit\tconclusion\trunner\n", title)
	for _, j := range jobs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.Name, j.Repo,
			after(j.QueuedAt, j.LaunchedAt), after(j.QueuedAt, j.StartedAt), after(j.QueuedAt, j.CompletedAt),
			j.exit(), cmp.Or(string(j.Conclusion), string(j.Status)), j.runner())
	}
	fmt.Fprintln(t, "\nlaunched, started, finished: time since the job was queued; launched is the first sandbox made for it")
	fmt.Fprintln(t)
	fmt.Fprintln(t, "phase\tjobs\tp50\tp90\tp99\tmax")
	for _, p := range phases() {
		var took []time.Duration
		for _, j := range r.Jobs {
			if d, ok := p.took(j); ok {
				took = append(took, d)
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", p.name, len(took), round(Percentile(took, 50)), round(Percentile(took, 90)),
			round(Percentile(took, 99)), round(Percentile(took, 100)))
	}
	return t.Flush()
}

func after(queued, then time.Time) string {
	if then.IsZero() {
		return none
	}
	return round(then.Sub(queued)).String()
}

func (j Job) exit() string {
	if j.Status != world.Completed {
		return none
	}
	return strconv.Itoa(j.ExitCode)
}

// runner tells whose runner the job took, if not its own.
func (j Job) runner() string {
	if j.TookFrom == "" {
		return cmp.Or(j.RunnerName, none)
	}
	return j.RunnerName + ", made for " + j.TookFrom
}

func round(d time.Duration) time.Duration { return d.Round(rounding) }
