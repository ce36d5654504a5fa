package sweep

import (
	"context"
	"fmt"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// recount makes the places what Modal's list says: a sandbox that runs holds one, though it be of an older record or over the
// limit; a runner without a sandbox, which nobody has been launching for the grace, holds none.
func (o *Orphans) recount(ctx context.Context, s survey, runners []Record[run.Runner]) error {
	known := map[string]Record[run.Runner]{}
	for _, record := range runners {
		known[places.Key(record.Value.Name)] = record
	}
	listed := map[string]bool{}
	for name := range s.sandboxes {
		listed[places.Key(name)] = true
	}
	_, err := o.Places.Change(ctx, func(r places.Record) places.Record {
		for runner, place := range r.Held {
			if record, ok := known[runner]; !listed[runner] && s.old(place.Since) && (!ok || s.placeless(record)) {
				r, _ = r.Free(runner, s.began)
			}
		}
		for name, sandbox := range s.sandboxes {
			if sandbox.Deployment != s.deployment {
				continue
			}
			job := s.madeFor(sandbox)
			if record, ok := known[places.Key(name)]; ok && record.Value.Job.ID != 0 {
				job = record.Value.Job
			}
			r = r.Adopt(places.AskFor(name, job, o.Rules), sandbox.CreatedAt)
		}
		return r
	})
	if err != nil {
		return fmt.Errorf("recount places: %w", err)
	}
	return nil
}

// placeless reports whether a runner whose sandbox was not listed will have none any more.
func (s survey) placeless(record Record[run.Runner]) bool {
	switch r := record.Value; r.State {
	case run.Unknown:
		return true
	case run.Ended:
		return s.old(record.ChangedAt)
	case run.Launching: // Every call of its launch has ended by then; whoever goes on with it takes a place again.
		return s.old(r.Until)
	case run.Launched, run.Busy: // That its sandbox has vanished is a finding, and ends it.
	}
	return false
}
