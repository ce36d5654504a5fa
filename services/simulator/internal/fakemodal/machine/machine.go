// Package machine runs the programs of sandboxes: Local as real process groups on this computer, Func in memory.
//
// Programs and their directories live here and nothing of Modal's protocol does. No program may outlive the machine
// that ran it, and none may see a file or a variable of the process that the simulator itself is.
package machine

import (
	"context"
	"io"
)

// Program is one program to run in a machine.
type Program struct {
	// Args is the program and its arguments; it must not be empty. A name without a slash is looked up in the PATH
	// of the machine and Env, never in the simulator's own.
	Args []string
	// Env is set on top of the machine's own variables.
	Env map[string]string
	// Dir is the working directory, taken below the machine's own one and made if missing. Empty means the latter.
	Dir string
	// Mounts are there for Main only.
	Mounts []Mount
	// Docker says that the machine lets an engine of Docker's run.
	Docker bool
	// Stdout and Stderr get the output; they must not be nil. Writes to the two come from two goroutines.
	Stdout, Stderr io.Writer
}

// Executor opens the machines of sandboxes.
type Executor interface {
	// Open makes an empty machine for the sandbox with this id, which must be unique among all that run here.
	Open(id string) (Machine, error)
}

// Machine is where the programs of one sandbox run.
type Machine interface {
	// Main runs the program that the sandbox exists for and returns its exit code (128 plus the number of the signal
	// that ended it). All that runs in the machine is killed before Main returns. If ctx ends first, the error is
	// the context's cause; any other error means that the program could not be started.
	Main(ctx context.Context, p Program) (exitCode int, err error)
	// Exec runs one more program beside Main's, with the same results. Only the program and its process group are
	// killed when it ends.
	Exec(ctx context.Context, p Program) (exitCode int, err error)
	// Close removes what is left of the machine. Main and all Execs must have returned.
	Close() error
}

// Func is an Executor that runs a function in place of every program, for tests within one process and in bubbles of
// testing/synctest. The function returns the exit code and must return soon after its context has ended.
type Func func(ctx context.Context, p Program) (exitCode int)

// Open returns a machine that calls f.
func (f Func) Open(string) (Machine, error) { return funcMachine{f}, nil }

type funcMachine struct{ f Func }

func (m funcMachine) Main(ctx context.Context, p Program) (int, error) {
	code := m.f(ctx, p)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return code, nil
}

func (m funcMachine) Exec(ctx context.Context, p Program) (int, error) { return m.Main(ctx, p) }

func (m funcMachine) Close() error { return nil }
