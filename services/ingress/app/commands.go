package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/lifecycle"
	"modal-github-runner/services/internal/obs"
)

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

// Serve runs ingress with the configuration in environ, logging to stdout, until SIGINT or SIGTERM; a second signal calls
// exit(1) at once.
func Serve(environ []string, stdout io.Writer, exit func(code int)) error {
	cfg, _, err := LoadConfig(environ)
	if err != nil {
		return err
	}
	ctx, stop := lifecycle.WithSignals(context.Background(), exit)
	defer stop()
	a, err := New(ctx, Options{Config: cfg, Logger: obs.NewLogger(stdout, cfg.Log, obs.ThisService(serviceName))})
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

// Healthcheck asks the ingress that runs with the configuration in environ whether it is ready.
func Healthcheck(environ []string) error {
	// What else is wrong with the configuration is for the running service to say.
	cfg, _, _ := LoadConfig(environ)
	return obs.Healthcheck(context.Background(), cfg.AdminAddr)
}

// Version writes which build this is.
func Version(stdout io.Writer) error {
	if _, err := fmt.Fprintln(stdout, serviceName, obs.ReadBuild()); err != nil {
		return fmt.Errorf("write version: %w", err)
	}
	return nil
}
