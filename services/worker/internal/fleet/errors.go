package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/worker/internal/run"
)

// roomWait is how long a launch that Modal had no room for waits. Modal does not say how long it will take.
const roomWait = 15 * time.Second

// classify maps what the SDK returns:
//
//	AlreadyExistsError                      run.ErrExists
//	RESOURCE_EXHAUSTED, as status or type   run.LimitedError
//	InvalidError, INVALID_ARGUMENT          run.PermanentError: the pool asks for what Modal does not have
//	DEADLINE_EXCEEDED                       context.DeadlineExceeded, which the SDK's status error is not
//	everything else                         retryable; a revoked token too, since it is mended without a new job
//
// Of a call that creates, createError takes NOT_FOUND and FAILED_PRECONDITION out of the last row.
func classify(err error, now time.Time) error {
	if _, ok := errors.AsType[modal.AlreadyExistsError](err); ok {
		return fmt.Errorf("%w: %w", run.ErrExists, err)
	}
	if _, ok := errors.AsType[modal.ResourceExhaustedError](err); ok {
		return &run.LimitedError{Until: now.Add(roomWait), Err: err}
	}
	if _, ok := errors.AsType[modal.InvalidError](err); ok {
		return &run.PermanentError{Err: err, Advice: "the pool asks for what Modal does not accept"}
	}
	switch status.Code(err) { //nolint:exhaustive // the comment above is the table
	case codes.ResourceExhausted:
		return &run.LimitedError{Until: now.Add(roomWait), Err: err}
	case codes.InvalidArgument:
		return &run.PermanentError{Err: err, Advice: "the pool asks for what Modal does not accept"}
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	default:
		return err
	}
}

func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// isLoss reports whether a call that was to create a sandbox failed for lack of its image or App. NOT_FOUND is what
// Modal says of what was deleted. Of a stopped App its clients report a conflict with the App's state; that this is
// FAILED_PRECONDITION in the protocol is not documented.
func isLoss(err error) bool {
	code := status.Code(err)
	return code == codes.NotFound || code == codes.FailedPrecondition
}
