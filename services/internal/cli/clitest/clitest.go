// Package clitest runs a service's command as a process of its own, without a build: the test's binary is the command, once
// its TestMain calls main where the variable [AsCommand] is set. Only tests may import it.
package clitest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"modal-github-runner/services/internal/logtest"
)

// AsCommand is the variable that makes a test's binary behave as the command.
const AsCommand = "TEST_AS_COMMAND"

const (
	// secret is part of every secret that tests hand to a command: it may not come out again.
	secret = "canary"
	// patience bounds everything that a loaded machine may delay.
	patience = time.Minute
)

// Case is one call of a command. Stdout and Stderr are regular expressions.
type Case struct {
	Args    []string
	Environ []string
	Code    int
	Stdout  string
	Stderr  string
}

// Run checks the exit code, what is written, and that no "canary" is.
func (c Case) Run(t *testing.T) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	process := Command(t, c.Args, c.Environ)
	process.Stdout, process.Stderr = &stdout, &stderr
	code := exitCode(t, process.Run())
	if code != c.Code || !regexp.MustCompile(c.Stdout).Match(stdout.Bytes()) || !regexp.MustCompile(c.Stderr).Match(stderr.Bytes()) {
		t.Errorf("exit code %d\nstdout: %s\nstderr: %s", code, &stdout, &stderr)
	}
	if strings.Contains(stdout.String()+stderr.String(), secret) {
		t.Errorf("a secret is shown\nstdout: %s\nstderr: %s", &stdout, &stderr)
	}
}

// Command returns the command with nothing else in its environment. It ends with the test at the latest.
func Command(tb testing.TB, args, environ []string) *exec.Cmd {
	tb.Helper()
	c := exec.CommandContext(tb.Context(), os.Args[0], args...)                              //nolint:gosec // the test says what it runs
	c.Env = slices.Concat(environ, []string{AsCommand + "=1", "GOCOVERDIR=" + tb.TempDir()}) // Without a folder, a run for coverage complains.
	return c
}

// ServesUntilSIGTERM checks that the service with this environment gets ready on the address admin, ends cleanly on
// SIGTERM, and logs no "canary".
func ServesUntilSIGTERM(t *testing.T, environ []string, admin string) {
	t.Helper()
	var log logtest.Buffer
	process := Command(t, []string{"run"}, environ)
	process.Stdout, process.Stderr = &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); Command(t, []string{"healthcheck"}, environ).Run() != nil; {
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
	if strings.Contains(log.String(), secret) {
		t.Errorf("a secret is logged:\n%s", log.String())
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", admin); err == nil {
		t.Errorf("somebody still listens, %v", conn.Close())
	}
}

// FreeAddr is an address of the loopback interface that nobody listened on a moment ago.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	return listener.Addr().String()
}

func exitCode(tb testing.TB, err error) int {
	tb.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		tb.Fatal(err)
	}
	return exit.ExitCode()
}
