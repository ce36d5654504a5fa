// Command worker launches runners for the jobs on the queue. `worker check` lists the variables that configure it.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"modal-github-runner/services/worker/app"
)

type commands struct {
	app.OperatorCommands
	Run         runCommand         `cmd:"" default:"1" help:"Launch runners (the default)."`
	Check       checkCommand       `cmd:""             help:"Validate the configuration and print it."`
	Healthcheck healthcheckCommand `cmd:""             help:"Ask the running service whether it is ready."`
	Version     versionCommand     `cmd:""             help:"Print which build this is."`
}

type (
	runCommand   struct{}
	checkCommand struct {
		Markdown bool `help:"Print the table of all variables instead."`
	}
	healthcheckCommand struct{}
	versionCommand     struct{}
)

func (runCommand) Run(out io.Writer) error     { return app.Serve(os.Environ(), out, os.Exit) }
func (healthcheckCommand) Run() error          { return app.Healthcheck(os.Environ()) }
func (versionCommand) Run(out io.Writer) error { return app.Version(out) }

func (c checkCommand) Run(out io.Writer) error {
	if c.Markdown {
		return app.CheckMarkdown(out)
	}
	return app.Check(os.Environ(), out)
}

func main() { os.Exit(run()) }

func run() int {
	parser, err := kong.New(&commands{}, kong.Name("worker"), kong.Description("Job events in NATS become GitHub Actions runners at Modal."),
		kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	if err != nil {
		panic(err) // only a wrong tag above can cause it
	}
	command, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2 // as for a bad configuration
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return app.ExitCode(err)
	}
	return 0
}
