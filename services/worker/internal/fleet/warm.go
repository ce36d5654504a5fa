package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

// warmWait is how long a warm sandbox waits for a runner before it ends itself: less than pools.WarmExtra by more than it takes to boot.
const warmWait = 90 * time.Minute

// handOver has the entrypoint's own script take a runner, whose JIT configuration is in the environment. Where there is none, nothing waits
// for one, at least not yet.
const handOver = `give="${TMPDIR:-/tmp}/runner-state/give.sh"; [ ! -x "$give" ] || exec "$give" "$@"; exit 1`

// What the script answers.
const (
	given = "given"
	taken = "taken"
)

// warmName is the name at Modal of a warm sandbox, which deployments that share an App don't have in common.
func warmName(name, deployment string) string { return name + "-" + deployment }

// Warm starts a sandbox of the pool that waits for a runner; see [Fleet.Give]. Its name is unique among those of the deployment. Errors are
// those of [Fleet.Create].
func (f *Fleet) Warm(ctx context.Context, name string, p run.Pool) (id string, err error) {
	o, err := f.prepare(ctx, order{pool: p, tags: map[string]string{tagWarm: warmValue}, env: map[string]string{
		"RUNNER_WARM_SECONDS": seconds(warmWait), "RUNNER_TIMEOUT_SECONDS": seconds(p.Timeout),
	}})
	if err != nil {
		return "", err
	}
	if p.OnlyPrivate { // Nobody knows yet which repositories' jobs its runner can have.
		o.env["RUNNER_TRUSTED"] = "private"
	}
	o.name = warmName(name, o.deployment)
	o.pool.Timeout += pools.WarmExtra // Its own timeout is the runner's, from the moment it is given.
	return f.start(ctx, o)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }

// FindWarm returns the id of the running sandbox that [Fleet.Warm] started under that name, or "" if none runs.
func (f *Fleet) FindWarm(ctx context.Context, name string) (id string, err error) {
	deployment, err := f.Deployment(ctx)
	if err != nil {
		return "", fmt.Errorf("deployment: %w", err)
	}
	return f.find(ctx, warmName(name, deployment))
}

// Give has a warm sandbox become the runner's, whose registration jit is of. Given again to one runner and registration it is given once.
// run.ErrNotMade says for sure that it has not, and never will: it has ended, or is another's, or waits no longer; after any other error
// it may have.
func (f *Fleet) Give(ctx context.Context, id string, r run.Runner, jit config.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sandbox, err := f.handle(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = sandbox.Detach() }() // Releases the connection; it has no way to fail.
	err = give(ctx, sandbox, r, jit)
	switch {
	case err == nil || errors.Is(err, run.ErrNotMade):
		return err
	case ends(ctx, sandbox):
		return fmt.Errorf("%w: the sandbox has ended: %w", run.ErrNotMade, err)
	}
	return fmt.Errorf("give sandbox: %w", classify(err, time.Now()))
}

// give tags the sandbox as the runner's, so that it is found as that whatever comes of the rest, and hands the runner over. A record that
// was restored from a backup may offer one that is another's already, which keeps its tags.
func give(ctx context.Context, sandbox *modal.Sandbox, r run.Runner, jit config.Secret) error {
	name := wire.RunnerName(r.Name.Job, r.Name.Attempt)
	tags, err := sandbox.GetTags(ctx, nil)
	if err != nil {
		return fmt.Errorf("get tags: %w", err)
	}
	if other := tags[tagRunner]; other != "" && other != name {
		return fmt.Errorf("%w: the sandbox is that of runner %s", run.ErrNotMade, other)
	}
	maps.Copy(tags, tagsOf(r))
	tags[tagRunner], tags[tagGivenAt] = name, time.Now().UTC().Format(time.RFC3339Nano)
	if err := sandbox.SetTags(ctx, tags, nil); err != nil {
		return fmt.Errorf("set tags: %w", err)
	}
	process, answer, err := tell(ctx, sandbox, []string{"/bin/bash", "-c", handOver, "give", name, strconv.FormatInt(r.GitHubID, 10)},
		map[string]string{"ACTIONS_RUNNER_INPUT_JITCONFIG": jit.Reveal()})
	if err != nil {
		return err
	}
	switch strings.TrimSpace(answer) {
	case given:
		return nil
	case taken:
		return fmt.Errorf("%w: the sandbox is another runner's, or waits no longer", run.ErrNotMade)
	}
	code, err := process.Wait(ctx, nil)
	if err != nil {
		return err
	}
	return fmt.Errorf("no answer: the script ended with code %d", code) // What it said is told to nobody: it had a secret.
}
