package machine_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTold = errors.New("told to end")

func TestLocalRunsRealPrograms(t *testing.T) {
	for _, tt := range []struct {
		name           string
		program        machine.Program
		stdout, stderr string
		code           int
		err            string
	}{
		{
			name:    "output and exit code are passed on",
			program: machine.Program{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 7"}},
			stdout:  "out\n", stderr: "err\n", code: 7,
		},
		{
			name:    "the program's variables win over the image's",
			program: machine.Program{Args: []string{"sh", "-c", "echo $A $B"}, Env: map[string]string{"B": "given"}},
			stdout:  "image given\n",
		},
		{
			name:    "no variable of this process is seen",
			program: machine.Program{Args: []string{"sh", "-c", "echo ${LEAKED-none}"}}, stdout: "none\n",
		},
		{
			name: "home and temporary directory are the machine's even if the client says otherwise",
			program: machine.Program{
				Args: []string{"sh", "-c", `[ "$HOME" = "$PWD" ] && [ "$TMPDIR" = "$(pwd -P)" ] && echo same`},
				Env:  map[string]string{"HOME": "/root", "TMPDIR": "/tmp"},
			},
			stdout: "same\n",
		},
		{
			name:    "an absolute working directory is below the machine's and cannot leave it",
			program: machine.Program{Args: []string{"sh", "-c", `[ "$(pwd -P)" = "$HOME/work" ] && echo inside`}, Dir: "/../work"},
			stdout:  "inside\n",
		},
		{
			name:    "read-only directories are removed too",
			program: machine.Program{Args: []string{"sh", "-c", "mkdir -p a/b && touch a/b/c && chmod -R a-w a"}},
		},
		{
			name:    "a signal is 128 and its number",
			program: machine.Program{Args: []string{"sh", "-c", "kill -TERM $$"}}, code: 143,
		},
		{
			name: "an unknown program is an error", program: machine.Program{Args: []string{"no-such-program"}},
			err: `program "no-such-program": executable file not found in $PATH`,
		},
		{
			name:    "programs are looked up in the given path",
			program: machine.Program{Args: []string{"sh"}, Env: map[string]string{"PATH": "/nonexistent"}},
			err:     `program "sh": executable file not found in $PATH`,
		},
		{name: "no program is an error", err: "program: must not be empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("LEAKED", "yes")
			root := t.TempDir()
			m := open(t, machine.Local{Root: root, Env: map[string]string{"A": "image", "B": "image"}})
			var stdout, stderr bytes.Buffer
			tt.program.Stdout, tt.program.Stderr = &stdout, &stderr
			code, err := m.Main(t.Context(), tt.program)
			if got := errText(err); got != tt.err {
				t.Errorf("error %q, want %q", got, tt.err)
			}
			if code != tt.code || stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q",
					code, stdout.String(), stderr.String(), tt.code, tt.stdout, tt.stderr)
			}
			if err := m.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
				t.Errorf("left after close: %v, %v", left, err)
			}
		})
	}
}

func TestNothingOutlivesMain(t *testing.T) {
	const spawn = `(sleep 600 & echo child $!; setsid sleep 600 & echo session $!; nohup setsid sh -c 'sleep 600; :' >/dev/null & echo shell $!) ; `
	for _, tt := range []struct {
		name, script string
		end          bool
		want         error
	}{
		{name: "when the program ends by itself", script: spawn + "exit 0"},
		{name: "when it is told to end", script: spawn + "echo ready; trap '' TERM; sleep 600", end: true, want: errTold},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := open(t, machine.Local{Root: t.TempDir()})
			ctx, end := context.WithCancelCause(t.Context())
			defer end(nil)
			out := &watcher{want: "ready", seen: func() { end(errTold) }}
			if _, err := m.Main(ctx, machine.Program{Args: []string{"sh", "-c", tt.script}, Stdout: out, Stderr: out}); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			pids := out.pids()
			if len(pids) != 3 {
				t.Fatalf("the script reported processes %v, want 3", pids)
			}
			for _, pid := range pids {
				if runs(pid) {
					t.Errorf("process %d still runs", pid)
				}
			}
			if err := m.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestExecLeavesMainAlone(t *testing.T) {
	m := open(t, machine.Local{Root: t.TempDir()})
	ctx, end := context.WithCancelCause(t.Context())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := m.Main(ctx, machine.Program{
			Args:   []string{"sh", "-c", "echo up; sleep 600"},
			Stdout: &watcher{want: "up", seen: func() { close(started) }}, Stderr: &watcher{},
		})
		ended <- err
	}()
	<-started
	var out watcher
	// The session outlives its Exec, as a daemon that a user starts by hand does, and ends with the machine.
	code, err := m.Exec(t.Context(), machine.Program{
		Args:   []string{"sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo session $!; exit 3"},
		Stdout: &out, Stderr: &out,
	})
	if err != nil || code != 3 {
		t.Errorf("exec: exit code %d, error %v; want 3 and none", code, err)
	}
	select {
	case err := <-ended:
		t.Fatalf("main ended with the exec: %v", err)
	default:
	}
	end(errTold)
	if err := <-ended; !errors.Is(err, errTold) {
		t.Errorf("main: %v, want %v", err, errTold)
	}
	if err := m.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if pids := out.pids(); len(pids) != 1 || runs(pids[0]) {
		t.Errorf("session %v: want one, ended", pids)
	}
}

func TestOutputHeldByAnEscapedProcessIsNotWaitedForForEver(t *testing.T) {
	m := open(t, machine.Local{Root: t.TempDir()})
	var out watcher
	const script = "echo before; env -i setsid sleep 600 & echo escaped $!"
	code, err := m.Main(t.Context(), machine.Program{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &watcher{}})
	pids := out.pids()
	if len(pids) != 1 {
		t.Fatalf("the script reported processes %v, want 1", pids)
	}
	if runs(pids[0]) { // whether it escaped before it was killed is a race that both outcomes of are right
		if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
			t.Errorf("kill: %v", err)
		}
	}
	if err != nil || code != 0 || !strings.HasPrefix(out.text(), "before\n") {
		t.Errorf("exit code %d, error %v, output %q", code, err, out.text())
	}
	if err := m.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestFuncStandsForEveryProgram(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	m := open(t, machine.Func(func(ctx context.Context, p machine.Program) int {
		if p.Args[0] == "wait" {
			<-ctx.Done()
		}
		return 5
	}))
	if code, err := m.Main(ctx, machine.Program{Args: []string{"go"}}); code != 5 || err != nil {
		t.Errorf("exit code %d, error %v; want 5 and none", code, err)
	}
	end(errTold)
	if _, err := m.Exec(ctx, machine.Program{Args: []string{"wait"}}); !errors.Is(err, errTold) {
		t.Errorf("error %v, want %v", err, errTold)
	}
	if err := m.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func open(t *testing.T, e machine.Executor) machine.Machine {
	t.Helper()
	m, err := e.Open("sb-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return m
}

// runs reports whether the process exists and is no zombie, which only waits for its parent.
func runs(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(state, []byte("Z"))
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
