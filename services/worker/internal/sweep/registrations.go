package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// maxPlaces is how many repositories or organizations one run asks GitHub about; the next run goes on where it ended. With
// one list each, a few calls, that is far from any limit of GitHub's.
const maxPlaces = 20

// usableFor is how long after a registration its runner may still come: GitHub takes the JIT configuration for an hour.
const usableFor = time.Hour

// Registrations finds registrations at GitHub whose runner has ended, or that the ledger has forgotten because it was restored
// from a backup. GitHub itself removes them after a day.
type Registrations struct {
	Registrar Registrar
	Ledger    Ledger
	Reader    Reader
	Now       func() time.Time
	// Scope is where the runner of a job is registered.
	Scope func(run.Job) string
	// Named are repositories to ask about although no job of theirs is on record.
	Named []Repo

	turn turn
	// unused is since when registrations have been seen without a runner, by scope and by GitHub's id.
	unused map[string]map[int64]time.Time
}

// scope is a place where runners of ours are registered, with a job of which it is the place.
type scope struct {
	name string
	job  run.Job
}

// RunOnce looks once at the scopes whose turn it is.
func (g *Registrations) RunOnce(ctx context.Context) (Report, error) {
	scopes, err := g.scopes(ctx)
	if err != nil {
		return Report{}, err
	}
	var t tally
	for _, name := range names(&g.turn, scopes, maxPlaces) {
		if g.lookAt(ctx, scopes[name], &t) {
			break
		}
	}
	return t.result()
}

// scopes are those that are named, and those of the jobs and runners on record.
func (g *Registrations) scopes(ctx context.Context) (map[string]scope, error) {
	runners, err := g.Ledger.Runners(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := g.Ledger.Runs(ctx)
	if err != nil {
		return nil, err
	}
	scopes := map[string]scope{}
	add := func(name string, j run.Job) { scopes[strings.ToLower(name)] = scope{name, j} } // GitHub's names are compared without case.
	for _, in := range g.Named {
		for _, byOrg := range []bool{false, true} {
			j := run.Job{Owner: in.Owner, Repo: in.Name, Installation: in.Installation, OrgOwned: byOrg}
			add(g.Scope(j), j)
		}
	}
	for _, record := range runs {
		if j := record.Value.Job; j.Pool != "" { // Else it is not ours, and can be anywhere.
			add(g.Scope(j), j)
		}
	}
	for _, record := range runners {
		if r := record.Value; r.Scope != "" {
			add(r.Scope, r.Job)
		}
	}
	return scopes, nil
}

// lookAt reads GitHub first: the intent to register a runner is on record before its registration exists.
func (g *Registrations) lookAt(ctx context.Context, s scope, t *tally) (stop bool) {
	began := g.Now()
	registrations, err := g.Registrar.Registrations(ctx, s.job, s.name)
	if _, permanent := errors.AsType[*run.PermanentError](err); permanent { // It was deleted, or is not ours to see any more.
		return t.found(Unreadable, nil)
	}
	if err != nil {
		return t.found("", err)
	}
	before, unused := g.unused[s.name], map[int64]time.Time{}
	if g.unused == nil {
		g.unused = map[string]map[int64]time.Time{}
	}
	g.unused[s.name] = unused
	for _, r := range registrations {
		if r.Online || r.Busy {
			continue
		}
		unused[r.ID] = began
		if since, ok := before[r.ID]; ok {
			unused[r.ID] = since
		}
		if t.found(g.remove(ctx, s, r, began.Sub(unused[r.ID]), began)) {
			return true
		}
	}
	return false
}

// remove removes a registration that nobody will use any more. It has been unused for so long, as far as is known.
func (g *Registrations) remove(ctx context.Context, s scope, found Registration, unused time.Duration, began time.Time) (Kind, error) {
	job, _, err := g.Reader.LoadRun(ctx, found.Name.Job)
	if err != nil {
		return "", err
	}
	runner, _, err := g.Reader.LoadRunner(ctx, found.Name)
	if err != nil {
		return "", err
	}
	switch runner.State {
	case run.Ended:
		if began.Sub(runner.EndedAt) < grace {
			return "", nil
		}
	case run.Unknown:
		// The ledger has forgotten it. It may have a runner all the same, of which GitHub's list does not tell yet; or be another
		// deployment's, if its job is not known either.
		if unused < grace || job.State == run.New && unused < usableFor {
			return "", nil
		}
	case run.Launching, run.Launched, run.Busy:
		return "", nil
	}
	if err := g.Registrar.DeregisterID(ctx, s.job, s.name, found.ID); err != nil {
		return "", fmt.Errorf("deregister runner %v: %w", found.Name, err)
	}
	return Unregistered, nil
}
