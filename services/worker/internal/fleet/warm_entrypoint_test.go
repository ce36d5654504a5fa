package fleet_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startWarm is a sandbox that waits for a runner, for as long as said.
func startWarm(t *testing.T, seconds, runner string, env []string, commands map[string]string) *sandboxProcess {
	t.Helper()
	p := &sandboxProcess{tmp: t.TempDir()}
	p.startWarm(t, seconds, runner, env, commands)
	return p
}

func (p *sandboxProcess) startWarm(t *testing.T, seconds, runner string, env []string, commands map[string]string) {
	t.Helper()
	p.start(t, runner, append([]string{"RUNNER_IDLE_SECONDS=600", "RUNNER_TIMEOUT_SECONDS=600", "RUNNER_WARM_SECONDS=" + seconds}, env...), commands)
}

// script runs one of the entrypoint's scripts as Modal does, and returns what it says; empty if it is not there.
func (p *sandboxProcess) script(t *testing.T, env string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.tmp, "runner-state", name), args...)
	cmd.Env = append(slices.Clone(p.cmd.Env), env)
	said, _ := cmd.Output() // How it fails is shown by what it does not say.
	return strings.TrimSpace(string(said))
}

func (p *sandboxProcess) ask(t *testing.T, args ...string) string {
	t.Helper()
	return p.script(t, "", "ask.sh", args...)
}

// give gives the sandbox a runner of that registration, whose JIT configuration is canary and the registration.
func (p *sandboxProcess) give(t *testing.T, registration string) string {
	t.Helper()
	return p.script(t, "ACTIONS_RUNNER_INPUT_JITCONFIG="+canary+registration, "give.sh", "mgr-1-1", registration)
}

func (p *sandboxProcess) await(t *testing.T, want string) {
	t.Helper()
	eventually(t, "it says "+want, func() bool { return p.ask(t) == want })
}

// nothingLeft fails if a file in the sandbox's directory has a JIT configuration.
func (p *sandboxProcess) nothingLeft(t *testing.T) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "grep", "-rlF", canary, p.tmp).Output(); err == nil || len(out) > 0 {
		t.Errorf("the JIT configuration is in %s", out)
	}
	if strings.Contains(p.errs.String(), canary) {
		t.Errorf("it was printed: %s", p.errs)
	}
}

func TestAWarmSandboxHasAllReadyBeforeItIsGivenARunner(t *testing.T) {
	t.Parallel()
	image := dockerImage(`until [ -e "$TMPDIR/go" ]; do /bin/sleep 0.05; done; touch "$TMPDIR/up"; exec /bin/sleep 600`)
	p := startWarm(t, "600", `docker version; echo "$ACTIONS_RUNNER_INPUT_JITCONFIG"; `+untilInterrupted, []string{"RUNNER_DOCKER=vm"}, image)
	eventually(t, "dockerd is started", func() bool { _, err := os.Stat(filepath.Join(p.tmp, "calls")); return err == nil })
	if said := p.ask(t); said != "starting" {
		t.Errorf("before Docker answers it says %q", said)
	}
	if err := os.WriteFile(filepath.Join(p.tmp, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.await(t, "warm")
	if _, err := os.Stat(filepath.Join(p.tmp, "runner-state", "pid")); err == nil {
		t.Error("a runner is there that nobody has given")
	}
	if said := p.give(t, "7"); said != "given" {
		t.Fatalf("given, it says %q; %s", said, p.errs)
	}
	for _, want := range []string{"answered", canary + "7", "ready"} {
		if got := p.line(t); got != want {
			t.Errorf("the runner says %q, want %q", got, want)
		}
	}
	p.await(t, "idle")
	if said := p.ask(t, "release"); said != "released" {
		t.Errorf("released, it says %q", said)
	}
	if code, rest := p.end(t); code != 6 || rest != "interrupted\n" {
		t.Errorf("exit code %d, it said %q; %s", code, rest, p.errs)
	}
}

// Nobody but the runner comes to have it: not its job, and not what is started beside it.
func TestTheJITConfigurationThatASandboxWasGivenStaysNowhere(t *testing.T) {
	t.Parallel()
	image := map[string]string{"ln": `echo "$*" >>"$TMPDIR/links"; env >>"$TMPDIR/ln.env"; exec /bin/ln "$@"`}
	p := startWarm(t, "600", `tr '\0' ' ' <"/proc/$$/cmdline"; echo; echo "$ACTIONS_RUNNER_INPUT_JITCONFIG"; `+untilInterrupted, nil, image)
	p.await(t, "warm")
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil { // So that it does not take it at once.
		t.Fatal(err)
	}
	if said := p.give(t, "7"); said != "given" {
		t.Fatalf("given, it says %q", said)
	}
	if said := p.ask(t); said != "starting" {
		t.Errorf("on its way to a runner it says %q", said)
	}
	if said := p.give(t, "8"); said != "taken" {
		t.Errorf("to another registration it says %q", said)
	}
	files, err := filepath.Glob(filepath.Join(p.tmp, "runner-state", "jit.*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the files %v, %v; want one", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it can be read by others: %v, %v", info.Mode(), err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if line := p.line(t); strings.Contains(line, canary) {
		t.Errorf("it is an argument of the runner: %s", line)
	}
	if line := p.line(t); line != canary+"7" {
		t.Errorf("the runner has %q", line)
	}
	for registration, want := range map[string]string{"7": "given", "9": "taken"} {
		if said := p.give(t, registration); said != want {
			t.Errorf("registration %s: it says %q, want %q", registration, said, want)
		}
	}
	p.nothingLeft(t)
	if links, err := os.ReadFile(filepath.Join(p.tmp, "links")); err != nil || strings.Count(string(links), "\n") != 1 {
		t.Errorf("what came too late was written down, too: %s, %v", links, err)
	}
	if said := p.ask(t, "release"); said != "released" {
		t.Errorf("released, it says %q", said)
	}
	p.end(t)
	p.nothingLeft(t)
	environment, err := os.ReadFile(p.leaked)
	if err != nil || strings.Contains(string(environment), canary) || !strings.Contains(string(environment), "RUNNER_WARM_SECONDS=600") {
		t.Errorf("the watchdog has the variables %s, %v", environment, err)
	}
}

func TestOfManyRunnersThatAreGivenAtOnceASandboxHasOne(t *testing.T) {
	t.Parallel()
	for range 5 {
		p := startWarm(t, "600", `echo "$ACTIONS_RUNNER_INPUT_JITCONFIG"; `+untilInterrupted, nil, nil)
		p.await(t, "warm")
		answers := make([]string, 12)
		var all sync.WaitGroup
		for n := range answers {
			all.Go(func() { answers[n] = p.give(t, fmt.Sprint(100+n)) })
		}
		all.Wait()
		won := slices.Index(answers, "given")
		for n, said := range answers {
			if n != won && said != "taken" {
				t.Errorf("they heard %q, want that one was given and all others are told", answers)
			}
		}
		if line := p.line(t); won < 0 || line != canary+fmt.Sprint(100+won) {
			t.Errorf("they heard %q, and it runs %q", answers, line)
		}
		p.nothingLeft(t)
		p.ask(t, "release")
		p.end(t)
	}
}

func TestAWarmSandboxThatWaitsNoLongerEndsAndTakesNoRunner(t *testing.T) {
	for name, test := range map[string]struct {
		seconds string
		docker  bool
		end     func(*testing.T, *sandboxProcess)
		code    int
		said    string
	}{
		"when its time is over": {seconds: "1", end: func(*testing.T, *sandboxProcess) {}, said: "no runner was given to this sandbox within 1 s: it ends\n"},
		"when it is released": {seconds: "600", end: func(t *testing.T, p *sandboxProcess) {
			t.Helper()
			if said := p.ask(t, "release"); said != "released" {
				t.Errorf("it says %q", said)
			}
			if said := p.ask(t); said == "warm" {
				t.Errorf("once more it says %q", said)
			}
		}, said: "it ends\n"},
		"when it is asked to end": {seconds: "600", end: func(t *testing.T, p *sandboxProcess) {
			t.Helper()
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}, said: "it ends\n"},
		"when its Docker has ended": {seconds: "600", docker: true, end: func(t *testing.T, p *sandboxProcess) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(p.tmp, "stop"), nil, 0o600); err != nil {
				t.Error(err)
			}
		}, code: 69, said: "docker: dockerd has ended: out of disk\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var env []string
			image := map[string]string{}
			if test.docker {
				env, image = []string{"RUNNER_DOCKER=vm"}, dockerImage(`touch "$TMPDIR/up"; until [ -e "$TMPDIR/stop" ]; do /bin/sleep 0.05; done; echo out of disk`)
			}
			p := startWarm(t, test.seconds, "echo runs; exit 0", env, image)
			if test.seconds != "1" {
				p.await(t, "warm")
			}
			test.end(t, p)
			if code, out := p.end(t); code != test.code || out != "" {
				t.Errorf("exit code %d, want %d, it said %q; %s", code, test.code, out, p.errs)
			}
			if said := p.errs.String(); !strings.HasSuffix(said, test.said) || strings.Count(said, "\n") != 1 {
				t.Errorf("got %q, want one line with %q", said, test.said)
			}
			if said := p.give(t, "7"); said != "taken" {
				t.Errorf("given a runner after that, it says %q", said)
			}
			p.nothingLeft(t)
		})
	}
}

// Whoever asks hears the truth: a runner that was given is released as any other, and one that comes too late is told so.
func TestAWarmSandboxThatIsReleasedAndGivenAtOnceHasOneFate(t *testing.T) {
	t.Parallel()
	for range 5 {
		p := startWarm(t, "600", untilInterrupted, nil, nil)
		p.await(t, "warm")
		var released, given string
		var both sync.WaitGroup
		both.Go(func() { released = p.ask(t, "release") })
		both.Go(func() { given = p.give(t, "7") })
		both.Wait()
		code, out := p.end(t)
		ran := strings.Contains(p.errs.String(), "had no job")
		told := given == "given" && code != 0 && ran || given == "taken" && code == 0 && !ran
		if released != "released" || !told {
			t.Errorf("released, it says %q; given, %q; exit code %d, it said %q; %s", released, given, code, out, p.errs)
		}
	}
}

func TestTheTimesOfARunnerBeginWhenItIsGiven(t *testing.T) {
	for name, test := range map[string]struct {
		runner string
		code   int
		said   string
	}{
		"that in which it waits for a job": {untilInterrupted, 6, "no job came within 1 s: ending the runner\nthe runner ended with code 6 and had no job\n"},
		"that which it has with its job": {
			hasJob + `trap '' INT TERM; echo ready; while :; do read -r -t 0.05 <> <(:) || :; done`, 124,
			"the time of 2 s that the runner and its job have is over: the sandbox ends\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			p := startWarm(t, "600", test.runner, []string{"RUNNER_IDLE_SECONDS=1", "RUNNER_TIMEOUT_SECONDS=2"}, nil)
			eventually(t, "it has waited for longer than that", func() bool { return p.ask(t) == "warm" && time.Since(began) > 2500*time.Millisecond })
			if said := p.give(t, "7"); said != "given" {
				t.Fatalf("given, it says %q; %s", said, p.errs)
			}
			given := time.Now()
			if got := p.line(t); got != "ready" {
				t.Errorf("it said %q; %s", got, p.errs)
			}
			code, _ := p.end(t)
			if code != test.code || !strings.Contains(p.errs.String(), test.said) || time.Since(given) < 900*time.Millisecond {
				t.Errorf("exit code %d, want %d, after %v; %s", code, test.code, time.Since(given), p.errs)
			}
		})
	}
}

// Each of them has written down what it has before any of them hears who was first.
func TestOfRunnersThatAreGivenAtTheSameInstantOnlyOnesSecretIsKept(t *testing.T) {
	t.Parallel()
	image := map[string]string{"ln": `echo >>"$TMPDIR/links"; until [ "$(wc -l <"$TMPDIR/links")" -ge 3 ]; do /bin/sleep 0.02; done; exec /bin/ln "$@"`}
	p := startWarm(t, "600", "echo runs; "+untilInterrupted, nil, image)
	p.await(t, "warm")
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil { // So that it does not clear up after them.
		t.Fatal(err)
	}
	answers := make([]string, 3)
	var all sync.WaitGroup
	for n := range answers {
		all.Go(func() { answers[n] = p.give(t, fmt.Sprint(n)) })
	}
	all.Wait()
	files, err := filepath.Glob(filepath.Join(p.tmp, "runner-state", "jit.*"))
	slices.Sort(answers)
	if !slices.Equal(answers, []string{"given", "taken", "taken"}) || len(files) != 1 {
		t.Errorf("they heard %q, and there are %v, %v", answers, files, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := p.line(t); got != "runs" {
		t.Errorf("it said %q", got)
	}
	p.nothingLeft(t)
	p.ask(t, "release")
	p.end(t)
}

func TestWhoCanWriteNothingHasNoSandboxAndHearsNoAnswer(t *testing.T) {
	t.Parallel()
	p := startWarm(t, "600", "exit 0", nil, nil)
	p.await(t, "warm")
	for _, call := range []string{"give.sh mgr-1-1 7", "ask.sh release"} {
		script, args, _ := strings.Cut(call, " ")
		full := exec.CommandContext(t.Context(), "/bin/bash", "-c", `ulimit -f 0; trap '' XFSZ; exec "$0" `+args, filepath.Join(p.tmp, "runner-state", script))
		full.Env = append(slices.Clone(p.cmd.Env), "ACTIONS_RUNNER_INPUT_JITCONFIG="+canary)
		if said, _ := full.Output(); strings.TrimSpace(string(said)) != "" {
			t.Errorf("%s says %q", call, said)
		}
		p.nothingLeft(t)
		if said := p.ask(t); said != "warm" {
			t.Errorf("after %s it says %q", call, said)
		}
	}
	if said := p.give(t, "7"); said != "given" {
		t.Errorf("when there is room again it says %q", said)
	}
	if code, _ := p.end(t); code != 75 {
		t.Errorf("exit code %d, want 75", code)
	}
}
