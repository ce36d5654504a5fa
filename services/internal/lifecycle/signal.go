package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ Signal os.Signal }

// Error implements error.
func (e *SignalError) Error() string { return fmt.Sprintf("received %s", e.Signal) }

// WithSignals returns a context that the first SIGINT or SIGTERM ends with a [*SignalError] as its cause. The second one
// calls exit(1) at once: a person who asks twice does not want to wait. stop ends the watching and must be called.
func WithSignals(parent context.Context, exit func(code int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for received := 0; ; received++ {
			select {
			case s := <-signals:
				if received > 0 {
					exit(1)
					return
				}
				cancel(&SignalError{Signal: s})
			case <-quit:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(quit)
		<-done
		cancel(context.Canceled)
	}
}
