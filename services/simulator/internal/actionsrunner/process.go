package actionsrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// How long a cancelled step gets before the next, harder signal (ProcessInvoker.cs).
const (
	afterInterrupt = 7500 * time.Millisecond
	afterTerminate = 2500 * time.Millisecond
)

// maxOutput is how much of the end of a step's output is reported, in bytes.
const maxOutput = 4 << 10

// shell runs a script with "bash -e", or "sh -e" where there is no bash, and returns its exit code and the end of its
// output. The error means that it could not be run at all.
func (w *work) shell(ctx context.Context, number int, script string) (code int, output string, err error) {
	log, err := os.Create(filepath.Join(w.logs(), fmt.Sprintf("step-%d.log", number)))
	if err != nil {
		return 1, "", fmt.Errorf("step log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	shell, err := exec.LookPath("bash")
	if err != nil {
		shell = "sh"
	}
	cmd := exec.Command(shell, "-e", script) //nolint:gosec,noctx // running what the job says is the purpose; the end comes in three stages
	// A file instead of a pipe: a process that a step left in the background would keep a pipe open.
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = w.workspace, w.env, log, log, ownGroup()
	if err := cmd.Start(); err != nil {
		return 1, "", fmt.Errorf("start step: %w", err)
	}
	w.groups = append(w.groups, cmd.Process.Pid)
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // received below, on every way
	err = w.await(ctx, cmd.Process.Pid, exited)
	output = w.tail(log)
	if status, ok := errors.AsType[*exec.ExitError](err); ok {
		if code = status.ExitCode(); code < 0 {
			code = 128 + int(status.Sys().(syscall.WaitStatus).Signal()) //nolint:forcetypeassert // what Unix gives
		}
		return code, output, nil
	}
	if err != nil {
		return 1, output, fmt.Errorf("step: %w", err)
	}
	return 0, output, nil
}

// await waits for the process, and once ctx ends asks its group to stop, louder each time.
func (w *work) await(ctx context.Context, group int, exited <-chan error) error {
	select {
	case err := <-exited:
		return err
	case <-ctx.Done():
	}
	for _, stage := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, afterInterrupt}, {syscall.SIGTERM, afterTerminate}} {
		w.signal(group, stage.signal)
		select {
		case err := <-exited:
			return err
		case <-time.After(stage.wait):
		}
	}
	w.signal(group, syscall.SIGKILL)
	return <-exited
}

func (w *work) signal(group int, s syscall.Signal) {
	if err := syscall.Kill(-group, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		fmt.Fprintf(w.Stderr, "Failed to send %v to process group %d: %v\n", s, group, err)
	}
}

// endLeftovers ends what the steps left running, as the real runner does after a job.
func (w *work) endLeftovers() {
	for _, group := range w.groups {
		w.signal(group, syscall.SIGKILL)
	}
}

// tail reads the end of a step's log, and prints all of it if the runner is asked to.
func (w *work) tail(log *os.File) string {
	if w.listener.env.truthy("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT") {
		if _, err := log.Seek(0, io.SeekStart); err == nil {
			_, _ = io.Copy(w.Stdout, log) // a terminal that is gone must not fail the job
		}
	}
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	b := make([]byte, min(end, maxOutput))
	n, err := log.ReadAt(b, end-int64(len(b)))
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return string(b[:n])
}
