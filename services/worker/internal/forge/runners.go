package forge

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// Registered is a runner of ours as GitHub lists it.
type Registered struct {
	Name run.Name
	// ID is GitHub's.
	ID int64
	// Online says that the runner listens, Busy that it has a job. GitHub changes both with a delay of up to a minute.
	Online, Busy bool
}

// Runners lists all registrations of ours in a scope; see run.Runner. j is any job whose runners belong there: its
// installation may ask. Other people's runners are left out. The list is complete, or there is an error. If GitHub gives
// it on several pages, one registration that goes while another comes can hide a third, so that what is missing is to
// be looked for by its name before anything is made of it.
func (f *Forge) Runners(ctx context.Context, j run.Job, scope string) ([]Registered, error) {
	if err := checkScope(j, scope); err != nil {
		return nil, err
	}
	at := siteOf(run.Runner{Job: j, Scope: scope})
	found, err := readAll((*github.Runner).GetID, func(number int) (p page[*github.Runner], err error) {
		opts := &github.ListRunnersOptions{ListOptions: github.ListOptions{Page: number, PerPage: pageSize}}
		err = f.call(ctx, j, func(ctx context.Context, c *github.Client) error {
			runners, resp, err := at.list(ctx, c, opts)
			if err != nil {
				return err
			}
			p = page[*github.Runner]{items: runners.Runners, total: runners.TotalCount, next: resp.NextPage}
			return nil
		})
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list runners of %s: %w", scope, err)
	}
	var ours []Registered
	for _, r := range found {
		if name := nameOf(r.GetName()); !name.IsZero() {
			ours = append(ours, Registered{Name: name, ID: r.GetID(), Online: r.GetStatus() == "online", Busy: r.GetBusy()})
		}
	}
	return ours, nil
}

// DeregisterID removes a registration by GitHub's id. Nil if there is none. A busy runner is an error that is worth
// another try; but GitHub deletes a runner that it does not know to be busy yet, so that this is no safeguard.
func (f *Forge) DeregisterID(ctx context.Context, j run.Job, scope string, id int64) error {
	if err := checkScope(j, scope); err != nil {
		return err
	}
	return f.call(inLane(ctx, LaneDelete), j, func(ctx context.Context, c *github.Client) error {
		err := siteOf(run.Runner{Job: j, Scope: scope}).remove(ctx, c, id)
		switch {
		case isStatus(err, http.StatusNotFound):
			return nil
		case isStatus(err, http.StatusUnprocessableEntity):
			return fmt.Errorf("runner %d is busy: %w", id, err)
		}
		return err
	})
}

// checkScope refuses a scope in which the job has no runners: the calls would go to another one.
func checkScope(j run.Job, scope string) error {
	if !j.Reaches(scope) {
		return fmt.Errorf("scope: must be %s, %s/%s or an enterprise's (got %q)", j.Owner, j.Owner, j.Repo, scope)
	}
	return nil
}

// nameOf is the runner of ours that has this name at GitHub; zero if none can have it.
func nameOf(name string) run.Name {
	job, attempt, ok := wire.ParseRunnerName(name)
	if !ok {
		return run.Name{}
	}
	return run.Name{Job: job, Attempt: attempt}
}
