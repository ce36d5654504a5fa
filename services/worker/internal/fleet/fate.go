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
	if outcome.Status == StatusRunning {
		return run.Fate{Running: true, How: "its sandbox runs"}, nil
	}
	how := "its sandbox ended: " + string(outcome.Status)
	if outcome.Status == StatusFailure { // Elsewhere the code means nothing.
		how += fmt.Sprintf(", exit code %d", outcome.ExitCode)
	}
	if outcome.Exception != "" {
		how += ", " + strings.ToValidUTF8(outcome.Exception[:min(maxFate/2, len(outcome.Exception))], "")
	}
	if !withLog {
		return run.Fate{How: how}, nil
	}
	const intro = "; its log ends: "
	tail, err := f.Tail(ctx, id, fateLines)
	if room := maxFate - len(how) - len(intro); err == nil && tail != "" && room > 0 { // One that never began has no log.
		how += intro + strings.ToValidUTF8(last(tail, room), "")
	}
	return run.Fate{How: how}, nil
}
