package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/lifecycle"
	"modal-github-runner/services/internal/obs"
)

const serviceName = "worker"

// ErrConfig says that the configuration can't work; the errors around it name every bad variable.
var ErrConfig = errors.New("bad configuration")

// ExitCode is what the process ends with after err: 0 clean, 1 failure, 2 bad configuration.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrConfig):
		return 2
	default:
		return 1
	}
}

// LoadConfig reads the configuration from environ. The error, ErrConfig with one line per bad variable, comes with what
// took effect nevertheless.
func LoadConfig(environ []string) (Config, config.Effective, error) {
	var cfg Config
	effective, err := config.Load(environ, &cfg, "WORKER_")
	if err != nil {
		err = fmt.Errorf("%w:\n%w", ErrConfig, err)
	}
	return cfg, effective, err
}

// Serve runs the worker with the configuration in environ, logging to stdout, until SIGINT or SIGTERM; a second signal
// calls exit(1) at once.
func Serve(environ []string, stdout io.Writer, exit func(code int)) error {
	cfg, _, err := LoadConfig(environ)
	if err != nil {
		return err
	}
	// Modal's SDK would read a developer's ~/.modal.toml beside what is configured here.
	if err := os.Setenv("MODAL_CONFIG_PATH", os.DevNull); err != nil {
		return fmt.Errorf("MODAL_CONFIG_PATH: %w", err)
	}
	ctx, stop := lifecycle.WithSignals(context.Background(), exit)
	defer stop()
	a, err := New(ctx, cfg, obs.NewLogger(stdout, cfg.Log, obs.ThisService(serviceName)))
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// Check writes the configuration as it would take effect, secrets redacted and each with where it came from. It returns
// ErrConfig if it can't work.
func Check(environ []string, stdout io.Writer) error {
	_, effective, err := LoadConfig(environ)
	return errors.Join(err, effective.Write(stdout))
}

// CheckMarkdown writes the table of all variables for the README.
func CheckMarkdown(stdout io.Writer) error {
	_, err := io.WriteString(stdout, config.Markdown(&Config{}))
	return err
}

// Healthcheck asks the worker that runs with the configuration in environ whether it is ready.
func Healthcheck(environ []string) error {
	// What else is wrong with the configuration is for the running service to say.
	cfg, _, _ := LoadConfig(environ)
	return obs.Healthcheck(context.Background(), cfg.Admin.Addr)
}

// Version writes which build this is.
func Version(stdout io.Writer) error {
	if _, err := fmt.Fprintln(stdout, serviceName, obs.ReadBuild()); err != nil {
		return fmt.Errorf("write version: %w", err)
	}
	return nil
}
