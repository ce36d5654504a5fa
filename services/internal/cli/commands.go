package cli

import "github.com/alecthomas/kong"

// Commands are what every service has, for kong.
type Commands struct {
	VersionFlag kong.VersionFlag   `help:"Print which build this is, as the command version does." name:"version"`
	Run         runCommand         `cmd:"" default:"1" help:"Serve until SIGINT or SIGTERM (the default)."`
	Check       checkCommand       `cmd:"" help:"Validate the configuration and print it."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask the running service whether it is ready."`
	Version     versionCommand     `cmd:"" help:"Print which build this is."`
}

type (
	runCommand   struct{}
	checkCommand struct {
		Markdown bool `help:"Print the table of all variables instead."`
	}
	healthcheckCommand struct{}
	versionCommand     struct{}
)

// program is a [process] of any service.
type program interface {
	serve() error
	check() error
	document() error
	healthcheck() error
	version() error
}

// Run implements the command.
func (runCommand) Run(p program) error { return p.serve() }

// Run implements the command.
func (c checkCommand) Run(p program) error {
	if c.Markdown {
		return p.document()
	}
	return p.check()
}

// Run implements the command.
func (healthcheckCommand) Run(p program) error { return p.healthcheck() }

// Run implements the command.
func (versionCommand) Run(p program) error { return p.version() }
