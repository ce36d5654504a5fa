package sweep

import (
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// census is what there is, for metrics.
func (s survey) census(runners []Record[run.Runner]) Report {
	report := Report{Runs: map[run.State]int{}, Sandboxes: map[run.RunnerState]int{}, Neglected: map[string]time.Time{}}
	for _, record := range s.runs {
		report.Runs[record.Value.State]++
		since, waits := s.free(record.Value)
		if pool := record.Value.Job.Pool; waits {
			if oldest, ok := report.Neglected[pool]; !ok || since.Before(oldest) {
				report.Neglected[pool] = since
			}
		}
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

// free reports whether the job waits though nothing that is known holds it back, and since when: it does not stand in line, and its turn at
// GitHub has come. What became of its runners since then is of no matter, as long as none has taken it.
func (s survey) free(r *run.Run) (since time.Time, ok bool) {
	if r.State != run.Waiting || r.InLine || s.began.Before(r.Until) {
		return time.Time{}, false
	}
	return slices.MaxFunc([]time.Time{r.QueuedAt, r.FreeSince, r.Until}, time.Time.Compare), true
}
