package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// knownFor is how long the origin of a workflow run is not asked for again. Its commit stays what it is; its repository may
	// become public.
	knownFor = 10 * time.Minute
	// maxKnown bounds how many are remembered. Each takes some hundred bytes.
	maxKnown = 10_000
	// appearsIn is how long a workflow run may be missing at GitHub's API whose webhook has come already, and appearsEvery how often
	// it is looked for.
	appearsIn    = 2 * time.Minute
	appearsEvery = 5 * time.Second
)

// Origin asks GitHub where the code of a job comes from. All jobs of a workflow run share one answer, for some minutes.
func (f *Forge) Origin(ctx context.Context, j run.Job) (run.Origin, error) {
	return f.origins.get(ctx, fmt.Sprintf("%s/%d", place(j), j.RunID), func() (run.Origin, error) { return f.askOrigin(ctx, j) })
}

func (f *Forge) askOrigin(ctx context.Context, j run.Job) (run.Origin, error) {
	var w *github.WorkflowRun
	err := f.call(inLane(ctx, LaneLaunch), j, func(ctx context.Context, c *github.Client) (err error) {
		w, _, err = c.Actions.GetWorkflowRunByID(ctx, j.Owner, j.Repo, j.RunID)
		return err
	})
	if err != nil {
		return run.Origin{}, noOrigin(j, err, time.Now())
	}
	base, head := w.GetRepository(), w.GetHeadRepository()
	return run.Origin{
		Private: base.GetPrivate(), Foreign: base.GetID() == 0 || head.GetID() != base.GetID(), Head: head.GetFullName(), Event: w.GetEvent(),
	}, nil
}

// noOrigin says why GitHub did not tell, and what helps.
func noOrigin(j run.Job, err error, now time.Time) error {
	what := fmt.Sprintf("get workflow run %d", j.RunID)
	permanent, isPermanent := errors.AsType[*run.PermanentError](err)
	switch {
	case !isPermanent:
		return fmt.Errorf("%s: %w", what, err)
	case isStatus(err, http.StatusNotFound) && now.Add(-leadOf(err, now)).Sub(j.CreatedAt) < appearsIn: // Both by GitHub's clock.
		return &run.LimitedError{Until: now.Add(appearsEvery), Err: fmt.Errorf("%s: %w", what, permanent.Err)}
	default:
		return &run.PermanentError{Err: fmt.Errorf("%s: %w", what, permanent.Err), Advice: permanent.Advice + "; without it nobody knows whether " +
			`the job is a fork's: the run was deleted, or the App or token lacks the repository permission "Actions: Read"`}
	}
}

// origins remembers what GitHub said of workflow runs. Its zero value is ready for use.
type origins struct {
	mu    sync.Mutex
	known map[string]*origin
}

// origin is what was said, or is being asked. All but at is set once done is closed.
type origin struct {
	at    time.Time
	done  chan struct{}
	value run.Origin
	err   error
}

// get is what is known under the key, or what ask returns. While one asks, all others wait for the same answer. Errors are not
// remembered.
func (o *origins) get(ctx context.Context, key string, ask func() (run.Origin, error)) (run.Origin, error) {
	key = strings.ToLower(key) // GitHub's names are compared without case.
	o.mu.Lock()
	found, ok := o.known[key]
	if !ok || time.Since(found.at) >= knownFor {
		found, ok = &origin{at: time.Now(), done: make(chan struct{})}, false
		o.remember(key, found)
	}
	o.mu.Unlock()
	if ok {
		select {
		case <-found.done:
			return found.value, found.err
		case <-ctx.Done():
			return run.Origin{}, context.Cause(ctx)
		}
	}
	found.value, found.err = ask()
	if found.err != nil {
		o.forget(key, found)
	}
	close(found.done)
	return found.value, found.err
}

// remember makes room: for what is old, or else for any. o.mu is held.
func (o *origins) remember(key string, made *origin) {
	if o.known == nil {
		o.known = map[string]*origin{}
	}
	if len(o.known) >= maxKnown {
		for k, old := range o.known {
			if time.Since(old.at) >= knownFor {
				delete(o.known, k)
			}
		}
	}
	for k := range o.known {
		if len(o.known) < maxKnown {
			break
		}
		delete(o.known, k)
	}
	o.known[key] = made
}

func (o *origins) forget(key string, made *origin) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known[key] == made {
		delete(o.known, key)
	}
}
