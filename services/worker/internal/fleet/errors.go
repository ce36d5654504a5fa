package fleet

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/worker/internal/run"
)

// roomWait is how long a launch that Modal had no room for waits. Modal does not say how long it will take.
const roomWait = 15 * time.Second

// classify maps what the SDK returns of any call:
//
//	AlreadyExistsError                      run.ErrExists
//	RESOURCE_EXHAUSTED, as status or type   run.LimitedError, and so is whatever else says that it is for a quota or a rate
//	DEADLINE_EXCEEDED                       context.DeadlineExceeded, which the SDK's status error is not
//	everything else                         retryable
//
// Of a call that creates, refusal takes out of the last row what no other try would change.
func classify(err error, now time.Time) error {
	if _, ok := errors.AsType[modal.AlreadyExistsError](err); ok {
		return fmt.Errorf("%w: %w", run.ErrExists, err)
	}
	switch {
	case throttles(err):
		return &run.LimitedError{Until: now.Add(roomWait), Err: err}
	case status.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}

// scarce is how Modal, or what lies between, says in other words than by a code that there is no room, or that it was asked too often.
var scarce = regexp.MustCompile(`(?i)\bquota|rate.?limit|throttl|too many requests|` +
	`\b(workspace|account|spend(ing)?|usage|concurren\w*|budget|gpu) limit|limit (reached|exceeded)|(insufficient|no|out of) capacity`)

// throttles reports whether err says that Modal has no room, or is to be asked less often. What it does not accept has limits, too, that
// no time changes.
func throttles(err error) bool {
	if _, ok := errors.AsType[modal.ResourceExhaustedError](err); ok {
		return true
	}
	said, ok := status.FromError(err)
	if !ok {
		return false
	}
	switch said.Code() { //nolint:exhaustive // only these say more than their text
	case codes.ResourceExhausted:
		return true
	case codes.InvalidArgument, codes.OutOfRange, codes.Unauthenticated:
		return false
	}
	for _, detail := range said.Details() {
		if _, ok := detail.(*pb.RPCRetryPolicy); ok {
			return true
		}
	}
	return scarce.MatchString(said.Message())
}

// outcome is what err of a call that creates means for the launch.
func outcome(err error, p run.Pool) error {
	if decided(err) {
		return err
	}
	if refused := refusal(err, p); refused != nil && !throttles(err) {
		return refused
	}
	return classify(err, time.Now())
}

// decided reports whether err says already what the launch is to make of it, and that there is no sandbox.
func decided(err error) bool {
	_, limited := errors.AsType[*run.LimitedError](err)
	_, refused := errors.AsType[*run.RefusedError](err)
	_, permanent := errors.AsType[*run.PermanentError](err)
	return limited || refused || permanent
}

// refusal maps the errors of a call that creates which no other try would change, and returns nil for others:
//
//	InvalidError, INVALID_ARGUMENT, OUT_OF_RANGE   run.PermanentError if labels of the job have chosen what is asked for, else
//	                                               run.RefusedError: the pool asks for what Modal does not accept
//	UNAUTHENTICATED, PERMISSION_DENIED             run.RefusedError: a token, or what the workspace may do, is to be mended
//	NOT_FOUND, FAILED_PRECONDITION, UNIMPLEMENTED  run.RefusedError: something that the pool names, or Modal's side, is to be mended
func refusal(err error, p run.Pool) error {
	_, invalid := errors.AsType[modal.InvalidError](err)
	_, missing := errors.AsType[modal.NotFoundError](err)
	switch code := status.Code(err); {
	case (invalid || code == codes.InvalidArgument || code == codes.OutOfRange) && p.Asked:
		return &run.PermanentError{Err: err, Advice: "the labels of the job ask for what Modal does not accept"}
	case invalid || code == codes.InvalidArgument || code == codes.OutOfRange:
		return &run.RefusedError{Err: err, Advice: "pool " + p.Name + " asks for what Modal does not accept: its definition is to be mended"}
	case code == codes.Unauthenticated:
		return &run.RefusedError{Err: err, Advice: "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET are to be mended"}
	case code == codes.PermissionDenied:
		return &run.RefusedError{Err: err, Advice: "Modal's token, or its workspace, may not do what pool " + p.Name + " asks for"}
	case missing || code == codes.NotFound || code == codes.FailedPrecondition || code == codes.Unimplemented:
		return &run.RefusedError{Err: err, Advice: "what pool " + p.Name + " asks for is not there or not ready at Modal"}
	}
	return nil
}

func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// mayBeLoss reports whether a call that was to create a sandbox may have failed for lack of its image or App. NOT_FOUND is what
// Modal says of what was deleted. Of a stopped App its clients report a conflict with the App's state; that this is
// FAILED_PRECONDITION in the protocol is not documented.
func mayBeLoss(err error) bool {
	code := status.Code(err)
	return (code == codes.NotFound || code == codes.FailedPrecondition) && !decided(err) && !throttles(err)
}
