package fleet

import (
	"context"
	"fmt"
	"strings"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// fateLines is how much of a sandbox's log is told: a stack trace's last lines say what went wrong.
	fateLines = 10
	// maxFate bounds how a sandbox ended, in bytes. It is kept in the ledger and shown to people.
	maxFate = 500
)

// Fate tells how a sandbox is or how it ended; with withLog, also how its log ends.
func (f *Fleet) Fate(ctx context.Context, id string, withLog bool) (run.Fate, error) {
	outcome, err := f.Outcome(ctx, id)
	if err != nil {
		return run.Fate{}, err
	}
	fate := run.Fate{Running: outcome.Status == StatusRunning, How: how(outcome)}
	if !withLog {
		return fate, nil
	}
	const intro = "; its log ends: "
	tail, err := f.Tail(ctx, id, fateLines)
	if room := maxFate - len(fate.How) - len(intro); err == nil && tail != "" && room > 0 { // One that never began has no log.
		fate.How += intro + strings.ToValidUTF8(last(tail, room), "")
	}
	return fate, nil
}

// how is an outcome in words.
func how(outcome Outcome) string {
	if outcome.Status == StatusRunning {
		return "its sandbox runs"
	}
	text := "its sandbox ended: " + string(outcome.Status)
	if outcome.Status == StatusFailure { // Elsewhere the code means nothing.
		text += fmt.Sprintf(", exit code %d", outcome.ExitCode)
	}
	if outcome.Exception != "" {
		text += ", " + strings.ToValidUTF8(outcome.Exception[:min(maxFate/2, len(outcome.Exception))], "")
	}
	return text
}
