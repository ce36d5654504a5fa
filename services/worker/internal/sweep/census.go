package sweep

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// census is what there is, for metrics.
func (s survey) census(runners []Record[run.Runner]) Report {
	report := Report{Runs: map[run.State]int{}, Sandboxes: map[run.RunnerState]int{}, Neglected: neglected(maps.Values(s.runs), s.began)}
	for _, record := range s.runs {
		report.Runs[record.Value.State]++
	}
	unknown := len(s.sandboxes)
	for _, record := range runners {
		if _, ok := s.sandboxes[record.Value.Name]; ok {
			report.Sandboxes[record.Value.State]++
			unknown--
		}
	}
	report.Sandboxes[run.Unknown] = unknown
	return report
}

// waits is the part of the census for which Modal need not answer. Without it, a job that was served meanwhile would seem to wait on.
func (o *Orphans) waits(ctx context.Context, began time.Time) Report {
	runs, err := o.Ledger.Runs(ctx)
	if err != nil {
		return Report{}
	}
	return Report{Neglected: neglected(slices.Values(runs), began)}
}

// neglected is by pool since when the job waits that has waited longest though nothing that is known holds it back.
func neglected(runs iter.Seq[Record[run.Run]], began time.Time) map[string]time.Time {
	oldest := map[string]time.Time{}
	for record := range runs {
		since, waits := free(record.Value, began)
		if before, ok := oldest[record.Value.Job.Pool]; waits && (!ok || since.Before(before)) {
			oldest[record.Value.Job.Pool] = since
		}
	}
	return oldest
}

// free reports whether the job waits though nothing that is known holds it back, and since when: it does not stand in line, and its turn at
// GitHub has come. What became of its runners since then is of no matter, as long as none has taken it.
func free(r *run.Run, now time.Time) (since time.Time, ok bool) {
	if r.State != run.Waiting || r.InLine || now.Before(r.Until) {
		return time.Time{}, false
	}
	return slices.MaxFunc([]time.Time{r.QueuedAt, r.FreeSince, r.Until}, time.Time.Compare), true
}
