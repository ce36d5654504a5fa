package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/lifecycle"
	"modal-github-runner/services/internal/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type settings struct {
	Addr   string               `default:"127.0.0.1:1" doc:"where it listens" env:"TOY_ADDR"`
	Secret *config.SecretSource `doc:"a secret" env:"TOY_SECRET" required:"true"`
	Log    obs.LogConfig
}

type commands struct {
	cli.Commands

	Greet greetCommand `cmd:"" help:"Greet."`
	Tell  tellCommand  `cmd:"" help:"Tell the address."`
}

type tellCommand struct{}

func (tellCommand) Run(load cli.Loader[settings], out io.Writer) error {
	s, err := load()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, s.Addr)
	return err
}

type greetCommand struct{}

func (greetCommand) Run(out io.Writer) error {
	_, err := fmt.Fprintln(out, "hello")
	return err
}

func toy(run func(context.Context, settings, *slog.Logger) error) cli.Service[settings] {
	return cli.Service[settings]{
		Name: "toy", Description: "A toy.", Run: run,
		Log:       func(s settings) obs.LogConfig { return s.Log },
		AdminAddr: func(s settings) string { return s.Addr },
		Explain: func(s settings, w io.Writer) error {
			_, err := fmt.Fprintf(w, "It listens on %s.\n", s.Addr)
			return err
		},
	}
}

func TestEachCommandSaysItAndReturnsItsExitCode(t *testing.T) {
	t.Parallel()
	good := []string{"TOY_SECRET=canary", "LOG_FORMAT=json"}
	for name, test := range map[string]struct {
		args    []string
		environ []string
		fails   error // what the service ends with
		code    int
		stdout  string // regular expressions
		stderr  string
	}{
		"run":                                 {[]string{"run"}, good, nil, 0, `^\{.*"msg":"secret has 6 letters","service":"toy".*\}\n$`, `^$`},
		"run is the default":                  {nil, good, nil, 0, `"secret has 6 letters"`, `^$`},
		"run of a service that fails":         {nil, good, errors.New("out of paper"), 1, `letters`, `^out of paper\n$`},
		"run of one with a bad configuration": {nil, good, fmt.Errorf("%w: no paper", cli.ErrConfig), 2, `letters`, `^bad configuration: no paper\n$`},
		"run without its secret":              {nil, []string{"TOY_ADR=x"}, nil, 2, `^$`, `^bad configuration:\nTOY_SECRET: is required .*\nTOY_ADR: is not a known variable, did you mean TOY_ADDR\?\n$`},
		"check":                               {[]string{"check"}, good, nil, 0, `(?ms)^TOY_SECRET +\[redacted\] +env$.*\n\nIt listens on 127.0.0.1:1.\n$`, `^$`},
		"check of a bad configuration":        {[]string{"check"}, []string{"LOG_LEVEL=loud"}, nil, 2, `(?m)^TOY_SECRET +- +missing\nLOG_LEVEL +loud +env \(invalid\)\nLOG_FORMAT .*\n$`, `LOG_LEVEL: must be`},
		"check for a README":                  {[]string{"check", "--markdown"}, nil, nil, 0, "(?m)^\\| `TOY_ADDR` \\| `127.0.0.1:1` \\| where it listens \\|$", `^$`},
		"healthcheck of nobody":               {[]string{"healthcheck"}, nil, nil, 1, `^$`, `^ask admin listener: .*refused\n$`},
		"version":                             {[]string{"version"}, nil, nil, 0, `^toy \S+ \(\S+, go1\.\S+\)\n$`, `^$`},
		"a command of its own":                {[]string{"greet"}, nil, nil, 0, `^hello\n$`, `^$`},
		"one with its configuration":          {[]string{"tell"}, append(good, "TOY_ADDR=127.0.0.1:7"), nil, 0, `^127.0.0.1:7\n$`, `^$`},
		"one with a bad configuration":        {[]string{"tell"}, nil, nil, 2, `^$`, `^bad configuration:\nTOY_SECRET: is required`},
		"an unknown command":                  {[]string{"walk"}, good, nil, 2, `^$`, `walk`},
		"an unknown flag":                     {[]string{"run", "--fast"}, good, nil, 2, `^$`, `--fast`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(_ context.Context, s settings, log *slog.Logger) error {
				log.Info(fmt.Sprintf("secret has %d letters", len(s.Secret.Get().Reveal())))
				return test.fails
			}
			var stdout, stderr bytes.Buffer
			code := toy(run).Main(&commands{}, test.args, test.environ, &stdout, &stderr, nil)
			if code != test.code || !regexp.MustCompile(test.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(test.stderr).Match(stderr.Bytes()) {
				t.Errorf("exit code %d\nstdout: %s\nstderr: %s", code, &stdout, &stderr)
			}
			if bytes.Contains(stdout.Bytes(), []byte("canary")) {
				t.Error("the secret is shown")
			}
		})
	}
}

// Not parallel: signals go to the whole process.
func TestASignalEndsTheServiceAndASecondOneExits(t *testing.T) {
	exits := make(chan int, 1)
	run := func(ctx context.Context, _ settings, _ *slog.Logger) error {
		for range 2 {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
			<-ctx.Done()
		}
		if code := <-exits; code != 1 {
			t.Errorf("exit code %d", code)
		}
		return context.Cause(ctx)
	}
	var stderr bytes.Buffer
	code := toy(run).Main(&commands{}, nil, []string{"TOY_SECRET=x"}, io.Discard, &stderr, func(code int) { exits <- code })
	if want := (&lifecycle.SignalError{Signal: syscall.SIGTERM}).Error() + "\n"; code != 1 || stderr.String() != want {
		t.Errorf("exit code %d, stderr %s", code, &stderr)
	}
}
