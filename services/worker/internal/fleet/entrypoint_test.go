package fleet_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/logtest"
)

// sandboxProcess is the entrypoint as Modal starts it, with a runner that is a script of the test.
type sandboxProcess struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	errs   *logtest.Buffer
	tmp    string
	home   string
	alive  *os.File // ends with the last of its processes
	leaked string   // what the entrypoint's own children had in their environment
}

// hasJob is what the real runner does before a job's first step.
const hasJob = `"$ACTIONS_RUNNER_HOOK_JOB_STARTED"; `

// untilInterrupted waits for SIGINT and exits with 6, as a runner that reports to GitHub first. A child that sleeps gets
// the signal too, since it goes to the process only.
const untilInterrupted = `trap 'echo interrupted; exit 6' INT; echo ready; while :; do read -r -t 0.05 <> <(:) || :; done`

func startSandbox(t *testing.T, idleSeconds, runner string) *sandboxProcess {
	t.Helper()
	return startSandboxWith(t, idleSeconds, runner, nil, nil)
}

// startSandboxWith has more variables, and commands of the image, by their names.
func startSandboxWith(t *testing.T, idleSeconds, runner string, env []string, commands map[string]string) *sandboxProcess {
	t.Helper()
	p := &sandboxProcess{tmp: t.TempDir()}
	p.start(t, runner, append([]string{"RUNNER_IDLE_SECONDS=" + idleSeconds, "ACTIONS_RUNNER_INPUT_JITCONFIG=" + canary}, env...), commands)
	return p
}

// start has the entrypoint begin, in the directory tmp.
func (p *sandboxProcess) start(t *testing.T, runner string, env []string, commands map[string]string) {
	t.Helper()
	script, err := os.ReadFile("entrypoint.sh")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.ReadFile("cache.sh")
	if err != nil {
		t.Fatal(err)
	}
	p.home, p.errs = t.TempDir(), &logtest.Buffer{}
	bin := t.TempDir()
	p.leaked = filepath.Join(bin, "environment")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(p.home, "run.sh"), "#!/bin/bash\n"+runner+"\n")
	for name, script := range commands {
		write(filepath.Join(bin, name), "#!/bin/bash\n"+script+"\n")
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(bin, "sleep"), "#!/bin/bash\nenv >'"+p.leaked+"'\nexec "+sleep+` "$@"`+"\n")
	p.cmd = exec.CommandContext(t.Context(), "/bin/bash", "-c", string(script), "entrypoint", string(cache))
	p.cmd.Env = append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "TMPDIR=" + p.tmp, "ACTIONS_RUNNER_HOME=" + p.home}, env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = p.errs
	alive, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.alive, p.cmd.ExtraFiles = alive, []*os.File{held}
	t.Cleanup(func() { _ = alive.Close() })
	p.cmd.WaitDelay = patience
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(stdout)
	if err := errors.Join(p.cmd.Start(), held.Close()); err != nil {
		t.Fatal(err)
	}
}

// line waits for the next line of the runner.
func (p *sandboxProcess) line(t *testing.T) string {
	t.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("no line came: %v; %s", err, p.errs)
	}
	return strings.TrimSpace(text)
}

// end waits for the entrypoint and everything that it started, and returns its exit code and the rest of its output.
func (p *sandboxProcess) end(t *testing.T) (code int, rest string) {
	t.Helper()
	all, err := io.ReadAll(p.out) // Ends when nobody holds the pipe any more, so that no child may be left.
	if err != nil {
		t.Fatal(err)
	}
	err = p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), string(all)
	}
	if err != nil {
		t.Fatalf("wait: %v; %s", err, p.errs)
	}
	return 0, string(all)
}

func TestTheSandboxEndsAsItsRunnerDid(t *testing.T) {
	tests := []struct {
		name   string
		runner string
		code   int
	}{
		{"a runner that had a job and ended well", hasJob + "exit 0", 0},
		{"a runner that had a job and ended badly", hasJob + "exit 7", 7},
		{"a runner that had no job and ended well is a runner lost", "exit 0", 75},
		{"a runner that had no job and ended badly", "exit 3", 3},
		{"a runner that was killed", hasJob + "kill -KILL $$", 128 + int(syscall.SIGKILL)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startSandbox(t, "600", tt.runner)
			if code, _ := p.end(t); code != tt.code {
				t.Errorf("exit code %d, want %d; %s", code, tt.code, p.errs)
			}
			if said := strings.Contains(p.errs.String(), "had no job"); said == strings.HasPrefix(tt.runner, hasJob) {
				t.Errorf("whether it had a job is not told: %s", p.errs)
			}
		})
	}
}

func TestARunnerWithoutAJobIsAskedToEndAfterTheIdleLimit(t *testing.T) {
	t.Parallel()
	p := startSandbox(t, "1", untilInterrupted)
	code, out := p.end(t)
	if code != 6 || out != "ready\ninterrupted\n" || !strings.Contains(p.errs.String(), "no job came within 1 s") {
		t.Errorf("exit code %d, it said %q; %s", code, out, p.errs)
	}
}

func TestAnIdleRunnerThatEndsWellIsARunnerLost(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F63")
	p := startSandbox(t, "1", strings.Replace(untilInterrupted, "exit 6", "exit 0", 1))
	if code, _ := p.end(t); code != 75 {
		t.Errorf("exit code %d, want 75; %s", code, p.errs)
	}
}

func TestARunnerWithAJobIsLeftAloneAfterTheIdleLimit(t *testing.T) {
	t.Parallel()
	p := startSandbox(t, "1", `trap 'echo interrupted; exit 6' INT; `+hasJob+"echo ready; /bin/sleep 2; exit 4")
	if code, out := p.end(t); code != 4 || out != "ready\n" {
		t.Errorf("exit code %d, it said %q; %s", code, out, p.errs)
	}
}

func TestASandboxThatIsAskedToEndAsksItsRunnerAndWaitsForIt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			p := startSandbox(t, "600", hasJob+strings.Replace(untilInterrupted, "exit 6", "/bin/sleep 0.3; echo reported; exit 6", 1))
			if got := p.line(t); got != "ready" {
				t.Fatalf("it said %q", got)
			}
			if err := p.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if code, rest := p.end(t); code != 6 || rest != "interrupted\nreported\n" {
				t.Errorf("exit code %d, it said %q; %s", code, rest, p.errs)
			}
		})
	}
}

// A job's begin and the wish to end an idle runner may come at once: whoever was second must hear who was first, or a job
// is begun that is then interrupted.
func TestOfManyWhoClaimTheRunnerAtOnceAllHearTheSameAnswer(t *testing.T) {
	t.Parallel()
	p := startSandbox(t, "600", hasJob+`cd "$(dirname "$ACTIONS_RUNNER_HOOK_JOB_STARTED")"
for n in {1..60}; do
	rm -rf claim
	for who in busy released busy released; do ./claim.sh $who & done | sort -u | tr '\n' ' '
	wait
	echo
done`)
	_, out := p.end(t)
	answers := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(answers) != 60 {
		t.Fatalf("%d answers: %q; %s", len(answers), out, p.errs)
	}
	for n, said := range answers {
		if who := strings.TrimSpace(said); who != "busy" && who != "released" {
			t.Errorf("round %d: they heard %q", n, who)
		}
	}
}

func TestTheRunnerAloneHasTheJITConfiguration(t *testing.T) {
	t.Parallel()
	p := startSandbox(t, "1", `echo "$ACTIONS_RUNNER_INPUT_JITCONFIG"; tr '\0' ' ' <"/proc/$$/cmdline"; echo; `+untilInterrupted)
	if got := p.line(t); got != canary {
		t.Errorf("the runner has %q", got)
	}
	if got := p.line(t); strings.Contains(got, canary) {
		t.Errorf("it is an argument of the runner: %q", got)
	}
	p.end(t)
	environment, err := os.ReadFile(p.leaked)
	if err != nil {
		t.Fatalf("the watchdog did not run: %v", err)
	}
	if strings.Contains(string(environment), canary) || !strings.Contains(string(environment), "RUNNER_IDLE_SECONDS=1") {
		t.Errorf("a later child has it too: %s", environment)
	}
	if strings.Contains(p.errs.String(), canary) {
		t.Errorf("it was printed: %s", p.errs)
	}
}

func TestTheRunnerRunsFromAFolderOfItsOwn(t *testing.T) {
	t.Parallel()
	p := startSandbox(t, "600", hasJob+`pwd; echo "$RUNNER_ALLOW_RUNASROOT $RUNNER_MANUALLY_TRAP_SIG"; touch left-behind; exit 0`)
	if dir := p.line(t); filepath.Dir(dir) != p.tmp {
		t.Errorf("it runs in %s, want a folder in %s", dir, p.tmp)
	}
	if got := p.line(t); got != "1 1" {
		t.Errorf("root is allowed and signals are passed on: %q, want 1 1", got)
	}
	if code, _ := p.end(t); code != 0 {
		t.Errorf("exit code %d; %s", code, p.errs)
	}
	entries, err := os.ReadDir(p.home)
	if err != nil || len(entries) != 1 {
		t.Errorf("the image's own folder has changed: %v, %v", entries, err)
	}
}
