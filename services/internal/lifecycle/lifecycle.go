// Package lifecycle says in which order the parts of a process end, and how long that may take.
//
// What may never happen here: a cleanup that runs before what was started after it has ended, or a stop without a bound.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Stack holds the cleanups of what was started, and runs them in reverse order. The zero Stack is not usable; see New.
type Stack struct {
	timeout time.Duration

	mu       sync.Mutex
	cleanups []cleanup
}

type cleanup struct {
	name string
	stop func(context.Context) error
}

// New returns an empty stack whose Stop takes at most timeout.
func New(timeout time.Duration) *Stack { return &Stack{timeout: timeout} }

// Push adds the cleanup of what was just started. stop should return when its context ends.
func (s *Stack) Push(name string, stop func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, cleanup{name: name, stop: stop})
}

// Stop runs all cleanups, last pushed first, each once, and joins their errors, each with the name of its cleanup.
// It returns within the stack's timeout, or when ctx ends if that is sooner: the cleanups that have not run by then still
// run, with a context that has ended, and one that ignores that is left behind with an error. A second Stop does nothing.
func (s *Stack) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.mu.Lock()
	cleanups := s.cleanups
	s.cleanups = nil
	s.mu.Unlock()
	var errs []error
	for _, c := range slices.Backward(cleanups) {
		if err := c.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

// graceAfterEnd is what a cleanup gets to notice that its context has ended.
const graceAfterEnd = 100 * time.Millisecond

func (c cleanup) run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- c.stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(graceAfterEnd):
		return context.Cause(ctx)
	}
}
