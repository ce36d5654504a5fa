package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// callTimeout bounds one call, whoever makes it. GitHub ends its own side of a request after 10 s. The Budget counts on no request
	// being under way for longer than 20 s.
	callTimeout = 15 * time.Second
	// refusedFor is how long an App that was refused for a repository comes last there: it may be suspended, or not installed.
	refusedFor = time.Minute
)

// call runs fn with a client that may act for the job's repository, and classifies its error. While one App has no budget left, is
// limited or refused, the others act in its place, so that two have twice the budget.
func (f *Forge) call(ctx context.Context, j run.Job, fn func(context.Context, *github.Client) error) error {
	ctx, cancel := context.WithTimeout(forJob(ctx, j), callTimeout)
	defer cancel()
	var limited sooner
	var refused error
	for _, c := range f.turns(j) {
		err := c.call(ctx, j, fn)
		if limited.take(err) {
			continue
		}
		if _, ok := errors.AsType[*run.PermanentError](err); !ok {
			return err
		}
		c.wasRefused(j)
		refused = cmp.Or(refused, err)
	}
	return cmp.Or(limited.err, refused)
}

// sooner is the error with the run.LimitedError that ends first.
type sooner struct {
	until time.Time
	err   error
}

// take reports whether err has one.
func (s *sooner) take(err error) bool {
	later, ok := errors.AsType[*run.LimitedError](err)
	if ok && (s.err == nil || later.Until.Before(s.until)) {
		s.until, s.err = later.Until, err
	}
	return ok
}

// Room returns a run.LimitedError if it is known that no budget is left to register a runner for the job, or that GitHub does not tell
// what is needed for it, and else nil. It asks nobody, so that a launch that must wait for its turn at GitHub has written down nothing
// before. An App that was refused lately makes no room where others have none: it may not be installed there.
func (f *Forge) Room(ctx context.Context, j run.Job) error {
	var limited sooner
	for _, c := range f.turns(j) {
		if limited.err != nil && c.lately(j) > 0 {
			break
		}
		if !limited.take(c.room(ctx, j)) {
			return nil
		}
	}
	return limited.err
}

// turns are the callers in the order in which they are to be tried: each job begins with another one, and those come last that
// were refused lately.
func (f *Forge) turns(j run.Job) []*caller {
	n := len(f.callers)
	if n == 1 {
		return f.callers
	}
	first := int(j.ID % int64(n))
	turns := slices.Concat(f.callers[first:], f.callers[:first])
	slices.SortStableFunc(turns, func(a, b *caller) int { return cmp.Compare(a.lately(j), b.lately(j)) })
	return turns
}

func (c *caller) wasRefused(j run.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[place(j)] = time.Now()
}

// lately is 1 if the caller was refused for the job's repository lately, and else 0.
func (c *caller) lately(j run.Job) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.refused[place(j)]; ok && time.Since(at) < refusedFor {
		return 1
	}
	return 0
}

func (c *caller) call(ctx context.Context, j run.Job, fn func(context.Context, *github.Client) error) error {
	installation, err := c.installation(ctx, j)
	if err != nil {
		return classify(err, time.Now())
	}
	client, err := c.client(installation)
	if err != nil {
		return err
	}
	err = fn(ctx, client.Client)
	if err != nil {
		c.learn(j, installation, client, err)
		return fmt.Errorf("github: %w", classify(err, time.Now()))
	}
	return nil
}

// callFirst runs fn by the first App, and never by another: what an App has made is its own.
func (f *Forge) callFirst(ctx context.Context, j run.Job, fn func(context.Context, *github.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f.callers[0].call(ctx, j, fn)
}

// callApp runs fn as the first App itself, which no installation's token can.
func (f *Forge) callApp(ctx context.Context, fn func(context.Context, *github.Client) error) error {
	if len(f.Apps) == 0 {
		return errNoApp
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	app, err := f.callers[0].appTransport()
	if err != nil {
		return err
	}
	if err := fn(ctx, f.newClient(app)); err != nil {
		return fmt.Errorf("github: %w", classify(err, time.Now()))
	}
	return nil
}
