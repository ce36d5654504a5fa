package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// waitTime is how long a job may wait, or be held, without any change before GitHub is asked about it. A launch fails or
	// succeeds within minutes, and either changes the record. A job that waits for its turn at GitHub may do so for longer: of
	// thousands of those each question would put the others off.
	waitTime = 10 * time.Minute
	// runningTime is the same for a job that runs, for which nothing is to be done but to hear of its end.
	runningTime = 30 * time.Minute
	// maxChecks is how many jobs one run asks GitHub about: with a run a minute, a small part of the 900 points that GitHub
	// allows (docs.github.com, rate limits for the REST API).
	maxChecks = 50
)

// Stuck finds jobs whose state is older than their messages can explain, asks GitHub about them, and reports what it says as
// the messages that did not come would have.
type Stuck struct {
	Jobs   Jobs
	Ledger Ledger
	Queue  Queue
	Now    func() time.Time

	// checked is when GitHub was last asked about a job that is still where it was. One of which it could not tell is due again in the
	// next run, after all that are due for longer.
	checked map[int64]time.Time
}

// RunOnce looks once.
func (s *Stuck) RunOnce(ctx context.Context) (Report, error) {
	began := s.Now()
	runners, err := s.Ledger.Runners(ctx)
	if err != nil {
		return Report{}, err
	}
	runs, err := s.Ledger.Runs(ctx)
	if err != nil {
		return Report{}, err
	}
	known := make(map[run.Name]Record[run.Runner], len(runners))
	for _, record := range runners {
		known[record.Value.Name] = record
	}
	var t tally
	if s.restart(ctx, runs, known, began, &t) {
		return t.result()
	}
	for _, record := range s.due(runs, began) {
		on, ok := known[record.Value.RanOn]
		kind, err := s.check(ctx, record, ok && on.Value.State == run.Busy, began)
		checked := began
		if err != nil {
			checked = began.Add(-patience(record.Value.State))
		}
		s.checked[record.Value.Job.ID] = checked
		if t.found(kind, err) {
			break
		}
	}
	return t.result()
}

// restart has jobs looked at that wait for a runner which will never take them. GitHub need not be asked: the look finds out.
func (s *Stuck) restart(ctx context.Context, runs []Record[run.Run], known map[run.Name]Record[run.Runner], began time.Time, t *tally) (stop bool) {
	for _, record := range runs {
		r := record.Value
		runner, ok := known[r.Runner] // A record that does not exist has not changed for long.
		alive := ok && (runner.Value.State == run.Launching || runner.Value.State == run.Launched)
		settled := began.Sub(record.ChangedAt) >= grace && began.Sub(runner.ChangedAt) >= grace
		// One that stands in line is told when there is a place, and one that waits for GitHub comes by itself.
		if r.State != run.Waiting || r.InLine || began.Before(r.Until.Add(grace)) || !settled || alive && runner.Value.For == r.Job.ID {
			continue
		}
		if t.found(Unstarted, s.requeue(ctx, record, run.BySweep)) {
			return true
		}
	}
	return false
}

// patience is how long a job may be in a state before GitHub is asked about it; zero for ever.
func patience(s run.State) time.Duration {
	switch s {
	case run.Waiting, run.OnHold:
		return waitTime
	case run.Running:
		return runningTime
	case run.New, run.Done, run.Dead:
	}
	return 0
}

// due are the jobs to ask about now, those first that have waited longest for it.
func (s *Stuck) due(runs []Record[run.Run], began time.Time) []Record[run.Run] {
	before := s.checked
	s.checked = map[int64]time.Time{}
	since := map[int64]time.Time{}
	var due []Record[run.Run]
	for _, record := range runs {
		r := record.Value
		limit := patience(r.State)
		if limit == 0 {
			continue
		}
		at := record.ChangedAt
		if r.Until.After(at) {
			at = r.Until
		}
		if checked := before[r.Job.ID]; checked.After(at) {
			at, s.checked[r.Job.ID] = checked, checked
		}
		if began.Sub(at) >= limit {
			since[r.Job.ID] = at
			due = append(due, record)
		}
	}
	slices.SortFunc(due, func(a, b Record[run.Run]) int {
		return cmp.Or(since[a.Value.Job.ID].Compare(since[b.Value.Job.ID]), cmp.Compare(a.Value.Job.ID, b.Value.Job.ID))
	})
	return due[:min(maxChecks, len(due))]
}

// check asks GitHub about one job, and reports what it says if the ledger says otherwise. busy is whether the runner that has the
// job is; a job that GitHub does not show us any more goes on for as long as that one does.
func (s *Stuck) check(ctx context.Context, record Record[run.Run], busy bool, began time.Time) (Kind, error) {
	r := record.Value
	seen, err := s.Jobs.Sight(ctx, r.Job)
	if _, permanent := errors.AsType[*run.PermanentError](err); permanent { // GitHub does not say: the job is as it was.
		err = nil
	}
	if err != nil {
		return "", err
	}
	if seen.Gone && busy {
		return "", nil
	}
	switch ev := r.Unheard(seen, began); {
	case ev != nil:
		if err := s.Queue.Report(ctx, ev, record.Revision); err != nil {
			return "", fmt.Errorf("report job %d: %w", r.Job.ID, err)
		}
		return kindOf(ev, seen), nil
	case r.State == run.Waiting: // Its launch may have been forgotten.
		return Restarted, s.requeue(ctx, record, run.AskedGitHub)
	}
	return "", nil
}

// kindOf is what was found when the event had not been heard of.
func kindOf(ev run.Event, seen run.Sighting) Kind {
	switch ev.(type) {
	case run.Started:
		return Begun
	case run.Held:
		return Holding
	case run.Queued:
		return Restarted
	}
	if seen.Gone {
		return Deleted
	}
	return Over
}

// requeue has the job looked at again, for what event says.
func (s *Stuck) requeue(ctx context.Context, record Record[run.Run], event string) error {
	r := record.Value
	if err := s.Queue.Report(ctx, run.Queued{Job: r.Job, At: r.LastQueuedAt, Event: event}, record.Revision); err != nil {
		return fmt.Errorf("requeue job %d: %w", r.Job.ID, err)
	}
	return nil
}
