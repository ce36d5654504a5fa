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
