package run

import (
	"errors"
	"fmt"
	"time"
)

// The outcomes of a call that the rules tell apart. Adapters map everything that GitHub, Modal and NATS answer to one
// of them, once. Any other error may pass and is worth another try.
var (
	// ErrConflict says that somebody else has changed the record since it was loaded.
	ErrConflict = errors.New("changed by somebody else")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("exists already")
	// ErrNoPool says that the pools file has no such pool.
	ErrNoPool = errors.New("must be one of the pools file")
	// ErrNoImage says that there is nothing that a sandbox could start from; the error around it says why. The launch waits
	// for an image, so it comes in a LimitedError.
	ErrNoImage = errors.New("no image to start from yet")
	// ErrBadImage is the ErrNoImage of a pool whose own image can't be built as it is defined: no launch of the pool will start
	// until that is mended.
	ErrBadImage = fmt.Errorf("%w", ErrNoImage)
	// ErrNotMade says for sure that a call that was to create something has created nothing, and will not do so late. So do a
	// LimitedError, a RefusedError and a PermanentError of such a call.
	ErrNotMade = errors.New("nothing was created")
)

// LimitedError says that room or budget is lacking until about Until. It is no failure of what was asked.
type LimitedError struct {
	Until time.Time
	Err   error
}

// Error leaves the time out: texts that change with each try could not be compared, and fill a job's timeline.
func (e *LimitedError) Error() string { return e.Err.Error() }

// Unwrap returns the adapter's error.
func (e *LimitedError) Unwrap() error { return e.Err }

// PermanentError says that the same call can't succeed later. Advice tells an operator what to change.
type PermanentError struct {
	Advice string
	Err    error
}

func (e *PermanentError) Error() string { return fmt.Sprintf("%v; %s", e.Err, e.Advice) }

// Unwrap returns the adapter's error.
func (e *PermanentError) Unwrap() error { return e.Err }

// RefusedError says that nothing of this kind can succeed until somebody mends something, whichever job it is for: what was refused
// is not what this job alone has asked for. Jobs wait for that. Advice tells an operator what to change.
type RefusedError struct {
	Advice string
	Err    error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%v; %s", e.Err, e.Advice) }

// Unwrap returns the adapter's error.
func (e *RefusedError) Unwrap() error { return e.Err }
