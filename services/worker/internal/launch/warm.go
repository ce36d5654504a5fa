package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// giveTime bounds the giving of a warm sandbox, so that there is time to create another if it turns out to have ended.
	giveTime = 10 * time.Second
	// giveFor is for how long after its launch has begun a runner that claimed a warm sandbox is tried to be given it: a worker that dies
	// is followed by another after a minute.
	giveFor = 3 * time.Minute
	// asWarm is the outcome of a launch whose runner was given a warm sandbox.
	asWarm = "warm"
)

// errEnding says that the warm sandbox is of no use any more, but runs still.
var errEnding = errors.New("the warm sandbox is yet to end")

// claimed is the runner's place. It names the warm sandbox that the runner has claimed, if it has.
func (h *handling) claimed(ctx context.Context, name run.Name) (place places.Place, err error) {
	_, err = h.Places.Change(ctx, func(r places.Record) places.Record {
		place = r.Held[places.Key(name)]
		return r
	})
	return place, wrapped("look for a warm sandbox", err)
}

// existing is the sandbox that runs as the runner already; empty if none does. A warm one that it has claimed may do so, or may never have
// been told: then it waits, unless it was another's before, which only a restored backup can have forgotten. One that could not be given for
// long is let go. If it does not even answer, it may be the runner all the same, and is looked at as any runner is.
func (h *handling) existing(ctx context.Context, r run.Runner) (run.Created, error) {
	id, err := h.Fleet.Find(ctx, r.Name)
	if err != nil {
		return run.Created{}, fmt.Errorf("find sandbox: %w", err)
	}
	place, err := h.claimed(ctx, r.Name)
	warm := place.SandboxID
	if err != nil || warm == "" || id != "" && id != warm {
		return run.Created{SandboxID: id}, err
	}
	late := h.Now().Sub(place.Since) >= giveFor
	switch evidence, err := h.Fleet.Ask(ctx, warm, late); {
	case err != nil && !late:
		return run.Created{}, fmt.Errorf("ask warm sandbox: %w", err)
	case err != nil:
	case evidence == run.Warm:
		return run.Created{}, nil
	case evidence == run.ReleasedNow:
		if err := h.Fleet.Terminate(ctx, warm); err != nil {
			return run.Created{}, fmt.Errorf("terminate warm sandbox: %w", err)
		}
		return run.Created{}, h.discard(ctx, r, warm)
	case evidence == run.Over:
		return run.Created{}, h.discard(ctx, r, warm)
	case id == "": // What was given bears the runner's name before it is told.
		return run.Created{}, h.drop(ctx, r)
	}
	return run.Created{SandboxID: warm, Warm: true}, nil //nolint:nilerr // see above
}

// give has the warm sandbox become the runner's. It reports false if it never will, for sure: the runner needs another one.
func (h *handling) give(ctx context.Context, r run.Runner, warm string, jit config.Secret) (given bool, err error) {
	defer h.elsewhere("give", h.Now())
	ctx, cancel := context.WithDeadline(ctx, h.Now().Add(giveTime))
	defer cancel()
	ctx, span := h.span(ctx, "give warm sandbox", trace.SpanKindClient, r)
	defer func() {
		span.SetAttributes(attribute.String("sandbox_id", warm), attribute.Bool("given", given))
		endSpan(span, err)
	}()
	switch err := h.Fleet.Give(ctx, warm, r, jit); {
	case errors.Is(err, run.ErrNotMade):
		return false, h.discard(ctx, r, warm)
	case certain(err): // It says so of a call that creates, which this is none: the sandbox is there, and waits.
		return false, &modalError{errors.New(err.Error()), false}
	case err != nil:
		return false, &modalError{err, false}
	}
	return true, nil
}

// discard forgets the warm sandbox that the runner has claimed, once it has ended: until then it has the place of the one that the runner
// is to get.
func (h *handling) discard(ctx context.Context, r run.Runner, warm string) error {
	fate, err := h.Fleet.Fate(ctx, warm, false)
	if err != nil {
		return fmt.Errorf("fate of warm sandbox: %w", err)
	}
	if fate.Running {
		return errEnding
	}
	return h.drop(ctx, r)
}

func (h *handling) drop(ctx context.Context, r run.Runner) error {
	_, err := h.Places.Change(ctx, func(record places.Record) places.Record { return record.Discard(places.Key(r.Name)) })
	return wrapped("discard a warm sandbox", err)
}
