package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"modal-github-runner/services/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStopRunsCleanupsInReverseOrderOnceAndNamesTheirErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var order []string
	stack := lifecycle.New(time.Minute)
	for _, name := range []string{"queue", "server", "listener"} {
		stack.Push(name, func(context.Context) error {
			order = append(order, name)
			if name == "server" {
				return broken
			}
			return nil
		})
	}
	err := stack.Stop(t.Context())
	if diff := cmp.Diff([]string{"listener", "server", "queue"}, order); diff != "" {
		t.Error(diff)
	}
	if !errors.Is(err, broken) || err.Error() != "stop server: broken" {
		t.Errorf("Stop() = %v", err)
	}
	if err := stack.Stop(t.Context()); err != nil || len(order) != 3 {
		t.Errorf("second Stop() = %v after %d cleanups, want nil after 3", err, len(order))
	}
}

func TestStopIsBoundedAndStillRunsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		ran := false
		stack := lifecycle.New(20 * time.Second)
		stack.Push("first", func(ctx context.Context) error {
			ran = true
			return ctx.Err()
		})
		stack.Push("deaf", func(context.Context) error {
			<-release
			return nil
		})
		began := time.Now()
		err := stack.Stop(t.Context())
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("Stop took %s", took)
		}
		if !ran || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop deaf: ") {
			t.Errorf("Stop() = %v, first ran: %t", err, ran)
		}
	})
}

// Not parallel: signals go to the whole process.
func TestFirstSignalEndsTheContextAndSecondExits(t *testing.T) {
	exits := make(chan int, 1)
	ctx, stop := lifecycle.WithSignals(t.Context(), func(code int) { exits <- code })
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, ctx.Done())
	if e, ok := errors.AsType[*lifecycle.SignalError](context.Cause(ctx)); !ok || e.Signal != syscall.SIGTERM {
		t.Errorf("cause = %v", context.Cause(ctx))
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := await(t, exits); code != 1 {
		t.Errorf("exit code = %d", code)
	}
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came in 10 s")
		panic("unreachable")
	}
}
