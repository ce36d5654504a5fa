package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// askTimeout bounds one question, the connection to the sandbox included. Who asks has work that others wait for.
	askTimeout = 5 * time.Second
	// bootTime is the least that passes from a sandbox's being scheduled to its runner's having a job: a container has to start,
	// the runner in it, and a session with GitHub.
	bootTime = 2 * time.Second
	// endTime is how long a sandbox may take to end that refuses commands already.
	endTime = time.Second
	// maxAnswer is more than any answer of the entrypoint has.
	maxAnswer = 64
)

// question has the entrypoint's own script answer. That it is not there yet is said in so many words: to say nothing is no answer, since
// whatever ends a shell before its time has it say nothing.
const question = `ask="${TMPDIR:-/tmp}/runner-state/ask.sh"; [ ! -x "$ask" ] || exec "$ask" "$@"; echo starting`

// Ask asks the sandbox whether its runner has a job; with release, one without a job is ended at once, unless it is just starting. It is the
// entrypoint that answers, from what the runner itself said and did; or Modal, of a sandbox that it has not scheduled, in which nothing
// can run. A question that got no answer is an error: it says nothing of the runner.
func (f *Fleet) Ask(ctx context.Context, id string, release bool) (run.Evidence, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	sandbox, err := f.handle(ctx, id)
	if err != nil {
		return "", err
	}
	defer func() { _ = sandbox.Detach() }() // Releases the connection; it has no way to fail.
	switch over, err := hasEnded(ctx, sandbox); {
	case err != nil:
		return "", err
	case over:
		return run.Over, nil
	}
	began := time.Now()
	evidence, err := ask(ctx, sandbox, release)
	switch {
	case errors.Is(err, errUnscheduled) && release:
		if err := withdraw(ctx, sandbox, began.Add(bootTime)); err != nil {
			return "", err
		}
		return run.ReleasedNow, nil
	case errors.Is(err, errUnscheduled):
		return run.Unscheduled, nil
	case err != nil:
		if ends(ctx, sandbox) {
			return run.Over, nil
		}
		return "", fmt.Errorf("ask sandbox: %w", classify(err, time.Now()))
	}
	return evidence, nil
}

// hasEnded reports whether the sandbox has ended. One that Modal does not know has.
func hasEnded(ctx context.Context, sandbox *modal.Sandbox) (bool, error) {
	code, err := sandbox.Poll(ctx, nil)
	switch {
	case isNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return code != nil, nil
}

// ends reports whether a sandbox that takes no question ends just now: it refuses commands a moment before.
func ends(ctx context.Context, sandbox *modal.Sandbox) bool {
	moment, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	_, _ = sandbox.Wait(moment, nil) // What it returns may be of a sandbox that runs.
	over, err := hasEnded(ctx, sandbox)
	return over && err == nil
}

// ask puts the question to a sandbox that runs.
func ask(ctx context.Context, sandbox *modal.Sandbox, release bool) (run.Evidence, error) {
	command := []string{"/bin/bash", "-c", question, "ask"}
	if release {
		command = append(command, "release")
	}
	process, answer, err := tell(ctx, sandbox, command, nil)
	if err != nil {
		return "", err
	}
	switch e := run.Evidence(strings.TrimSpace(answer)); e {
	case run.Starting, run.Warm, run.Idle, run.HasJob, run.ReleasedNow:
		return e, nil
	case run.Over, run.Hangs, run.Unscheduled: // Not for the entrypoint to say.
	}
	code, err := process.Wait(ctx, nil)
	if err != nil {
		return "", err
	}
	return "", fmt.Errorf("no answer: it said %q, and ended with code %d", answer, code)
}

// tell runs the command in a sandbox that is scheduled, and returns what it says.
func tell(ctx context.Context, sandbox *modal.Sandbox, command []string, env map[string]string) (*modal.ContainerProcess, string, error) {
	process, err := sandbox.Exec(onlyIfScheduled(ctx), command, &modal.SandboxExecParams{Timeout: askTimeout, Stderr: modal.Ignore, Env: env})
	if err != nil {
		return nil, "", err
	}
	answer, err := io.ReadAll(io.LimitReader(process.Stdout, maxAnswer))
	if err != nil {
		return nil, "", err
	}
	return process, string(answer), nil
}

// withdraw ends a sandbox that was not scheduled a moment ago, unless that moment is too long ago: by then its runner could have a job.
// Modal schedules none that was ended: its SDK relies on that, too.
func withdraw(ctx context.Context, sandbox *modal.Sandbox, before time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, before)
	defer cancel()
	if _, err := sandbox.Terminate(ctx, nil); err != nil && !isNotFound(err) {
		return fmt.Errorf("end a sandbox that is not scheduled: %w", classify(err, time.Now()))
	}
	return nil
}

// errUnscheduled says that a sandbox has no task. The code keeps the SDK from asking again, which it does for minutes.
var errUnscheduled = status.Error(codes.FailedPrecondition, "the sandbox is not scheduled yet")

// scheduledOnly is the key of contexts whose calls end with errUnscheduled if the sandbox is not scheduled.
type scheduledOnly struct{}

func onlyIfScheduled(ctx context.Context) context.Context {
	return context.WithValue(ctx, scheduledOnly{}, true)
}

// refuseUnscheduled ends the SDK's wait for a sandbox to be scheduled, if that is not to be waited for.
func refuseUnscheduled(
	ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if err := invoker(ctx, method, req, reply, conn, opts...); err != nil {
		return err
	}
	found, ok := reply.(*pb.SandboxGetTaskIdResponse)
	if ok && ctx.Value(scheduledOnly{}) != nil && found.GetTaskId() == "" && !found.HasTaskResult() {
		return errUnscheduled
	}
	return nil
}
