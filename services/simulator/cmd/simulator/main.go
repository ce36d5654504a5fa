// Command simulator stands in for GitHub and Modal, and shows the whole system at work without an account of either.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"modal-github-runner/services/simulator/app"
	"modal-github-runner/services/simulator/internal/demo"
)

type cli struct {
	Run         app.RunCmd       `cmd:"" default:"withargs" help:"Serve GitHub, Modal and the side door for tests."`
	Demo        demo.Cmd         `cmd:""                    help:"Serve a whole workload on this machine, then say how it went."`
	Jobs        demo.JobsCmd     `cmd:""                    help:"Serve a workload in a system that others run, then say how it went."`
	Runner      app.RunnerCmd    `cmd:"" hidden:""          help:"The Actions runner that sandboxes start."`
	Version     app.VersionCmd   `cmd:""                    help:"Print the version."`
	VersionFlag kong.VersionFlag `name:"version" help:"Print the version, as the command does."`
}

func main() { os.Exit(run()) }

func run() int {
	parser, err := kong.New(&cli{}, kong.Name("simulator"), kong.Description("GitHub and Modal on this machine."), kong.Vars{"version": app.Version()},
		kong.BindTo(os.Stdout, (*io.Writer)(nil)), kong.BindToProvider(signalled))
	if err != nil {
		panic(err) // only a wrong tag above can cause it
	}
	command, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		return 2 // as for a bad configuration
	}
	err = command.Run()
	if _, isRunner := errors.AsType[*app.ExitError](err); err != nil && !isRunner {
		fmt.Fprintln(os.Stderr, "simulator:", err)
	}
	return app.ExitCode(err)
}

// signalled is asked for by commands that end in good order on a first signal; Ctrl-C once more ends them at once.
func signalled() (context.Context, error) {
	// Where nobody reads what is printed, SIGPIPE would leave processes and files behind. Caught, unlike ignored, it is not inherited.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // As under nohup, which a handler would undo.
		ctx, _ = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	// The others stay caught. A process whose parent dies may get SIGTERM once for each of its threads, and has sandboxes to end; of a
	// closed terminal the kernel and the shell both tell by SIGHUP.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	return ctx, nil
}
