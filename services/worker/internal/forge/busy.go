package forge

import (
	"context"
	"fmt"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

// Busy reports whether the registration of the runner's name has a job, as far as GitHub knows: what it says may be a minute
// old. A runner that is not registered has none.
func (f *Forge) Busy(ctx context.Context, r run.Runner) (busy bool, err error) {
	name := wire.RunnerName(r.Name.Job, r.Name.Attempt)
	err = f.call(ctx, r.Job, func(ctx context.Context, c *github.Client) error {
		found, _, err := siteOf(r).list(ctx, c, &github.ListRunnersOptions{Name: &name})
		if err != nil {
			return err
		}
		for _, runner := range found.Runners {
			busy = busy || runner.GetName() == name && runner.GetBusy() // The filter is GitHub's.
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for runner %s: %w", name, err)
	}
	return busy, nil
}
