package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/obs"
)

const serviceName = "worker"

type commands struct {
	OperatorCommands
	cli.Commands

	Images imagesCommand `cmd:"" help:"Build what sandboxes start from ahead, or list it."`
}

// Main runs the command that args ask for and returns the exit code, as [cli.Service.Main] does.
func Main(args, environ []string, stdout, stderr io.Writer, exit func(code int)) int {
	return service().Main(&commands{}, args, environ, stdout, stderr, exit)
}

// LoadConfig reads the configuration from environ. The error, [cli.ErrConfig] with one line per bad variable, comes with
// what took effect nevertheless.
func LoadConfig(environ []string) (Config, config.Effective, error) { return service().Load(environ) }

func service() cli.Service[Config] {
	return cli.Service[Config]{
		Name:        serviceName,
		Description: "Job events in NATS become GitHub Actions runners at Modal.",
		Log:         func(c Config) obs.LogConfig { return c.Log },
		AdminAddr:   func(c Config) string { return c.Admin.Addr },
		Run:         serve,
		Explain: func(c Config, w io.Writer) error {
			source, err := pools.Open(c.PoolsFile)
			if err != nil {
				return err
			}
			return source.File().WriteTable(w)
		},
	}
}

func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	if err := ignoreModalFile(); err != nil {
		return err
	}
	a, err := New(ctx, Options{Config: cfg, Logger: log})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// ignoreModalFile keeps Modal's SDK from reading a developer's ~/.modal.toml beside what is configured here.
func ignoreModalFile() error {
	if err := os.Setenv("MODAL_CONFIG_PATH", os.DevNull); err != nil {
		return fmt.Errorf("MODAL_CONFIG_PATH: %w", err)
	}
	return nil
}
