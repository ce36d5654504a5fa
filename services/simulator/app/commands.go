package app

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/fault"
)

// ErrConfig says that the configuration can't work; the error around it names what is wrong.
var ErrConfig = errors.New("bad configuration")

// RunCmd serves until the context ends. Secrets come by environment: arguments are for everyone on the machine to read.
type RunCmd struct {
	GitHubAddr  string `name:"github-addr" default:"127.0.0.1:8081" help:"Where GitHub listens."`
	ModalAddr   string `default:"127.0.0.1:8082" help:"Where Modal listens."`
	ControlAddr string `default:"127.0.0.1:8083" help:"Where the side door for tests listens; it asks for no credentials."`
	Seed        uint64 `default:"1" help:"Decides all chance."`

	RouterAddr string `help:"Where Modal's command router listens with TLS, as its SDK wants it of other hosts; nowhere by default."`
	RouterHost string `default:"localhost" help:"The name by which they reach it."`
	RouterCert string `help:"File to write the certificate to that they are to trust."`

	AppID      int64    `name:"app-id" env:"GITHUB_APP_ID" help:"Id of the GitHub App."`
	AppKeyFile string   `env:"GITHUB_APP_PRIVATE_KEY_FILE" type:"existingfile" help:"PEM file with the App's private RSA key."`
	Tokens     []string `name:"tokens" env:"GITHUB_TOKEN" hidden:"" help:"Personal access tokens."`

	ModalTokenID     string `name:"modal-token-id" env:"MODAL_TOKEN_ID" help:"The token that Modal accepts."`
	ModalTokenSecret string `env:"MODAL_TOKEN_SECRET" hidden:"" help:"Its secret."`

	WebhookURL    string `name:"webhook-url" env:"WEBHOOK_URL" help:"Where the App's webhooks go; none by default."`
	WebhookSecret string `env:"WEBHOOK_SECRET" hidden:"" help:"What they are signed with."`

	Faults string `type:"existingfile" help:"JSON file with a list of faults."`
}

// Help is more of what --help says.
func (RunCmd) Help() string {
	return "Secrets come by environment: GITHUB_TOKEN, MODAL_TOKEN_SECRET, WEBHOOK_SECRET."
}

// Validate reports every mistake in how the flags go together.
func (c RunCmd) Validate() error {
	var errs []error
	if c.ModalTokenID == "" || c.ModalTokenSecret == "" {
		errs = append(errs, errors.New("MODAL_TOKEN_ID, MODAL_TOKEN_SECRET: must both be set"))
	}
	if c.AppKeyFile == "" && len(c.Tokens) == 0 {
		errs = append(errs, errors.New("GITHUB_APP_PRIVATE_KEY_FILE, GITHUB_TOKEN: one of the two must be set (got neither)"))
	}
	if c.AppKeyFile != "" && c.AppID <= 0 {
		errs = append(errs, fmt.Errorf("GITHUB_APP_ID: must be positive with a private key (got %d)", c.AppID))
	}
	if (c.RouterAddr == "") != (c.RouterCert == "") {
		errs = append(errs, fmt.Errorf("--router-addr, --router-cert: must be set together (got %q, %q)", c.RouterAddr, c.RouterCert))
	}
	return errors.Join(errs...)
}

// router is nil for none.
func (c RunCmd) router() *Router {
	if c.RouterAddr == "" {
		return nil
	}
	return &Router{Addr: c.RouterAddr, Host: c.RouterHost, CertFile: c.RouterCert}
}

// Run implements the command. The error is ErrConfig if what the command line names can't be used.
func (c RunCmd) Run(ctx context.Context) error {
	key, err := readAppKey(c.AppKeyFile)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	faults, err := readFaults(c.Faults)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("path of this program: %w", err)
	}
	a, err := New(ctx, Options{
		GitHubAddr: c.GitHubAddr, ModalAddr: c.ModalAddr, ControlAddr: c.ControlAddr, Router: c.router(), Seed: c.Seed,
		AppID: c.AppID, AppKey: key, Tokens: c.Tokens,
		ModalTokenID: c.ModalTokenID, ModalTokenSecret: c.ModalTokenSecret,
		WebhookURL: c.WebhookURL, WebhookSecret: c.WebhookSecret,
		Faults: faults, Exe: exe, Log: slog.New(slog.NewJSONHandler(os.Stdout, nil)),
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// readAppKey returns nil without a path: there may be personal tokens only.
func readAppKey(path string) (*rsa.PublicKey, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no key is a valid choice
	}
	content, err := os.ReadFile(path) //nolint:gosec // the operator says which file
	if err != nil {
		return nil, fmt.Errorf("app key: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("app key: must be a PEM file (got %s)", path)
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes) // the form in which GitHub hands out keys
	if err != nil {
		return nil, fmt.Errorf("app key: %w", err)
	}
	return &key.PublicKey, nil
}

func readFaults(path string) (rules []fault.Rule, err error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path) //nolint:gosec // the operator says which file
	if err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&rules); err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	return rules, nil
}

// ExitCode is what the process ends with after a command returned err: 0 clean, 1 failure, 2 bad configuration, and a
// runner's own.
func ExitCode(err error) int {
	runner, isRunner := errors.AsType[*ExitError](err)
	switch {
	case err == nil:
		return 0
	case isRunner:
		return runner.Code
	case errors.Is(err, ErrConfig):
		return 2
	default:
		return 1
	}
}

// RunnerCmd is the Actions runner that run.sh of a simulated release starts.
type RunnerCmd struct {
	Args []string `arg:"" optional:"" passthrough:"all"`
}

// ExitError is the code with which a runner ended, for the process to end with.
type ExitError struct{ Code int }

// Error implements error.
func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Run implements the command. The runner minds signals itself, as the real one does.
func (c RunnerCmd) Run() error {
	if code := actionsrunner.Main(context.Background(), c.Args, os.Environ(), os.Stdout, os.Stderr); code != 0 {
		return &ExitError{Code: code}
	}
	return nil
}

// VersionCmd prints the version.
type VersionCmd struct{}

// Run implements the command.
func (VersionCmd) Run(out io.Writer) error {
	_, err := fmt.Fprintln(out, Version())
	return err
}

// Version says which build of the program runs, as the command prints it.
func Version() string {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return "simulator " + version
}
