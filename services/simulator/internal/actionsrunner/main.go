// Package actionsrunner is the runner program that the simulated GitHub releases: it behaves like actions/runner as far
// as whoever starts it can see: environment, files, lines on the terminal, signals and exit codes. Steps are real shell
// commands. It talks to the simulated GitHub only, in the language of package wire, and knows nothing of its model.
//
// Behaviour follows actions/runner at 258d6c857 (2.336.0): Runner.cs, Constants.cs, run.sh and run-helper.sh.
package actionsrunner

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Version is what the program says it is unless SIMULATOR_RUNNER_VERSION says otherwise.
const Version = "2.337.0"

// The exit codes of the real Runner.Listener (Constants.cs).
const (
	ExitSuccess    = 0
	ExitTerminated = 1
	ExitConflict   = 5
	ExitDeprecated = 7
)

// inputPrefix marks variables that the runner reads as options and takes from the environment of steps.
const inputPrefix = "ACTIONS_RUNNER_INPUT_"

// Program is one start of the runner.
type Program struct {
	Args    []string // without the program's name
	Env     []string // "NAME=value"
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan os.Signal // the first one stops the runner
	UID     int              // who runs it; run.sh refuses root
}

// Main runs the program with this process's signals and user, and returns its exit code. When ctx ends, it stops as if
// it had got SIGTERM.
func Main(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	return Program{Args: args, Env: env, Stdout: stdout, Stderr: stderr, Signals: signals, UID: os.Getuid()}.Run(ctx)
}

// options are what arguments and environment ask for.
type options struct {
	jit     string
	script  bool // started by run.sh, which has its own exit codes
	version bool
}

// Run does what Main says.
func (p Program) Run(ctx context.Context) int {
	env := environment(p.Env)
	o, err := p.parse(env)
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return ExitTerminated
	}
	if o.version {
		fmt.Fprintln(p.Stdout, env.version())
		return ExitSuccess
	}
	if o.script && p.UID == 0 && env["RUNNER_ALLOW_RUNASROOT"] == "" {
		fmt.Fprintln(p.Stdout, "Must not run interactively with sudo")
		if env["RUNNER_MANUALLY_TRAP_SIG"] != "" {
			return ExitTerminated
		}
		return ExitSuccess // run.sh drops the code of its helper
	}
	code := p.listen(ctx, env, o)
	if o.script {
		return scriptCode(code, env)
	}
	return code
}

// scriptCode is what run-helper.sh makes of the listener's code: all is well, except for a deprecated version that was
// asked to be told.
func scriptCode(code int, env vars) int {
	if code == ExitDeprecated && env.truthy(returnDeprecated) {
		return ExitDeprecated
	}
	return ExitSuccess
}

func (p Program) parse(env vars) (options, error) {
	args := p.Args
	var o options
	flags := flag.NewFlagSet("runner", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.jit, "jitconfig", env[inputPrefix+"JITCONFIG"], "the encoded JIT configuration")
	flags.BoolVar(&o.script, "script", false, "behave as run.sh")
	flags.BoolVar(&o.version, "version", false, "print the version")
	flags.Bool("once", false, "run one job; a JIT runner never runs more")
	for {
		if err := flags.Parse(args); err != nil {
			return o, fmt.Errorf("arguments: %w", err)
		}
		if flags.NArg() == 0 {
			break
		}
		if flags.Arg(0) != "run" {
			return o, fmt.Errorf("arguments: must be the command run and its flags (got %q)", flags.Arg(0))
		}
		args = flags.Args()[1:]
	}
	if o.jit == "" && !o.version {
		return o, errors.New("jitconfig: must be given, by --jitconfig or " + inputPrefix + "JITCONFIG; the simulated runner has no other configuration")
	}
	return o, nil
}

// vars is an environment.
type vars map[string]string

func environment(env []string) vars {
	out := make(vars, len(env))
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok {
			out[name] = value
		}
	}
	return out
}

// truthy reads a switch as the runner's StringUtil.ConvertToBoolean does.
func (v vars) truthy(name string) bool {
	switch strings.ToLower(v[name]) {
	case "1", "true", "$true":
		return true
	default:
		return false
	}
}

func (v vars) version() string { return cmp.Or(v["SIMULATOR_RUNNER_VERSION"], Version) }
