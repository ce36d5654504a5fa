package forge

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// groups remembers the id of the configured group in each organization or enterprise. Its zero value is ready for use.
type groups struct {
	mu  sync.Mutex
	ids map[site]int64
}

// get is the group's id, or 0 if it is not known.
func (g *groups) get(at site) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ids[at]
}

// set remembers the group's id; 0 forgets it.
func (g *groups) set(at site, id int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ids == nil {
		g.ids = map[site]int64{}
	}
	g.ids[at] = id
}

// inGroup runs fn with the id of the group that the runner is to join. If GitHub refuses one that was remembered, the group may
// have been deleted and made anew: then fn runs again, with the new id. A refusal while the id is as before is about something else.
func (f *Forge) inGroup(
	ctx context.Context, r run.Runner, fn func(id int64) (*github.JITRunnerConfig, error),
) (*github.JITRunnerConfig, error) {
	at := siteOf(r)
	if f.Group == "" || !at.hasGroups() {
		return fn(f.GroupID)
	}
	known := f.groups.get(at)
	var refused error
	if known != 0 {
		made, err := fn(known)
		if !isStatus(err, http.StatusNotFound) && !isStatus(err, http.StatusUnprocessableEntity) {
			return made, err
		}
		refused = err
	}
	id, err := f.findGroup(ctx, at, r.Job)
	switch {
	case err != nil:
		return nil, err
	case id == known:
		return nil, refused
	}
	return fn(id)
}

// findGroup asks GitHub for the id of the configured group where the job's runner is registered, and remembers it.
func (f *Forge) findGroup(ctx context.Context, at site, j run.Job) (int64, error) {
	all, err := readAll(func(g group) int64 { return g.id }, func(number int) (p page[group], err error) {
		err = f.call(inLane(ctx, LaneLaunch), j, func(ctx context.Context, c *github.Client) (err error) {
			p, err = at.groups(ctx, c, github.ListOptions{Page: number, PerPage: pageSize})
			return err
		})
		return p, err
	})
	if err != nil {
		return 0, fmt.Errorf("list runner groups of %v: %w", at, err)
	}
	for _, g := range all {
		if g.name == f.Group {
			f.groups.set(at, g.id)
			return g.id, nil
		}
	}
	f.groups.set(at, 0)
	return 0, &run.PermanentError{
		Err:    fmt.Errorf("%v has no runner group %q", at, f.Group),
		Advice: "make the group there, or change RUNNER_GROUP",
	}
}
