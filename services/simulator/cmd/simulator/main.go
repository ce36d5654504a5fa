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
	Run     app.RunCmd     `cmd:"" default:"withargs" help:"Serve GitHub, Modal and the side door for tests."`
	Demo    demo.Cmd       `cmd:""                    help:"Serve a whole workload on this machine, then say how it went."`
	Runner  app.RunnerCmd  `cmd:"" hidden:""          help:"The Actions runner that sandboxes start."`
	Version app.VersionCmd `cmd:""                    help:"Print the version."`
}

func main() { os.Exit(run()) }

func run() int {
	command := kong.Parse(&cli{}, kong.Name("simulator"), kong.Description("GitHub and Modal on this machine."))
	command.BindTo(os.Stdout, (*io.Writer)(nil))
	err := command.BindToProvider(signalled)
	if err == nil {
		err = command.Run()
	}
	exit, isExit := errors.AsType[*app.ExitError](err)
	switch {
	case isExit:
		return exit.Code
	case err != nil:
		fmt.Fprintln(os.Stderr, "simulator:", err)
		return 1
	}
	return 0
}

// signalled is asked for by the commands that end in good order on a first signal; Ctrl-C once more ends them at once.
func signalled() (context.Context, error) {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// SIGTERM stays caught: a process whose parent dies may get it once for each of the parent's threads, and has sandboxes
	// to end.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	return ctx, nil
}
