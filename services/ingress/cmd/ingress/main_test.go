package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/natstest"
)

// asCommand makes the test binary behave as the command, so that a process can be started without a build.
const asCommand = "TEST_AS_COMMAND=1"

func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_COMMAND") != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

func TestExitCodesAndOutput(t *testing.T) {
	t.Parallel()
	good := []string{"WEBHOOK_SECRET=canary"}
	for name, test := range map[string]struct {
		args    []string
		environ []string
		code    int
		stdout  string // regular expressions
		stderr  string
	}{
		"version":                       {[]string{"version"}, nil, 0, `^ingress \S+ \(\S+, go1\.\S+\)\n$`, `^$`},
		"check of a good configuration": {[]string{"check"}, good, 0, `(?m)^WEBHOOK_SECRET +\[redacted\] +env$`, `^$`},
		"check of a bad configuration":  {[]string{"check"}, []string{"INGRESS_MAX_BODY=0"}, 2, `(?m)^INGRESS_MAX_BODY +1MiB +default$`, `WEBHOOK_SECRET: is required`},
		"help":                          {[]string{"--help"}, nil, 0, `healthcheck`, `^$`},
		"an unknown command":            {[]string{"walk"}, good, 2, `^$`, `walk`},
		"healthcheck of nobody":         {[]string{"healthcheck"}, append(good, "INGRESS_ADMIN_ADDR=127.0.0.1:1"), 1, `^$`, `refused`},
		"an address that can't be ours": {nil, append(good, "INGRESS_ADDR=192.0.2.1:1"), 1, `^$`, `open public listener`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			command := command(t, test.args, test.environ)
			command.Stdout, command.Stderr = &stdout, &stderr
			code := exitCode(t, command.Run())
			if code != test.code || !regexp.MustCompile(test.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(test.stderr).Match(stderr.Bytes()) {
				t.Errorf("exit code %d\nstdout: %s\nstderr: %s", code, &stdout, &stderr)
			}
			if strings.Contains(stdout.String()+stderr.String(), "canary") {
				t.Error("the secret is shown")
			}
		})
	}
}

func TestBadConfigurationListsEveryErrorBeforeListening(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	command := command(t, nil, []string{
		"INGRESS_ADDR=8080", "INGRESS_MAX_BODY=0", "INGRESS_DRAIN_DELAY=soon", "INGRESS_ADMIN_ADR=x", "ALLOWED_REPOS=acme",
		"NATS_URL=http://x", "LOG_FORMAT=xml", "NATS_USER=u",
	})
	command.Stderr = &stderr
	if code := exitCode(t, command.Run()); code != 2 {
		t.Errorf("exit code %d", code)
	}
	want := `bad configuration:
WEBHOOK_SECRET: is required (or WEBHOOK_SECRET_FILE)
ALLOWED_REPOS: must be owner/repo or owner/* (got "acme")
INGRESS_MAX_BODY: must be between 1KiB and 25MiB (got "0")
INGRESS_DRAIN_DELAY: must be a duration such as 500ms, 30s or 2h (got "soon")
NATS_URL: must be a URL of scheme nats, tls, ws, wss (got "http://x")
LOG_FORMAT: must be auto, json or text (got "xml")
INGRESS_ADMIN_ADR: is not a known variable, did you mean INGRESS_ADMIN_ADDR?
INGRESS_ADDR: must be host:port or :port (got "8080")
NATS_USER: must be set together with NATS_PASSWORD (got "u")
`
	if diff := cmp.Diff(want, stderr.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheProcessServesUntilSIGTERMAndEndsCleanly(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	admin := freeAddr(t)
	environ := []string{
		"WEBHOOK_SECRET=canary", "INGRESS_ADDR=127.0.0.1:0", "INGRESS_ADMIN_ADDR=" + admin, "NATS_URL=" + server.URL(),
	}
	var log lines
	process := command(t, []string{"run"}, environ)
	process.Stdout, process.Stderr = &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(60 * time.Second)
	for command(t, []string{"healthcheck"}, environ).Run() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("not ready; log:\n%s", log.String())
		}
	}
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, process.Wait()); code != 0 || !strings.Contains(log.String(), "received terminated") {
		t.Errorf("exit code %d; log:\n%s", code, log.String())
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", admin); err == nil {
		t.Errorf("somebody still listens, %v", conn.Close())
	}
}

// Whatever is linked into the public process is read before it gets here.
func TestOnlyTheseModulesAreLinked(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	list.Env = append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{}
	for path := range strings.FieldsSeq(string(out)) {
		linked[path] = true
	}
	allowed := map[string]bool{}
	for path := range strings.FieldsSeq(allowedModules) {
		allowed[path] = true
	}
	if diff := cmp.Diff(allowed, linked); diff != "" {
		t.Error(diff)
	}
}

const allowedModules = `
github.com/alecthomas/kong
github.com/beorn7/perks
github.com/cenkalti/backoff/v5
github.com/cespare/xxhash/v2
github.com/go-logr/logr
github.com/go-logr/stdr
github.com/google/uuid
github.com/grpc-ecosystem/grpc-gateway/v2
github.com/klauspost/compress
github.com/munnerz/goautoneg
github.com/nats-io/nats.go
github.com/nats-io/nkeys
github.com/nats-io/nuid
github.com/prometheus/client_golang
github.com/prometheus/client_model
github.com/prometheus/common
github.com/prometheus/procfs
go.opentelemetry.io/auto/sdk
go.opentelemetry.io/otel
go.opentelemetry.io/otel/exporters/otlp/otlptrace
go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp
go.opentelemetry.io/otel/log
go.opentelemetry.io/otel/metric
go.opentelemetry.io/otel/sdk
go.opentelemetry.io/otel/trace
go.opentelemetry.io/proto/otlp
golang.org/x/crypto
golang.org/x/net
golang.org/x/sys
golang.org/x/text
google.golang.org/genproto/googleapis/api
google.golang.org/genproto/googleapis/rpc
google.golang.org/grpc
google.golang.org/protobuf
modal-github-runner/proto
modal-github-runner/services/ingress
modal-github-runner/services/internal
`

func command(t *testing.T, args, environ []string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = slices.Concat(environ, []string{asCommand})
	return c
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}()
	return listener.Addr().String()
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}
