package process_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/demo/process"
)

const patience = 30 * time.Second // generous: the machine may be busy

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, dir, script string) *process.Process {
	t.Helper()
	p, err := process.Start(process.Spec{Name: "program", Path: "/bin/sh", Args: []string{"-c", script}, Dir: dir, Env: []string{"PATH=" + os.Getenv("PATH")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func await(t *testing.T, p *process.Process, text string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return p.AwaitLine(ctx, text)
}

func TestStop(t *testing.T) {
	tests := []struct {
		name, script string
		frozen       bool
		patience     time.Duration
		want         string // in the error; empty for none
	}{
		{"a program that ends when it is asked to is well", `trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done`, false, patience, ""},
		{"a frozen program ends in the same way", `trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done`, true, patience, ""},
		{"a code other than 0 is an error", `trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done`, false, patience, "program: exit status 3"},
		{"a program that does not end is killed", `trap '' TERM; echo up; while :; do sleep 0.01; done`, false, 50 * time.Millisecond, "was killed"},
		{"so is a frozen one", `trap '' TERM; echo up; while :; do sleep 0.01; done`, true, 50 * time.Millisecond, "was killed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, t.TempDir(), tt.script)
			if _, err := await(t, p, "up"); err != nil {
				t.Fatal(err)
			}
			if tt.frozen {
				if err := p.Freeze(); err != nil {
					t.Fatal(err)
				}
			}
			err := p.Stop(tt.patience)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if err := syscall.Kill(p.PID(), 0); err == nil {
				t.Error("the process still exists")
			}
			if err := p.Stop(tt.patience); err != nil {
				t.Errorf("a second stop: %v", err)
			}
			if err := p.Check(); err != nil {
				t.Errorf("check after a stop: %v", err)
			}
		})
	}
}

func TestAFrozenProgramGoesOnWhereItWas(t *testing.T) {
	p := start(t, t.TempDir(), `trap 'echo heard' USR1; echo up; while :; do sleep 0.01; done`)
	if _, err := await(t, p, "up"); err != nil {
		t.Fatal(err)
	}
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if line, err := p.AwaitLine(short, "heard"); err == nil {
		t.Errorf("frozen, it printed %q", line)
	}
	if err := p.Continue(); err != nil {
		t.Fatal(err)
	}
	if _, err := await(t, p, "heard"); err != nil {
		t.Error(err)
	}
	if p.Ended() {
		t.Error("it ended")
	}
}

func TestAnUnexpectedEndIsToldWithTheLastLines(t *testing.T) {
	p := start(t, t.TempDir(), "echo last words; exit 4")
	<-p.Done()
	err := p.Check()
	if err == nil || !strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("got %v, want exit status 4 and the last words", err)
	}
}

func TestAwaitLine(t *testing.T) {
	t.Run("it finds what was printed right before the end", func(t *testing.T) {
		if line, err := await(t, start(t, t.TempDir(), "echo ready at 42"), "ready"); err != nil || line != "ready at 42" {
			t.Errorf("got %q and %v", line, err)
		}
	})
	t.Run("it fails when the program ends without it", func(t *testing.T) {
		if _, err := await(t, start(t, t.TempDir(), "echo no"), "ready"); err == nil || !strings.Contains(err.Error(), "ended (exit status 0) before") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it does not take the line of an earlier start for this one's", func(t *testing.T) {
		dir := t.TempDir()
		if _, err := await(t, start(t, dir, "echo ready 1"), "ready"); err != nil {
			t.Fatal(err)
		}
		if line, err := await(t, start(t, dir, "echo ready 2"), "ready"); err != nil || line != "ready 2" {
			t.Errorf("got %q and %v", line, err)
		}
		if content, err := os.ReadFile(filepath.Join(dir, "program.log")); err != nil || string(content) != "ready 1\nready 2\n" {
			t.Errorf("the log has %q, %v; want both starts", content, err)
		}
	})
}

func TestNothingIsInherited(t *testing.T) {
	t.Setenv("LEAKED", "yes")
	if line, err := await(t, start(t, t.TempDir(), "echo leaked: ${LEAKED-none}"), "leaked"); err != nil || line != "leaked: none" {
		t.Errorf("got %q and %v", line, err)
	}
}
