package sweep

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// maxActs is how many findings one run acts on, which takes a minute or two. What was seen of the others is old by then, so
	// the next run looks anew. There are more only after the ledger was restored or lost.
	maxActs = 200
	// atOnce is how many findings are acted on at the same time. Each takes a second or two: a sandbox is asked, and ended.
	atOnce = 8
)

// findings are what is wrong, by the runner: where there is a sandbox, which costs money, and where there is none.
func (o *Orphans) findings(s survey, runners []Record[run.Runner]) (present, absent map[string]finding) {
	present, absent = map[string]finding{}, map[string]finding{}
	recorded := map[run.Name]bool{}
	for _, record := range runners {
		name := record.Value.Name
		recorded[name] = true
		f := s.judge(record)
		f.name = name
		switch _, listed := s.sandboxes[name]; {
		case f.event == nil:
		case listed:
			present[places.Key(name)] = f
		default:
			absent[places.Key(name)] = f
		}
	}
	for _, sandbox := range s.listed {
		if !recorded[sandbox.Name] && sandbox.Deployment == s.deployment && s.old(sandbox.CreatedAt) {
			present[places.Key(sandbox.Name)] = o.unrecorded(sandbox, s)
		}
	}
	return present, absent
}

// inTurn are the findings that this run acts on: first those that cost money, and each before any comes again, so that those
// that can't be set right keep nobody waiting.
func (o *Orphans) inTurn(present, absent map[string]finding) []finding {
	var todo []finding
	for _, key := range names(&o.present, present, maxActs) {
		todo = append(todo, present[key])
	}
	for _, key := range names(&o.absent, absent, maxActs-len(todo)) {
		todo = append(todo, absent[key])
	}
	return todo
}

// act sets some of the findings right, all at once. It reports whether the run is to end here.
func (o *Orphans) act(ctx context.Context, some []finding, t *tally) (stop bool) {
	each := o.Each
	if each == nil {
		each = allAtOnce
	}
	kinds, again, errs := make([]Kind, len(some)), make([]time.Time, len(some)), make([]error, len(some))
	each(len(some), func(i int) { kinds[i], again[i], errs[i] = o.setRight(ctx, some[i]) })
	for i := range some {
		if !again[i].IsZero() {
			o.unfinished[some[i].name] = again[i]
		}
		stop = t.found(kinds[i], errs[i]) || stop
	}
	return stop
}

// each does something about each of some things, a few at the same time, until too much of it fails.
func (t *tally) each(all func(n int, do func(i int)), some []string, do func(name string) (Kind, error)) {
	if all == nil {
		all = allAtOnce
	}
	for few := range slices.Chunk(some, atOnce) {
		kinds, errs, stop := make([]Kind, len(few)), make([]error, len(few)), false
		all(len(few), func(i int) { kinds[i], errs[i] = do(few[i]) })
		for i := range few {
			stop = t.found(kinds[i], errs[i]) || stop
		}
		if stop {
			return
		}
	}
}

func allAtOnce(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// due takes out of unfinished what can come to its end by now.
func (o *Orphans) due(now time.Time) map[run.Name]bool {
	due := map[run.Name]bool{}
	if o.unfinished == nil {
		o.unfinished = map[run.Name]time.Time{}
	}
	maps.DeleteFunc(o.unfinished, func(name run.Name, at time.Time) bool {
		due[name] = !now.Before(at)
		return due[name]
	})
	return due
}

// setRight has the finding handled, once it is sure. Kind is empty if there was nothing to do; again is when what was begun can come to its
// end, as when a sandbox that was ended has ended.
func (o *Orphans) setRight(ctx context.Context, f finding) (kind Kind, again time.Time, err error) {
	if f.missing != nil {
		lives, end, err := o.ask(ctx, *f.missing)
		if lives || err != nil {
			return "", time.Time{}, err
		}
		if end != "" {
			f.event = run.Gone{Reason: end}
		}
	}
	again, err = o.Handler.HandleRunner(ctx, f.name, f.event)
	return f.kind, again, err
}

// ask asks Modal about one runner whose sandbox was not listed: whether it lives after all, and else how it ended, if Modal
// can tell.
func (o *Orphans) ask(ctx context.Context, r run.Runner) (lives bool, end string, err error) {
	id, err := o.Fleet.Find(ctx, r.Name)
	if err != nil {
		return false, "", fmt.Errorf("find sandbox of runner %v: %w", r.Name, err)
	}
	if id != "" || r.SandboxID == "" {
		return id != "", "", nil
	}
	// By its id it is found wherever it is, so that a changed MODAL_APP ends no runner.
	// The log of one that had a job is its workflow's, and stays where it is.
	fate, err := o.Fleet.Fate(ctx, r.SandboxID, r.Took == 0 && r.State != run.Busy)
	if err != nil {
		return false, "", fmt.Errorf("fate of sandbox %s: %w", r.SandboxID, err)
	}
	return fate.Running, fate.How, nil
}
