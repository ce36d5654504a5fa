package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"modal-github-runner/services/worker/internal/run"
)

// defaultLines is how much of a log is shown unless more is asked for: what a runner says of one job, and why it ended.
const defaultLines = 100

// maxLines is what one question to Modal can bring.
const maxLines = 1000

// Sandboxes knows how sandboxes are and what they have said; see fleet.Fleet.
type Sandboxes interface {
	Fate(ctx context.Context, id string, withLog bool) (run.Fate, error)
	Tail(ctx context.Context, id string, lines int) (string, error)
	Ask(ctx context.Context, id string, release bool) (run.Evidence, error)
}

// Log is the answer to GET /jobs/{id}/log.
type Log struct {
	ID int64 `json:"id"`
	// Runner is whose log it is, SandboxID where it ran, and How how that is or has ended.
	Runner    string `json:"runner"`
	SandboxID string `json:"sandbox_id"`
	How       string `json:"how"`
	// Text is how the log ends, with what looks like a secret masked.
	Text string `json:"log"`
}

// log shows what the runner of a job said last: the one that ran the job, else the last that was launched for it. Nothing of
// it is stored here: Modal keeps it, and the ledger for a week whose it is.
func (a *API) log(r *http.Request) (any, error) {
	id, err := jobID(r)
	if err != nil {
		return nil, err
	}
	lines := defaultLines
	if text := r.URL.Query().Get("lines"); text != "" {
		if lines, err = strconv.Atoi(text); err != nil || lines < 1 || lines > maxLines {
			return nil, &refusal{http.StatusBadRequest, "lines", fmt.Sprintf("must be 1 to %d", maxLines), text}
		}
	}
	record, err := a.load(r, id)
	if err != nil {
		return nil, err
	}
	runner, err := a.runnerOf(r.Context(), record)
	if err != nil {
		return nil, err
	}
	if runner.SandboxID == "" {
		return nil, &refusal{http.StatusConflict, "id", "must be of a job for which a sandbox was started", strconv.FormatInt(id, 10)}
	}
	fate, err := a.Sandboxes.Fate(r.Context(), runner.SandboxID, false)
	if err != nil {
		return nil, err
	}
	tail, err := a.Sandboxes.Tail(r.Context(), runner.SandboxID, lines)
	if err != nil { // One that never began has none.
		return nil, fmt.Errorf("%s: %s; its log: %w", nameOf(runner.Name), fate.How, err)
	}
	return Log{ID: id, Runner: nameOf(runner.Name), SandboxID: runner.SandboxID, How: fate.How, Text: tail}, nil
}

// runnerOf is the runner that took the job, or the last one launched for it that has a sandbox; zero if there is none.
func (a *API) runnerOf(ctx context.Context, r run.Run) (found run.Runner, err error) {
	for _, name := range runnersOf(r) {
		runner, _, err := a.Ledger.LoadRunner(ctx, name)
		if err != nil {
			return run.Runner{}, err
		}
		switch {
		case runner.SandboxID == "":
		case name == r.RanOn:
			return runner, nil
		case name.Job == r.Job.ID || name == r.Runner:
			if found.LaunchedAt.Before(runner.LaunchedAt) || found.SandboxID == "" {
				found = runner
			}
		}
	}
	return found, nil
}
