package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// maxPlaces is how many repositories or organizations one run asks GitHub about; the next run goes on where it ended. With
// one list each, a few calls, that is far from any limit of GitHub's.
const maxPlaces = 20

// Registrations finds registrations at GitHub whose runner has ended. GitHub itself removes them after a day.
type Registrations struct {
	Registrar Registrar
	Ledger    Ledger
	Reader    Reader
	Now       func() time.Time

	turn turn
}

// scope is a place where runners of ours are registered, with a job of which it is the place.
type scope struct {
	name string
	job  run.Job
}

// RunOnce looks once at the scopes whose turn it is.
func (g *Registrations) RunOnce(ctx context.Context) (Report, error) {
	runners, err := g.Ledger.Runners(ctx)
	if err != nil {
		return Report{}, err
	}
	scopes := map[string]scope{}
	for _, record := range runners {
		if r := record.Value; r.Scope != "" {
			scopes[r.Scope] = scope{r.Scope, r.Job}
		}
	}
	var t tally
	for _, name := range names(&g.turn, scopes, maxPlaces) {
		if g.lookAt(ctx, scopes[name], &t) {
			break
		}
	}
	return t.result()
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
	for _, r := range registrations {
		if r.Online || r.Busy {
			continue
		}
		if t.found(g.remove(ctx, s, r, began)) {
			return true
		}
	}
	return false
}

// remove removes a registration that nobody will use any more.
func (g *Registrations) remove(ctx context.Context, s scope, found Registration, began time.Time) (Kind, error) {
	job, _, err := g.Reader.LoadRun(ctx, found.Name.Job)
	if err != nil {
		return "", err
	}
	runner, _, err := g.Reader.LoadRunner(ctx, found.Name)
	if err != nil {
		return "", err
	}
	// Without a record of its job it may be another deployment's; with one of its runner, the runner's end was long ago.
	ended := runner.State == run.Ended && began.Sub(runner.EndedAt) >= grace
	if job.State == run.New || !ended && runner.State != run.Unknown {
		return "", nil
	}
	if err := g.Registrar.DeregisterID(ctx, s.job, s.name, found.ID); err != nil {
		return "", fmt.Errorf("deregister runner %v: %w", found.Name, err)
	}
	return Unregistered, nil
}
