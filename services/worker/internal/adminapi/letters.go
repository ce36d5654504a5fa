package adminapi

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/run"
)

// Letters is the answer to GET /dead-letters.
type Letters struct {
	Letters []intake.Letter `json:"dead_letters"`
	// LeftOff is how many older ones there are.
	LeftOff int `json:"left_off,omitempty"`
}

// Replay is the answer to POST /dead-letters/{id}/replay.
type Replay struct {
	ID int64 `json:"id"`
	// State is the job's now: waiting, or what has become of it since it was replayed.
	State run.State `json:"state"`
}

func (a *API) letters(r *http.Request) (any, error) {
	newest, older, err := a.Queue.Letters(r.Context(), maxListed)
	if err != nil {
		return nil, err
	}
	return Letters{Letters: append([]intake.Letter{}, newest...), LeftOff: older}, nil
}

func (a *API) letter(r *http.Request) (any, error) {
	letter, err := a.Queue.Letter(r.Context(), r.PathValue("id"))
	if errors.Is(err, intake.ErrNoLetter) {
		return nil, noLetter(r)
	}
	return letter, err
}

func noLetter(r *http.Request) error {
	return &refusal{http.StatusNotFound, "id", "must be that of a dead letter", r.PathValue("id")}
}

// wasReplayed reports whether an operator had the job tried once more, as they may ask again and again.
func wasReplayed(r run.Run) bool {
	return slices.ContainsFunc(r.History, func(n run.Note) bool { return n.Event == run.ByOperator })
}

// replay takes the letter away last, once the job is on the queue: whatever fails before, it can be asked for again.
func (a *API) replay(r *http.Request) (any, error) {
	ctx := r.Context()
	letter, err := a.Queue.Letter(ctx, r.PathValue("id"))
	hasLetter := err == nil
	if err != nil && !errors.Is(err, intake.ErrNoLetter) {
		return nil, err
	}
	if hasLetter && letter.Job.ID == 0 {
		return nil, &refusal{http.StatusConflict, "id", "must be of a job; a message that can't be read can't be replayed", letter.ID}
	}
	id, err := jobID(r)
	if err != nil {
		return nil, err
	}
	before, err := a.load(r, id)
	if err != nil {
		return nil, err
	}
	if !hasLetter && before.State != run.Dead && !wasReplayed(before) {
		return nil, &refusal{http.StatusConflict, "id", "must be of a job that was given up; this one is " + string(before.State), r.PathValue("id")}
	}
	if _, err := a.Handler.Handle(ctx, id, run.Replayed{}); err != nil {
		return nil, err
	}
	after, err := a.load(r, id)
	if err != nil {
		return nil, err
	}
	if after.State == run.Dead && time.Since(after.QueuedAt) >= run.GiveUpAfter {
		return nil, &refusal{
			http.StatusConflict, "queued_at", "must be less than " + Span(run.GiveUpAfter) + " ago, since GitHub cancels a job then",
			after.QueuedAt.UTC().Format(time.RFC3339),
		}
	}
	if hasLetter {
		if err := a.Queue.Remove(ctx, letter); err != nil {
			return nil, err
		}
	}
	a.Log.LogAttrs(ctx, slog.LevelInfo, "dead letter replayed", slog.Int64("job_id", id), slog.String("state", string(after.State)))
	return Replay{ID: id, State: after.State}, nil
}
