package actionsrunner_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-github/v66/github"
	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/world"
)

// TestMain lets this binary be the runner of a distribution, as bin/simulator is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "runner" {
		os.Exit(actionsrunner.Main(context.Background(), os.Args[2:], os.Environ(), os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

const (
	pat  = "ghp_personal"
	soon = 30 * time.Second // generous: the machine may be busy
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a simulated GitHub with the repository acme/app.
type rig struct {
	*fakegithub.GitHub
	t   *testing.T
	url string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	gh, err := fakegithub.New(fakegithub.Options{Tokens: []string{pat}})
	must(t, err)
	srv := httptest.NewServer(gh)
	t.Cleanup(func() {
		gh.Close()
		srv.Close()
	})
	_, err = gh.World.AddOwner("acme", true)
	must(t, err)
	_, err = gh.World.AddRepo("acme", "app", true)
	must(t, err)
	return &rig{GitHub: gh, t: t, url: srv.URL}
}

func (r *rig) jit(name string) string {
	r.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c, err := github.NewClient(&http.Client{Transport: transport}).WithAuthToken(pat).WithEnterpriseURLs(r.url, r.url)
	must(r.t, err)
	out, _, err := c.Actions.GenerateRepoJITConfig(r.t.Context(), "acme", "app", &github.GenerateJITConfigRequest{
		Name: name, RunnerGroupID: 1, Labels: []string{"modal"},
	})
	must(r.t, err)
	return out.GetEncodedJITConfig()
}

func (r *rig) dispatch(steps ...string) world.Job {
	r.t.Helper()
	spec := world.JobSpec{Name: "build", Labels: []string{"modal"}}
	for _, s := range steps {
		spec.Steps = append(spec.Steps, world.StepSpec{Run: s})
	}
	_, jobs, err := r.World.Dispatch(world.Workflow{Repo: "acme/app", Jobs: []world.JobSpec{spec}})
	must(r.t, err)
	return jobs[0]
}

func (r *rig) job(id int64) world.Job {
	r.t.Helper()
	j, ok := r.World.Job(id)
	if !ok {
		r.t.Fatalf("job %d is unknown", id)
	}
	return j
}

// started is a runner inside this process.
type started struct {
	t       *testing.T
	root    string
	signals chan os.Signal
	exit    chan int
	out     *output
}

// output is a buffer that may be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func start(t *testing.T, jit string, env ...string) *started {
	t.Helper()
	s := &started{t: t, root: t.TempDir(), signals: make(chan os.Signal, 1), exit: make(chan int, 1), out: &output{}}
	env = append(env, "ACTIONS_RUNNER_INPUT_JITCONFIG="+jit, "ACTIONS_RUNNER_ROOT="+s.root, "PATH="+os.Getenv("PATH"))
	p := actionsrunner.Program{Env: env, Stdout: s.out, Stderr: s.out, Signals: s.signals}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	go func() {
		defer cancel()
		s.exit <- p.Run(ctx)
	}()
	return s
}

func (s *started) wait() int {
	s.t.Helper()
	select {
	case code := <-s.exit:
		return code
	case <-time.After(2 * soon):
		s.t.Fatalf("the runner did not end; it printed:\n%s", s.out)
		return 0
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for tick := time.NewTicker(5 * time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within %v: %s", soon, what)
		}
	}
}

func TestStepsSeeTheJobAndNotTheSecret(t *testing.T) {
	r := newRig(t)
	job := r.dispatch(`env; pwd; cat "$GITHUB_EVENT_PATH"`)
	jit := r.jit("r1")
	s := start(t, jit, "MY_OWN=kept")
	if code := s.wait(); code != actionsrunner.ExitSuccess {
		t.Fatalf("exit code %d\n%s", code, s.out)
	}
	got := r.job(job.ID).Steps[1].Output
	for _, want := range []string{
		"GITHUB_REPOSITORY=acme/app\n", "GITHUB_ACTIONS=true\n", "RUNNER_NAME=r1\n", "MY_OWN=kept\n", "_work/app/app\n", `"full_name":"acme/app"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the step's output lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "JITCONFIG") || strings.Contains(s.out.String(), jit) {
		t.Error("the JIT configuration reached the step's environment or the terminal")
	}
	for _, name := range []string{".runner", ".credentials", ".credentials_rsaparams"} {
		if _, err := os.Stat(filepath.Join(s.root, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there after the job: %v", name, err)
		}
	}
}

func TestJobResults(t *testing.T) {
	tests := []struct {
		name       string
		steps      []string
		conclusion world.Conclusion
		exit       int
		each       []world.Conclusion // set up, the steps, complete
	}{
		{"all steps succeed", []string{"true", "true"}, world.Success, 0, []world.Conclusion{world.Success, world.Success, world.Success, world.Success}},
		{"the first failing command ends a step", []string{"false; exit 0", "true"}, world.Failure, 1, []world.Conclusion{world.Success, world.Failure, world.Skipped, world.Success}},
		{"the exit code is kept", []string{"exit 42"}, world.Failure, 42, []world.Conclusion{world.Success, world.Failure, world.Success}},
		{"a step that is killed fails", []string{"kill -9 $$"}, world.Failure, 137, []world.Conclusion{world.Success, world.Failure, world.Success}},
		{"a process left behind does not hold the job", []string{"sleep 600 &"}, world.Success, 0, []world.Conclusion{world.Success, world.Success, world.Success}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			job := r.dispatch(tt.steps...)
			s := start(t, r.jit("r1"))
			if code := s.wait(); code != actionsrunner.ExitSuccess {
				t.Fatalf("exit code %d, want 0 whatever the job's result\n%s", code, s.out)
			}
			got := r.job(job.ID)
			var each []world.Conclusion
			for _, step := range got.Steps {
				each = append(each, step.Conclusion)
			}
			if got.Conclusion != tt.conclusion || got.ExitCode != tt.exit {
				t.Errorf("job ended %s with %d, want %s with %d", got.Conclusion, got.ExitCode, tt.conclusion, tt.exit)
			}
			if diff := cmp.Diff(tt.each, each); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStartedHook(t *testing.T) {
	tests := []struct {
		name, script, path string
		want               world.Conclusion
	}{
		{"it runs before the steps", `test "$GITHUB_REPOSITORY" = acme/app && touch hooked`, "", world.Success},
		{"its failure fails the job", "exit 1", "", world.Failure},
		{"a relative path fails the job", "", "hook.sh", world.Failure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			job := r.dispatch("test -f hooked")
			path := tt.path
			if path == "" {
				path = filepath.Join(t.TempDir(), "hook.sh")
				must(t, os.WriteFile(path, []byte(tt.script), 0o600))
			}
			start(t, r.jit("r1"), "ACTIONS_RUNNER_HOOK_JOB_STARTED="+path).wait()
			if got := r.job(job.ID); got.Conclusion != tt.want {
				t.Errorf("job ended %s, want %s: %+v", got.Conclusion, tt.want, got.Steps)
			}
		})
	}
}

func TestCompletedHook(t *testing.T) {
	tests := []struct {
		name, script, step string
		want               world.Conclusion
	}{
		{"it runs after the steps", "test -f stepped && touch $TMPDIR/hooked", "touch stepped", world.Success},
		{"it runs after steps that failed", "touch $TMPDIR/hooked", "exit 3", world.Failure},
		{"its failure fails the job", "touch $TMPDIR/hooked; exit 1", "", world.Failure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, dir := newRig(t), t.TempDir()
			job := r.dispatch(tt.step)
			path := filepath.Join(dir, "hook.sh")
			must(t, os.WriteFile(path, []byte(tt.script), 0o600))
			start(t, r.jit("r1"), "ACTIONS_RUNNER_HOOK_JOB_COMPLETED="+path, "TMPDIR="+dir).wait()
			if got := r.job(job.ID); got.Conclusion != tt.want {
				t.Errorf("job ended %s, want %s: %+v", got.Conclusion, tt.want, got.Steps)
			}
			if _, err := os.Stat(filepath.Join(dir, "hooked")); err != nil {
				t.Errorf("the hook did not run: %v", err)
			}
		})
	}
}

func TestSignalWhileIdleLeavesTheRegistration(t *testing.T) {
	r := newRig(t)
	s := start(t, r.jit("r1"))
	eventually(t, "the runner is online", func() bool { return r.World.Runners(world.Scope{})[0].Online })
	s.signals <- syscall.SIGINT
	if code := s.wait(); code != actionsrunner.ExitSuccess {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := r.World.Runners(world.Scope{}); len(got) != 1 || got[0].Online {
		t.Errorf("registrations %+v, want one that is offline", got)
	}
}

func TestStoppingARunningJob(t *testing.T) {
	tests := []struct {
		name string
		stop func(r *rig, s *started, job world.Job)
	}{
		{"a signal cancels the job", func(_ *rig, s *started, _ world.Job) { s.signals <- syscall.SIGTERM }},
		{"a cancellation from GitHub reaches the step", func(r *rig, _ *started, job world.Job) { must(r.t, r.World.CancelJob(job.ID)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			mark := filepath.Join(t.TempDir(), "running")
			job := r.dispatch("touch "+mark+"; sleep 600", "true")
			s := start(t, r.jit("r1"))
			eventually(t, "the step runs", func() bool { _, err := os.Stat(mark); return err == nil })
			tt.stop(r, s, job)
			if code := s.wait(); code != actionsrunner.ExitSuccess {
				t.Errorf("exit code %d, want 0", code)
			}
			got := r.job(job.ID)
			if got.Conclusion != world.Cancelled || got.Steps[1].Conclusion != world.Cancelled || got.Steps[2].Conclusion != world.Skipped {
				t.Errorf("job ended %s with the steps %+v, want cancelled and skipped", got.Conclusion, got.Steps)
			}
			if !strings.Contains(s.out.String(), "Job build completed with result: Canceled") {
				t.Errorf("the runner printed:\n%s", s.out)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	r := newRig(t)
	r.World.RequireVersion("2.329.0")
	used := r.jit("used")
	holder := start(t, used)
	eventually(t, "the first session is open", func() bool { return r.World.Runners(world.Scope{})[0].Online })
	holder.signals <- syscall.SIGINT
	holder.wait()
	old := "SIMULATOR_RUNNER_VERSION=2.328.0"
	tests := []struct {
		name string
		jit  string
		args []string
		env  []string
		uid  int
		code int
		says string
	}{
		{"no configuration", "", nil, nil, 1, 1, "jitconfig: must be given"},
		{"a configuration that is not base64", "%%%", nil, nil, 1, 1, "must be base64"},
		{"a configuration that is not JSON", "bm8=", nil, nil, 1, 1, "must be a JSON object"},
		{"a configuration that was used", used, nil, nil, 1, 1, "The runner registration has been deleted from the server"},
		{"a deprecated version", r.jit("old1"), nil, []string{old}, 1, 1, "Runner version v2.328.0 is deprecated and cannot receive messages."},
		{"a deprecated version that wants to be told", r.jit("old2"), nil, []string{old, "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1"}, 1, 7, "deprecated"},
		{"run.sh hides a failure", "%%%", []string{"--script"}, nil, 1, 0, "must be base64"},
		{"run.sh tells of a deprecated version that wants to be told", r.jit("old3"), []string{"--script"}, []string{old, "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1"}, 1, 7, "deprecated"},
		{"run.sh refuses root and hides it", "%%%", []string{"--script"}, nil, 0, 0, "Must not run interactively with sudo"},
		{"run.sh refuses root and tells when it traps signals", "%%%", []string{"--script"}, []string{"RUNNER_MANUALLY_TRAP_SIG=1"}, 0, 1, "Must not run"},
		{"run.sh lets root in when it is allowed", "%%%", []string{"--script"}, []string{"RUNNER_ALLOW_RUNASROOT=1"}, 0, 0, "must be base64"},
		{"the listener itself lets root in", "%%%", nil, nil, 0, 1, "must be base64"},
		{"an unknown flag", "x", []string{"run", "--frob"}, nil, 1, 1, "arguments: "},
		{"an unknown command", "x", []string{"configure"}, nil, 1, 1, `(got "configure")`},
		{"the version", "", []string{"--version"}, nil, 1, 0, actionsrunner.Version},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out output
			p := actionsrunner.Program{
				Args: tt.args, UID: tt.uid, Stdout: &out, Stderr: &out,
				Env: append(tt.env, "ACTIONS_RUNNER_INPUT_JITCONFIG="+tt.jit, "ACTIONS_RUNNER_ROOT="+t.TempDir()),
			}
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			if code := p.Run(ctx); code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("exit code %d, printed %q; want %d and %q", code, out.String(), tt.code, tt.says)
			}
			if tt.jit != "" && strings.Contains(out.String(), tt.jit) {
				t.Error("the configuration was printed")
			}
		})
	}
}

// TestKilledRunnerTakesItsStepsAlong: nothing may outlive a sandbox whose runner is killed.
func TestKilledRunnerTakesItsStepsAlong(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	exe, err := os.Executable()
	must(t, err)
	dir, r := t.TempDir(), newRig(t)
	must(t, actionsrunner.WriteDistribution(dir, exe))
	mark := filepath.Join(t.TempDir(), "pid")
	r.dispatch("echo $$ > " + mark + ".new; mv " + mark + ".new " + mark + "; exec sleep 600")
	cmd := exec.Command(filepath.Join(dir, "bin", "Runner.Listener"), "run", "--jitconfig", r.jit("r1"))
	must(t, cmd.Start())
	eventually(t, "the step runs", func() bool { _, err := os.Stat(mark); return err == nil })
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	pid, err := os.ReadFile(mark)
	must(t, err)
	stat := filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat")
	eventually(t, "the step is gone", func() bool {
		b, err := os.ReadFile(stat)
		return errors.Is(err, os.ErrNotExist) || bytes.Contains(b, []byte(") Z "))
	})
}

func TestArchiveHoldsTheDistribution(t *testing.T) {
	packed, err := actionsrunner.Archive("it's")
	must(t, err)
	dir := t.TempDir()
	must(t, actionsrunner.WriteDistribution(dir, "it's"))
	zipped, err := gzip.NewReader(bytes.NewReader(packed))
	must(t, err)
	names := map[string]bool{}
	for archive := tar.NewReader(zipped); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		got, err := io.ReadAll(archive)
		must(t, err)
		want, err := os.ReadFile(filepath.Join(dir, h.Name))
		must(t, err)
		if !bytes.Equal(got, want) || !strings.Contains(string(got), `'it'\''s'`) {
			t.Errorf("%s is %q, want %q with the program quoted", h.Name, got, want)
		}
		names[h.Name] = true
	}
	if !names["./run.sh"] || !names["./bin/Runner.Listener"] {
		t.Errorf("the archive holds %v", names)
	}
}
