package fleet

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// askTimeout bounds one question, the connection to the sandbox included.
	askTimeout = 10 * time.Second
	// maxAnswer is more than any answer of the entrypoint has.
	maxAnswer = 64
)

// Ask asks the sandbox whether its runner has a job; with release, an idle runner is ended at once. It is the entrypoint
// that answers, from what the runner itself said and did.
func (f *Fleet) Ask(ctx context.Context, id string, release bool) (run.Evidence, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := f.client()
	if err != nil {
		return "", err
	}
	sandbox, err := client.Sandboxes.FromID(ctx, id, nil)
	if err != nil {
		return "", fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	defer func() { _ = sandbox.Detach() }() // Releases the connection; it has no way to fail.
	if code, err := sandbox.Poll(ctx, nil); isNotFound(err) || (err == nil && code != nil) {
		return run.Over, nil
	} else if err != nil {
		return "", fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	question := `exec "${TMPDIR:-/tmp}/runner-state/ask.sh"`
	if release {
		question += " release"
	}
	process, err := sandbox.Exec(ctx, []string{"/bin/bash", "-c", question}, &modal.SandboxExecParams{Timeout: askTimeout, Stderr: modal.Ignore})
	if err != nil {
		return "", fmt.Errorf("ask sandbox: %w", classify(err, time.Now()))
	}
	answer, err := io.ReadAll(io.LimitReader(process.Stdout, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("ask sandbox: %w", classify(err, time.Now()))
	}
	switch e := run.Evidence(strings.TrimSpace(string(answer))); e {
	case run.Idle, run.HasJob, run.ReleasedNow:
		return e, nil
	case run.Over, run.Starting, run.Hangs:
	}
	return run.Starting, nil // The entrypoint has not come as far as to answer.
}
