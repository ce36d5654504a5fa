package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
)

func TestTheDemoSaysHowItWentAndLeavesNothing(t *testing.T) {
	tests := []struct {
		name      string
		args      []string
		interrupt string // sent SIGINT when a line contains this
		exit      int
		want      string // a line; of the workload the last one but that of the error
	}{
		{name: "all is well", args: []string{"--jobs=6", "--ingresses=2"}, want: "demo: 6 jobs, 6 succeeded, 0 failed, 0 lost, 0 leaked"},
		{
			name: "each job of its scenario ends as it has to", args: []string{"--jobs=1"},
			want: "demo: a fork's pull request (scenario): refused: " +
				"untrusted: its code is that of stranger/api (pull_request), and pool scenario refuses such jobs",
		},
		{name: "jobs that fail on purpose are no failure of ours", args: []string{"--jobs=3", "--fail=1", "--no-scenario"}, want: "demo: 3 jobs, 2 succeeded, 1 failed, 0 lost, 0 leaked"},
		{name: "it is interrupted at work", args: []string{"--jobs=25"}, interrupt: "done", exit: 1, want: "simulator: interrupt signal received"},
		{name: "it is interrupted while it starts", args: []string{"--jobs=25"}, interrupt: "starting", exit: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			long(t)
			bin, err := binaries()
			if err != nil {
				t.Fatal(err)
			}
			tmp := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(bin, "simulator"), append([]string{"demo"}, tt.args...)...)
			cmd.Env = []string{"TMPDIR=" + tmp}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = cmd.Stdout
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for scanner := bufio.NewScanner(out); scanner.Scan(); {
				lines = append(lines, scanner.Text())
				if tt.interrupt != "" && strings.Contains(scanner.Text(), tt.interrupt) {
					tt.interrupt = ""
					if err := cmd.Process.Signal(os.Interrupt); err != nil {
						t.Error(err)
					}
				}
			}
			_ = cmd.Wait() // the exit code says what there is to say
			if exit := cmd.ProcessState.ExitCode(); exit != tt.exit {
				t.Errorf("exit code %d, want %d", exit, tt.exit)
			}
			if tt.want != "" && !slices.Contains(lines, tt.want) {
				t.Errorf("no line %q in:\n%s", tt.want, strings.Join(lines, "\n"))
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
			for _, pid := range running(t, tmp) {
				t.Errorf("process %s still runs", pid)
			}
		})
	}
}

// running lists the processes that have the folder in their environment.
func running(t *testing.T, folder string) []string {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, path := range environments {
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, []byte("="+folder)) { // an error: it has ended, or is another user's
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

func TestTheDemoDiesWithoutLeavingProcesses(t *testing.T) {
	long(t)
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs Linux, whose kernel tells children of their parent's death")
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "simulator"), "demo", "--jobs=25")
	cmd.Env = []string{"TMPDIR=" + tmp}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "jobs run", func(context.Context) bool { return len(running(t, tmp)) > 8 })
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	eventually(t, "all processes end", func(context.Context) bool { return len(running(t, tmp)) == 0 })
}

// As in the compose stack, where nothing of the system is the command's own.
func TestJobsAreSentToASystemThatOthersRunAsOftenAsOneLikes(t *testing.T) {
	s := start(t, rig.Options{})
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "simulator"), "jobs", "--control="+s.Simulator.ControlURL(), "--jobs=4", "--fail=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.HasSuffix(out, []byte("\ndemo: 4 jobs, 3 succeeded, 1 failed, 0 lost, 0 leaked\n")) {
			t.Fatalf("%v:\n%s", err, out)
		}
	}
}
