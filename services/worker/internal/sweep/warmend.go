package sweep

import (
	"context"
	"fmt"

	"modal-github-runner/services/worker/internal/run"
)

// ending is what became of a warm sandbox that is to end.
type ending int

const (
	// unended is one that runs still, for all that is known; ended, one that was told to end.
	unended ending = iota
	ended
	// kept is one that is a runner's.
	kept
)

// endWarm ends a sandbox that was started as a warm one. It is asked first, which keeps it from taking a runner: a record that was restored
// from a backup may not know that it has one. Then it is kept. Of one that does not say so, or that starts, it must be sure that it has
// none, unless it is booting: such a one has never been able to take one.
func endWarm(ctx context.Context, fleet Asker, id string, booting, sure bool) (ending, error) {
	evidence, err := fleet.Ask(ctx, id, true)
	switch {
	case err == nil && evidence == run.Over:
		return unended, nil
	case err == nil && (evidence == run.Idle || evidence == run.HasJob):
		return kept, nil
	case sure || err == nil && (evidence == run.ReleasedNow || booting):
		if err := fleet.Terminate(ctx, id); err != nil {
			return unended, fmt.Errorf("terminate warm sandbox %s: %w", id, err)
		}
		return ended, nil
	}
	return unended, wrapped("ask warm sandbox "+id, err)
}
