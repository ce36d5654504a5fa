package sweep

import (
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// census is what there is, for metrics.
func (s survey) census(runners []Record[run.Runner]) Report {
	report := Report{Runs: map[run.State]int{}, Sandboxes: map[run.RunnerState]int{}, Neglected: map[string]time.Time{}}
	for _, record := range s.runs {
		report.Runs[record.Value.State]++
		if !s.neglected(record) {
			continue
		}
		pool, since := record.Value.Job.Pool, record.Value.QueuedAt
		if oldest, ok := report.Neglected[pool]; !ok || since.Before(oldest) {
			report.Neglected[pool] = since
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

// neglected reports whether the job waits, nothing that is known holds it back, and nothing has come of it for a while: it does not stand
// in line, it does not wait for its turn at GitHub, and no launch or runner of it has begun or failed just now.
func (s survey) neglected(record Record[run.Run]) bool {
	r := record.Value
	return r.State == run.Waiting && !r.InLine && !s.began.Before(r.Until.Add(grace)) && s.old(record.ChangedAt)
}
