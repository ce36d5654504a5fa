package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"syscall"
	"time"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

// ErrNotRunning is returned for an exec in a sandbox that has not started or has ended.
var ErrNotRunning = errors.New("the sandbox is not running")

// ExecSpec says what to run beside the entrypoint.
type ExecSpec struct {
	Args []string
	Env  map[string]string // on top of the sandbox's
	Dir  string            // empty: the sandbox's
	// Timeout ends the command with SIGKILL. Zero means that it may run as long as the sandbox.
	Timeout                      time.Duration
	DiscardStdout, DiscardStderr bool
}

// Exec is a command that runs, or ran, in a sandbox.
type Exec struct {
	output *Log
	done   chan struct{}
	code   int            // valid once done is closed
	signal syscall.Signal // not zero if that ended the command
}

// Output returns what the command has written.
func (e *Exec) Output() *Log { return e.output }

// Done is closed when the command has ended.
func (e *Exec) Done() <-chan struct{} { return e.done }

// Result returns the exit code and, if the sandbox or the timeout ended the command, the signal. Done must be closed.
func (e *Exec) Result() (code int, signal syscall.Signal) { return e.code, e.signal }

// Exec starts the command under the id, which makes it idempotent: a second call with the same id returns the first
// one's command.
func (s *Sandbox) Exec(id string, spec ExecSpec) (*Exec, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.execs[id]; ok {
		return e, nil
	}
	if s.machine == nil {
		return nil, ErrNotRunning
	}
	env := maps.Clone(s.env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, spec.Env)
	e := &Exec{output: newLog(s.output.limit), done: make(chan struct{})}
	program := machine.Program{Args: spec.Args, Env: env, Dir: spec.Dir, Stdout: io.Discard, Stderr: io.Discard}
	if program.Dir == "" {
		program.Dir = s.spec.Definition.GetWorkdir()
	}
	if !spec.DiscardStdout {
		program.Stdout = e.output.Writer(Stdout)
	}
	if !spec.DiscardStderr {
		program.Stderr = e.output.Writer(Stderr)
	}
	s.execs[id] = e
	m := s.machine
	s.running.Go(func() { e.run(s.ctx, m, program, spec.Timeout) })
	return e, nil
}

// FindExec returns the command with the id.
func (s *Sandbox) FindExec(id string) (*Exec, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.execs[id]; ok {
		return e, nil
	}
	return nil, fmt.Errorf("exec %q: %w", id, ErrNotFound)
}

func (e *Exec) run(ctx context.Context, m machine.Machine, p machine.Program, timeout time.Duration) {
	defer close(e.done)
	defer e.output.close()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	code, err := m.Exec(ctx, p)
	switch {
	case err == nil:
		e.code = code
	case ctx.Err() != nil:
		e.signal = syscall.SIGKILL
	default:
		// What a shell says of a program that it cannot run.
		e.code = 127
		_, _ = fmt.Fprintln(p.Stderr, err) // the log takes everything
	}
}
