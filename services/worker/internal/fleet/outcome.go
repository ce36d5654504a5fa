package fleet

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

const (
	// maxTailLines bounds what Tail may be asked for.
	maxTailLines = 1000
	// maxTail is the most that Tail returns, in bytes: enough for a stack trace, and little beside a ledger record.
	maxTail = 8 << 10
	// maxRawTail is how much of the log's end is looked at, in bytes. It is more than maxTail since masking shortens it.
	maxRawTail = 256 << 10
	masked     = "[masked]"
	// overCode is the exit code by which the entrypoint says that the time is over which it keeps itself: that of a runner that was given to a
	// warm sandbox. The runner's own codes are below ten.
	overCode = 124
)

// secretForm matches what may be a secret in a log: GitHub's tokens (also those with dots in them, which are longer than
// any other), and what may be a JIT configuration, which is base64 in one piece or wrapped into lines.
var secretForm = regexp.MustCompile(`(?:gh[a-z]_|github_pat_)[A-Za-z0-9_.-]+` +
	`|[A-Za-z0-9+/=_.-]{200,}` +
	`|(?:[A-Za-z0-9+/]{60,}\r?\n){3,}[A-Za-z0-9+/]*={0,2}`)

// Status is how a sandbox is, or how it ended.
type Status string

// The statuses. All but StatusRunning and StatusUnknown are ends.
const (
	// StatusRunning is a sandbox that has not ended; it need not have begun.
	StatusRunning Status = "running"
	// StatusSuccess and StatusFailure are a command that ended with exit code 0 or another.
	StatusSuccess Status = "success"
	StatusFailure Status = "failure"
	// StatusTimeout is the end of its lifetime, or of that of a runner that was given to it.
	StatusTimeout Status = "timeout"
	// StatusTerminated is an end that somebody asked for.
	StatusTerminated Status = "terminated"
	// StatusInitFailure is a sandbox that could not begin: its image could not be pulled, for example.
	StatusInitFailure Status = "init_failure"
	// StatusInternal is a failure of Modal's.
	StatusInternal Status = "internal"
	// StatusIdle is an end for lack of activity.
	StatusIdle Status = "idle"
	// StatusEvicted is an end for lack of memory on Modal's machine.
	StatusEvicted Status = "evicted"
	// StatusOther is an end by a word of Modal's that is not known here.
	StatusOther Status = "other"
	// StatusUnknown is a sandbox that Modal knows nothing of.
	StatusUnknown Status = "unknown"
)

// Outcome is what Modal says of a sandbox.
type Outcome struct {
	Status Status
	// ExitCode is the command's. It means something with StatusSuccess and StatusFailure only: Modal sends 0 with other
	// ends as well.
	ExitCode int
	// Exception is Modal's text, for people; masked as Tail's.
	Exception string
}

// Outcome asks Modal how a sandbox is. It does not wait for its end.
func (f *Fleet) Outcome(ctx context.Context, id string) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var result *pb.GenericResult
	client, err := f.observed(func(reply any) {
		if answer, ok := reply.(*pb.SandboxWaitResponse); ok {
			result = answer.GetResult()
		}
	})
	if err != nil {
		return Outcome{}, err
	}
	defer client.Close()
	sandbox, err := client.Sandboxes.FromID(ctx, id, nil)
	if err == nil {
		_, err = sandbox.Poll(ctx, nil) // Its result is an exit code only, which hides the cause.
	}
	if isNotFound(err) {
		return Outcome{Status: StatusUnknown}, nil
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	return Outcome{
		Status: statusOf(result), ExitCode: int(result.GetExitcode()), Exception: tidy(result.GetException(), maxTailLines),
	}, nil
}

func statusOf(result *pb.GenericResult) Status {
	switch result.GetStatus() {
	case pb.GenericResult_GENERIC_STATUS_UNSPECIFIED:
		return StatusRunning
	case pb.GenericResult_GENERIC_STATUS_SUCCESS:
		return StatusSuccess
	case pb.GenericResult_GENERIC_STATUS_FAILURE:
		if result.GetExitcode() == overCode {
			return StatusTimeout
		}
		return StatusFailure
	case pb.GenericResult_GENERIC_STATUS_TERMINATED:
		return StatusTerminated
	case pb.GenericResult_GENERIC_STATUS_TIMEOUT:
		return StatusTimeout
	case pb.GenericResult_GENERIC_STATUS_INIT_FAILURE:
		return StatusInitFailure
	case pb.GenericResult_GENERIC_STATUS_INTERNAL_FAILURE:
		return StatusInternal
	case pb.GenericResult_GENERIC_STATUS_IDLE_TIMEOUT:
		return StatusIdle
	case pb.GenericResult_GENERIC_STATUS_MEMORY_MANAGER_EVICTION:
		return StatusEvicted
	default:
		return StatusOther
	}
}

// Tail returns the last lines of a sandbox's log, 1 to 1000 and at most 8 KiB of them, for people. What looks like a secret
// is masked; secrets in forms of their own are not known here. A sandbox that never began has no log, which is an error.
func (f *Fleet) Tail(ctx context.Context, id string, lines int) (string, error) {
	if lines < 1 || lines > maxTailLines {
		return "", fmt.Errorf("lines: must be 1 to %d (got %d)", maxTailLines, lines)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sandbox, err := f.handle(ctx, id)
	if err != nil {
		return "", err
	}
	entries, err := sandbox.Logs.Tail(ctx, &modal.LogTailParams{Entries: lines})
	if err != nil {
		return "", fmt.Errorf("modal: %w", classify(err, time.Now()))
	}
	var log strings.Builder
	for entry, err := range entries {
		if err != nil {
			return "", fmt.Errorf("modal: %w", classify(err, time.Now()))
		}
		log.WriteString(entry.Message) // An entry holds its line feeds; it need not be a whole line.
	}
	return tidy(log.String(), lines), nil
}

// tidy masks a text and keeps its end. It masks first: what is cut off a secret could not be told from other text.
func tidy(text string, lines int) string {
	text = last(text, maxRawTail)
	text = secretForm.ReplaceAllString(text, masked)
	text = strings.TrimRight(text, "\r\n")
	if all := strings.Split(text, "\n"); len(all) > lines {
		text = strings.Join(all[len(all)-lines:], "\n")
	}
	return strings.ToValidUTF8(last(text, maxTail), "")
}

// last is the end of text, of at most n bytes.
func last(text string, n int) string { return text[max(0, len(text)-n):] }
