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

	"modal-github-runner/services/internal/natstest"
)

// asCommand makes the test binary behave as the command, so that a process can be started without a build.
const asCommand = "TEST_AS_COMMAND=1"

// patience bounds everything that a loaded machine may delay.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_COMMAND") != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

func good(more ...string) []string {
	return slices.Concat(more, []string{"GITHUB_TOKEN=canary", "MODAL_TOKEN_ID=canary", "MODAL_TOKEN_SECRET=canary"})
}

func TestExitCodesAndOutput(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args    []string
		environ []string
		code    int
		stdout  string // regular expressions
		stderr  string
	}{
		"version":                       {[]string{"version"}, nil, 0, `^worker \S+ \(\S+, go1\.\S+\)\n$`, `^$`},
		"check of a good configuration": {[]string{"check"}, good(), 0, `(?m)^GITHUB_TOKEN +\[redacted\] +env$`, `^$`},
		"check of a bad configuration":  {[]string{"check"}, good("WORKER_LAUNCHES=0"), 2, `(?m)^WORKER_LAUNCHES +32 +default$`, `WORKER_LAUNCHES: must be`},
		"the table of variables":        {[]string{"check", "--markdown"}, nil, 0, "(?m)^\\| `WORKER_LAUNCHES` \\| `32` \\|", `^$`},
		"help":                          {[]string{"--help"}, nil, 0, `healthcheck`, `^$`},
		"an unknown command":            {[]string{"walk"}, good(), 2, `^$`, `walk`},
		"an unknown flag":               {[]string{"run", "--fast"}, good(), 2, `^$`, `fast`},
		"healthcheck of nobody":         {[]string{"healthcheck"}, good("WORKER_ADMIN_ADDR=127.0.0.1:1"), 1, `^$`, `refused`},
		"explain of what is no job":     {[]string{"explain", "https://github.com/o/r/actions/runs/7"}, nil, 2, `^$`, `^<job>: must be a job's id or URL, .* \(got "https://github.com/o/r/actions/runs/7"\)\n$`},
		"explain, and nobody answers":   {[]string{"explain", "41"}, []string{"WORKER_ADMIN_ADDR=127.0.0.1:1"}, 1, `^$`, `^ask the worker at 127.0.0.1:1: .*refused\n$`},
		"a bad configuration":           {nil, nil, 2, `^$`, `(?m)^MODAL_TOKEN_ID: is required`},
		"an address that can't be ours": {[]string{"run"}, good("WORKER_ADMIN_ADDR=192.0.2.1:1"), 1, ``, `WORKER_ADMIN_ADDR: `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			c := command(t, test.args, test.environ)
			c.Stdout, c.Stderr = &stdout, &stderr
			code := exitCode(t, c.Run())
			if code != test.code || !regexp.MustCompile(test.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(test.stderr).Match(stderr.Bytes()) {
				t.Errorf("exit code %d\nstdout: %s\nstderr: %s", code, &stdout, &stderr)
			}
			if strings.Contains(stdout.String()+stderr.String(), "canary") {
				t.Error("the secret is shown")
			}
		})
	}
}

func TestTheProcessWorksUntilSIGTERMAndEndsCleanly(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	admin := freeAddr(t)
	environ := good("WORKER_ADMIN_ADDR="+admin, "NATS_URL="+server.URL(), "INSECURE_DEV=1",
		"GITHUB_API_URL=http://127.0.0.1:1", "MODAL_SERVER_URL=http://127.0.0.1:1")
	var log lines
	process := command(t, nil, environ)
	process.Stdout, process.Stderr = &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); command(t, []string{"healthcheck"}, environ).Run() != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("not ready; log:\n%s", log.String())
		}
	}
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, process.Wait()); code != 0 || !strings.Contains(log.String(), "received terminated") || strings.Contains(log.String(), "canary") {
		t.Errorf("exit code %d; log:\n%s", code, log.String())
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", admin); err == nil {
		t.Errorf("somebody still listens, %v", conn.Close())
	}
}

func command(t *testing.T, args, environ []string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = slices.Concat(environ, []string{asCommand, "GOCOVERDIR=" + t.TempDir()}) // Without a folder, a run for coverage complains.
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
