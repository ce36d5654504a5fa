package app

import (
	"context"
	"io"
	"log/slog"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/obs"
)

// Main runs the command that args ask for and returns the exit code, as [cli.Service.Main] does.
func Main(args, environ []string, stdout, stderr io.Writer, exit func(code int)) int {
	return service().Main(&cli.Commands{}, args, environ, stdout, stderr, exit)
}

// LoadConfig reads the configuration from environ. The error, [cli.ErrConfig] with one line per bad variable, comes with
// what took effect nevertheless.
func LoadConfig(environ []string) (Config, config.Effective, error) { return service().Load(environ) }

func service() cli.Service[Config] {
	return cli.Service[Config]{
		Name:        serviceName,
		Description: "GitHub's webhooks become job events in NATS.",
		Log:         func(c Config) obs.LogConfig { return c.Log },
		AdminAddr:   func(c Config) string { return c.AdminAddr },
		Explain: func(c Config, w io.Writer) error {
			source, err := pools.Open(c.PoolsFile)
			if err != nil {
				return err
			}
			return source.File().WriteTable(w)
		},
		Run: func(ctx context.Context, cfg Config, log *slog.Logger) error {
			a, err := New(ctx, Options{Config: cfg, Logger: log})
			if err != nil {
				return err
			}
			return a.Run(ctx)
		},
	}
}
