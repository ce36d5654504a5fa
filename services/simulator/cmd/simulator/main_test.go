package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"modal-github-runner/services/internal/cli/clitest"
	"modal-github-runner/services/internal/logtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(clitest.AsCommand) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// command is the program with these arguments, nothing but environ in its environment, and its temporary files in tmp.
func command(t *testing.T, tmp string, args, environ []string) *exec.Cmd {
	t.Helper()
	return clitest.Command(t, args, slices.Concat(environ, []string{"TMPDIR=" + tmp}))
}

// exitCode is negative if a signal ended the process.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	failed, isExit := errors.AsType[*exec.ExitError](err)
	switch {
	case isExit:
		return failed.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return 0
}

func file(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodesAndOutput(t *testing.T) {
	t.Parallel()
	good := []string{"GITHUB_TOKEN=canary", "MODAL_TOKEN_ID=canary", "MODAL_TOKEN_SECRET=canary"}
	folder := t.TempDir()
	notPEM := file(t, folder, "app.pem", "canary", 0o600)
	badRule := file(t, folder, "faults.json", `[{"op": "github.*", "times": -1}]`, 0o600)
	notJSON := file(t, folder, "faults.yaml", `op: github.*`, 0o600)
	for name, test := range map[string]struct {
		args    []string
		environ []string
		code    int
		stdout  string // regular expressions
		stderr  string
	}{
		"version":                       {[]string{"version"}, nil, 0, `^simulator \S+\n$`, `^$`},
		"--version":                     {[]string{"--version"}, nil, 0, `^simulator \S+\n$`, `^$`},
		"help":                          {[]string{"--help"}, nil, 0, `Serve a whole workload`, `^$`},
		"an unknown command":            {[]string{"walk"}, nil, 2, `^$`, `^simulator: unexpected argument walk\n$`},
		"an unknown flag":               {[]string{"demo", "--fast"}, nil, 2, `^$`, `^simulator: unknown flag --fast`},
		"a demo of nothing":             {[]string{"demo", "--jobs=0"}, nil, 2, `^$`, `--jobs: must be between 1 and 10000 \(got 0\)`},
		"help for run":                  {[]string{"run", "--help"}, nil, 0, `GITHUB_TOKEN, MODAL_TOKEN_SECRET,?\s+WEBHOOK_SECRET`, `^$`},
		"nobody can log in to Modal":    {nil, good[:1], 2, `^$`, `: MODAL_TOKEN_ID, MODAL_TOKEN_SECRET: must both be set\n$`},
		"Modal's token has no secret":   {nil, good[:2], 2, `^$`, `: MODAL_TOKEN_ID, MODAL_TOKEN_SECRET: must both be set\n$`},
		"nobody can log in to GitHub":   {nil, good[1:], 2, `^$`, `GITHUB_APP_PRIVATE_KEY_FILE, GITHUB_TOKEN: one of the two must be set \(got neither\)\n$`},
		"an App without its id":         {nil, append(good[1:], "GITHUB_APP_PRIVATE_KEY_FILE="+notPEM), 2, `^$`, `GITHUB_APP_ID: must be positive with a private key \(got 0\)\n$`},
		"a key that is none":            {nil, append(good[1:], "GITHUB_APP_ID=1", "GITHUB_APP_PRIVATE_KEY_FILE="+notPEM), 2, `^$`, `^simulator: bad configuration: app key: must be a PEM file \(got .*app.pem\)\n$`},
		"a fault that can't be":         {[]string{"run", "--faults=" + badRule}, good, 2, `^$`, `^simulator: bad configuration: faults: rule 0: times: must not be negative \(got -1\)\n$`},
		"faults that are not JSON":      {[]string{"run", "--faults=" + notJSON}, good, 2, `^$`, `^simulator: bad configuration: faults: invalid character`},
		"an address that can't be ours": {[]string{"run", "--github-addr=192.0.2.1:1"}, good, 1, `^$`, `^simulator: listen for GitHub: `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			command := command(t, t.TempDir(), test.args, test.environ)
			command.Stdout, command.Stderr = &stdout, &stderr
			code := exitCode(t, command.Run())
			if code != test.code || !regexp.MustCompile(test.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(test.stderr).Match(stderr.Bytes()) {
				t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", code, test.code, &stdout, &stderr)
			}
			if strings.Contains(stdout.String()+stderr.String(), "canary") {
				t.Error("a secret is shown")
			}
		})
	}
}

// startDemo starts a demo whose nats-server is the script, which never says that it is ready, and waits until the script has
// written which process it is. The output is that of the demo, which has begun to wait.
func startDemo(t *testing.T, tmp, script string) (demo *exec.Cmd, output *logtest.Buffer, server int) {
	t.Helper()
	bin := t.TempDir()
	file(t, bin, "nats-server", "#!/bin/sh\n"+script, 0o700)
	output = &logtest.Buffer{}
	demo = command(t, tmp, []string{"demo", "--bin=" + bin}, []string{"PATH=" + os.Getenv("PATH")})
	demo.Stdout, demo.Stderr = output, output
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	poll(t, "the demo starts its first program", func() bool {
		found, err := filepath.Glob(filepath.Join(tmp, "*", "nats-server.log"))
		if err != nil || len(found) != 1 {
			return false
		}
		content, err := os.ReadFile(found[0])
		if err != nil || !strings.HasSuffix(string(content), "\n") {
			return false
		}
		server, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil
	})
	return demo, output, server
}

// As when a terminal is closed, which the kernel and the shell may both tell.
func TestADemoThatIsToldToStopSaysSoAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"Ctrl-C": syscall.SIGINT, "a closed terminal": syscall.SIGHUP, "a supervisor": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if sig == syscall.SIGHUP && signal.Ignored(sig) {
				t.Skip("these tests run under nohup, which the demo respects")
			}
			tmp := t.TempDir()
			demo, output, server := startDemo(t, tmp, "echo $$\nexec sleep 600\n")
			dir := onlyEntry(t, tmp)
			if err := demo.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := exitCode(t, demo.Wait()); code != 1 {
				t.Errorf("exit code %d: %s", code, output)
			}
			if want := "demo: stopping everything; Ctrl-C once more ends it at once and leaves " + dir + " behind, with keys in it\n"; !strings.Contains(output.String(), want) {
				t.Errorf("no %q in:\n%s", want, output)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
			if err := syscall.Kill(server, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d still runs (%v)", server, err)
			}
		})
	}
}

func TestADemoIsLeftAtOnceByASecondCtrlCOnly(t *testing.T) {
	t.Parallel()
	if signal.Ignored(os.Interrupt) || signal.Ignored(syscall.SIGHUP) {
		t.Skip("these tests run in the background of a shell that has no jobs, or under nohup, where signals are ignored")
	}
	tmp := t.TempDir()
	// It does not end when it is told to, so the demo waits for it.
	demo, output, server := startDemo(t, tmp, "trap '' TERM\necho $$\nwhile :; do sleep 0.1; done\n")
	defer func() {
		if err := syscall.Kill(-server, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}()
	dir := onlyEntry(t, tmp)
	for range 3 {
		if err := demo.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		poll(t, "the demo says that it stops", func() bool { return strings.Contains(output.String(), "leaves "+dir+" behind") })
	}
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	var err error
	poll(t, "the demo is left", func() bool {
		if err := demo.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	if code := exitCode(t, err); code >= 0 {
		t.Errorf("exit code %d: %s", code, output)
	}
	if got := onlyEntry(t, tmp); got != dir {
		t.Errorf("left %s, not %s", got, dir)
	}
	if n := strings.Count(output.String(), "stopping"); n != 1 {
		t.Errorf("it said %d times that it stops: %s", n, output)
	}
}

// onlyEntry is the path of the one thing in dir.
func onlyEntry(t *testing.T, dir string) string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != 1 {
		t.Fatalf("in %s: %v, %v", dir, found, err)
	}
	return filepath.Join(dir, found[0].Name())
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// As in `make demo | head -3`.
func TestADemoThatNobodyReadsLeavesNothing(t *testing.T) {
	t.Parallel()
	bin, tmp := t.TempDir(), t.TempDir()
	// It never says that it is ready, so the demo is still starting when its first line can't be printed.
	file(t, bin, "nats-server", "#!/bin/sh\necho $$ >"+bin+"/pid\nexec sleep 600\n", 0o700)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	command := command(t, tmp, []string{"demo", "--bin=" + bin}, []string{"PATH=" + os.Getenv("PATH")})
	command.Stdout, command.Stderr = writer, &stderr
	ended := command.Run()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, ended); code != 1 || !strings.Contains(stderr.String(), "broken pipe") {
		t.Errorf("exit code %d, want 1 and a word about the broken pipe: %s", code, &stderr)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	content, err := os.ReadFile(filepath.Join(bin, "pid"))
	if errors.Is(err, os.ErrNotExist) {
		return // it was ended before it could say which process it is
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d still runs (%v)", pid, err)
	}
}
