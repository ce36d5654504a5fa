package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// firstPause is how long GitHub is not asked again for what it did not tell; it doubles while that lasts, up to maxPause, which
	// keeps an outage's calls rare and the end of the outage near.
	firstPause = time.Second
	maxPause   = time.Minute
)

// asked is what many need of GitHub and one at a time asks for: the token of an installation, or which installation there is.
// While GitHub fails to answer, it is asked again after pauses only.
type asked[T any] struct {
	// turn holds one entry while somebody asks. It is a channel, so that who waits can give up.
	turn chan struct{}

	mu       sync.Mutex
	value    T
	until    time.Time // for how long the value is good
	tries    int       // that failed, in all
	failures int       // in a row
	err      error     // of the last try
	again    time.Time // when GitHub may be asked again
}

func newAsked[T any]() *asked[T] { return &asked[T]{turn: make(chan struct{}, 1)} }

// get is the value, which ask asks GitHub for if it is not known; ask also tells for how long it is good. An error of GitHub's is
// that of all who waited for the same answer. Who comes during the pause after it gets a run.LimitedError.
func (a *asked[T]) get(ctx context.Context, ask func(context.Context) (T, time.Time, error)) (T, error) {
	value, tries, ok := a.known()
	if ok {
		return value, nil
	}
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return value, fmt.Errorf("wait for GitHub's answer to another: %w", context.Cause(ctx))
	}
	defer func() { <-a.turn }()
	if value, _, ok := a.known(); ok {
		return value, nil
	}
	if err := cmp.Or(a.failedSince(tries), a.paused()); err != nil {
		return value, err
	}
	value, until, err := ask(ctx)
	if err != nil {
		return value, a.failed(err, time.Now())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.value, a.until, a.failures, a.err = value, until, 0, nil
	return value, nil
}

// known is the value, if it is known and good, and how many tries have failed so far.
func (a *asked[T]) known() (value T, tries int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.value, a.tries, time.Now().Before(a.until)
}

// failedSince is the error of the last try if one has failed since there were so many.
func (a *asked[T]) failedSince(tries int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tries == tries {
		return nil
	}
	return a.err
}

// paused returns a run.LimitedError while GitHub is not to be asked again, and else nil. It asks nobody.
func (a *asked[T]) paused() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if now.Before(a.until) || !now.Before(a.again) {
		return nil
	}
	return &run.LimitedError{Until: a.again, Err: fmt.Errorf("not asked again yet: %w", a.err)}
}

// failed classifies the error and has all others heed it. It is nobody else's if the budget kept the request back, whose lane
// others need not share, or if who asked gave up.
func (a *asked[T]) failed(err error, now time.Time) error {
	if isClassified(err) || errors.Is(err, context.Canceled) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries++
	a.err = classify(err, now)
	if limited, ok := errors.AsType[*run.LimitedError](a.err); ok {
		a.again = limited.Until
		return a.err
	}
	if _, ok := errors.AsType[*run.PermanentError](a.err); ok { // GitHub is well. What was refused may be mended at any time.
		a.failures = 0
		return a.err
	}
	a.again = now.Add(min(maxPause, firstPause<<min(a.failures, 30)))
	a.failures++
	return a.err
}

// forget has the value be asked for again.
func (a *asked[T]) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = time.Time{}
}
