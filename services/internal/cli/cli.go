// Package cli is the command line that the services have in common: run, check, healthcheck and version, and what their
// exit codes mean.
//
// What may never happen here: a variable or a rule of one service only, and a read of the process environment (the caller
// passes it).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/alecthomas/kong"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/lifecycle"
	"modal-github-runner/services/internal/obs"
)

// Exit codes of every command.
const (
	exitClean   = 0
	exitFailure = 1
	exitConfig  = 2 // bad configuration or usage
)

// ErrConfig says that the configuration can't work; the errors around it name every bad variable.
var ErrConfig = errors.New("bad configuration")

// Service is what a service gives to its command line. C is its configuration, a struct that package config fills.
type Service[C any] struct {
	Name        string // the program's; the variables that are its own begin with it, in capitals
	Description string
	Log         func(C) obs.LogConfig
	AdminAddr   func(C) string
	// Explain writes what check prints of a good configuration beside its variables; nil for nothing.
	Explain func(C, io.Writer) error
	// Run serves until ctx ends.
	Run func(ctx context.Context, cfg C, log *slog.Logger) error
}

// Load reads the configuration from environ. The error, ErrConfig with one line per bad variable, comes with what took
// effect nevertheless.
func (s Service[C]) Load(environ []string) (C, config.Effective, error) {
	var cfg C
	effective, err := config.Load(environ, &cfg, strings.ToUpper(s.Name)+"_")
	if err != nil {
		err = fmt.Errorf("%w:\n%w", ErrConfig, err)
	}
	return cfg, effective, err
}

// Loader reads the configuration as [Service.Load] does, from the environment that Main was given.
type Loader[C any] func() (C, error)

// Main does what args ask for, and returns the exit code: 0 clean, 1 failure, 2 bad configuration or usage. commands is a
// pointer to a struct for kong that embeds [Commands]; the Run methods of others may ask for an [io.Writer] and a [Loader]. exit is called
// for --help and --version, and at once when a second signal comes while the service stops.
func (s Service[C]) Main(commands any, args, environ []string, stdout, stderr io.Writer, exit func(code int)) int {
	parser, err := kong.New(commands, kong.Name(s.Name), kong.Description(s.Description), kong.Vars{"version": s.version()},
		kong.Writers(stdout, stderr), kong.Exit(exit),
		kong.Bind(Loader[C](func() (C, error) {
			cfg, _, err := s.Load(environ)
			return cfg, err
		})),
		kong.BindTo(stdout, (*io.Writer)(nil)), kong.BindTo(&process[C]{s, environ, stdout, exit}, (*program)(nil)))
	if err != nil {
		panic(err) // only a wrong tag in commands can cause it
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitConfig
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(stderr, err)
		return exitCode(err)
	}
	return exitClean
}

func exitCode(err error) int {
	if errors.Is(err, ErrConfig) {
		return exitConfig
	}
	return exitFailure
}

// process is a service as one process runs it.
type process[C any] struct {
	service Service[C]
	environ []string
	stdout  io.Writer
	exit    func(code int)
}

func (p *process[C]) serve() error {
	cfg, _, err := p.service.Load(p.environ)
	if err != nil {
		return err
	}
	ctx, stop := lifecycle.WithSignals(context.Background(), p.exit)
	defer stop()
	return p.service.Run(ctx, cfg, obs.NewLogger(p.stdout, p.service.Log(cfg), obs.ThisService(p.service.Name)))
}

func (p *process[C]) check() error {
	cfg, effective, err := p.service.Load(p.environ)
	if err = errors.Join(err, effective.Write(p.stdout)); err != nil || p.service.Explain == nil {
		return err
	}
	fmt.Fprintln(p.stdout)
	return p.service.Explain(cfg, p.stdout)
}

func (p *process[C]) document() error {
	_, err := io.WriteString(p.stdout, config.Markdown(new(C)))
	return err
}

func (p *process[C]) healthcheck() error {
	// What else is wrong with the configuration is for the running service to say.
	cfg, _, _ := p.service.Load(p.environ)
	return obs.Healthcheck(context.Background(), p.service.AdminAddr(cfg))
}

func (p *process[C]) version() error {
	_, err := fmt.Fprintln(p.stdout, p.service.version())
	return err
}

func (s Service[C]) version() string { return s.Name + " " + obs.ReadBuild().String() }
