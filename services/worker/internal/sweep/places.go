package sweep

import (
	"context"
	"fmt"
	"maps"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// recount makes the places what Modal's list says: a sandbox that runs holds one, though it be of an older record or over the
// limit; a runner without a sandbox, which nobody has been launching for the grace, holds none. A warm sandbox that is a runner's is none.
func (o *Orphans) recount(ctx context.Context, s survey, runners []Record[run.Runner]) (after places.Record, err error) {
	known := map[string]Record[run.Runner]{}
	for _, record := range runners {
		known[places.Key(record.Value.Name)] = record
	}
	listed := map[string]bool{}
	for name := range s.sandboxes {
		listed[places.Key(name)] = true
	}
	_, err = o.Places.Change(ctx, func(r places.Record) places.Record {
		for runner, place := range r.Held {
			if !listed[runner] && s.placeless(runner, place, known) {
				r, _ = r.Free(runner, s.began)
			}
		}
		r = s.unwarmed(r)
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
		after = r
		return r
	})
	if err != nil {
		return places.Record{}, fmt.Errorf("recount places: %w", err)
	}
	return after, nil
}

// unwarmed is the record without those warm sandboxes that are runners' by now.
func (s survey) unwarmed(r places.Record) places.Record {
	given := map[string]bool{}
	for _, sandbox := range s.listed {
		given[sandbox.ID] = true
	}
	for name, warm := range r.Warm {
		if given[warm.ID()] {
			r = r.Over(name, s.began)
		}
	}
	return r
}

// rewarm ends the warm sandboxes that are on no record, nor claimed by a runner, and takes those off the record that have ended.
func (o *Orphans) rewarm(ctx context.Context, s survey, record places.Record, t *tally) {
	known, listed := map[string]bool{}, map[string]bool{}
	for _, place := range record.Held {
		known[place.SandboxID] = true
	}
	for name, warm := range record.Warm {
		known[name], known[warm.ID()] = true, true
	}
	strays, absent := map[string]string{}, map[string]string{}
	for _, sandbox := range s.warm {
		listed[sandbox.ID] = true
		if sandbox.Deployment == s.deployment && !known[sandbox.Warm] && !known[sandbox.ID] && s.old(sandbox.CreatedAt) {
			strays[sandbox.Warm] = sandbox.ID
		}
	}
	for name, warm := range record.Warm {
		if warm.Ready() && !listed[warm.SandboxID] && s.old(warm.Since) {
			absent[name] = warm.SandboxID
		}
	}
	if err := o.keepGiven(ctx, strays); t.found("", err) {
		return
	}
	t.each(o.Each, names(&o.strays, strays, maxEnds), func(name string) (Kind, error) {
		end, err := endWarm(ctx, o.Fleet, strays[name], false, true)
		if end != ended {
			return "", err
		}
		return Stray, nil
	})
	t.each(o.Each, names(&o.cooled, absent, maxEnds), func(name string) (Kind, error) {
		fate, err := o.Fleet.Fate(ctx, absent[name], false)
		if err != nil || fate.Running {
			return "", wrapped("fate of warm sandbox "+absent[name], err)
		}
		_, err = o.Places.Change(ctx, func(r places.Record) places.Record { return r.Over(name, s.began) })
		return Cooled, wrapped("take a warm sandbox off the record", err)
	})
}

// keepGiven takes those out of strays that were given to runners since they were listed: their records say so before the place forgets it.
func (o *Orphans) keepGiven(ctx context.Context, strays map[string]string) error {
	if len(strays) == 0 {
		return nil
	}
	runners, err := o.Ledger.Runners(ctx)
	if err != nil {
		clear(strays)
		return err //nolint:wrapcheck // the ledger says what it was
	}
	given := map[string]bool{}
	for _, record := range runners {
		given[record.Value.SandboxID] = true
	}
	maps.DeleteFunc(strays, func(_, id string) bool { return given[id] })
	return nil
}

// placeless reports whether a runner whose sandbox was not listed will have none any more.
func (s survey) placeless(runner string, place places.Place, known map[string]Record[run.Runner]) bool {
	if !s.old(place.Since) {
		return false
	}
	record, ok := known[runner]
	if !ok { // Its intent came too late for the list of runners, unless it had the place before. The clock of who took it may be minutes off.
		return s.before.Held[runner].Since.Equal(place.Since)
	}
	switch r := record.Value; r.State {
	case run.Unknown:
		return true
	case run.Ended:
		return s.old(record.ChangedAt)
	case run.Launching: // Every call of its launch has ended by then, by its worker's clock and by ours; whoever goes on with it takes a place again.
		return s.old(r.Until) && s.old(record.ChangedAt.Add(run.LaunchTimeout))
	case run.Launched, run.Busy: // That its sandbox has vanished is a finding, and ends it.
	}
	return false
}
