package fakemodal_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

func TestSandboxRunsWhatItWasAskedTo(t *testing.T) {
	r := newRig(t, fakemodal.Options{
		ImageEnv: map[string]string{"FROM_IMAGE": "image", "WINNER": "image"},
		Secrets:  map[string]map[string]string{"shared": {"NAMED": "named", "WINNER": "named"}},
	})
	named, err := r.client.Secrets.FromName(r.context(t), "shared", nil)
	if err != nil {
		t.Fatalf("secret: %v", err)
	}
	inline, err := r.client.Secrets.FromMap(r.context(t), map[string]string{"INLINE": "inline", "WINNER": "inline"}, nil)
	if err != nil {
		t.Fatalf("secret: %v", err)
	}
	s := r.create(t, modal.SandboxCreateParams{
		Name: "runner-1", Tags: map[string]string{"job": "7"}, Timeout: time.Minute,
		CPU: 2, CPULimit: 4, MemoryMiB: 512, MemoryLimitMiB: 1024,
		Secrets: []*modal.Secret{named, inline}, Env: map[string]string{"WINNER": "env", "JIT": "s3cret"},
		Command: sh(`echo "$FROM_IMAGE $NAMED $INLINE $WINNER $JIT"; echo problem >&2; exit 3`),
	})
	if code := r.wait(t, s); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if got, want := read(t, s.Stdout), "image named inline env s3cret\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := read(t, s.Stderr), "problem\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	rec := r.record(t, s.SandboxID)
	if rec.Name != "runner-1" || rec.Status != sandbox.Failure || rec.ExitCode != 3 || !rec.Ended() || rec.Backend != sandbox.V2 {
		t.Errorf("record %+v", rec)
	}
	if want := []string{"INLINE", "JIT", "NAMED", "WINNER"}; !slices.Equal(rec.EnvKeys, want) {
		t.Errorf("variables %v, want %v", rec.EnvKeys, want)
	}
	if want := map[string]string{"job": "7"}; !maps.Equal(rec.Tags, want) {
		t.Errorf("tags %v, want %v", rec.Tags, want)
	}
	res := rec.Definition.GetResources()
	got := []uint32{res.GetMilliCpu(), res.GetMilliCpuMax(), res.GetMemoryMb(), res.GetMemoryMbMax(), rec.Definition.GetTimeoutSecs()}
	if want := []uint32{2000, 4000, 512, 1024, 60}; !slices.Equal(got, want) {
		t.Errorf("resources and timeout %v, want %v", got, want)
	}
	if strings.Contains(fmt.Sprintf("%+v", r.Snapshot()), "s3cret") {
		t.Error("the snapshot shows the value of a variable")
	}
}

func TestSandboxEnds(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	for _, tt := range []struct {
		name   string
		params modal.SandboxCreateParams
		stop   bool
		code   int
		status sandbox.Status
	}{
		{name: "with its program", params: modal.SandboxCreateParams{Command: []string{"true"}}, status: sandbox.Success},
		{name: "by a signal", params: modal.SandboxCreateParams{Command: sh("kill -KILL $$")}, code: 137, status: sandbox.Failure},
		{name: "by its timeout", params: modal.SandboxCreateParams{Command: []string{"sleep", "600"}, Timeout: time.Second}, code: 124, status: sandbox.TimedOut},
		{name: "when it is terminated", params: modal.SandboxCreateParams{Command: []string{"sleep", "600"}}, stop: true, code: 137, status: sandbox.Terminated},
		{name: "when it is terminated and has no program", stop: true, code: 137, status: sandbox.Terminated},
		// The SDK shows an exit code of 0; only the status tells that nothing ran.
		{name: "at once if the program is unknown", params: modal.SandboxCreateParams{Command: []string{"no-such-program"}}, status: sandbox.InitFailure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := r.create(t, tt.params)
			if tt.stop {
				if code, err := s.Poll(r.context(t), nil); err != nil || code != nil {
					t.Errorf("poll while it runs: %v, %v", code, err)
				}
				if _, err := s.Terminate(r.context(t), nil); err != nil {
					t.Errorf("terminate: %v", err)
				}
			}
			if code := r.wait(t, s); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			code, err := s.Poll(r.context(t), nil)
			if err != nil || code == nil || *code != tt.code {
				t.Errorf("poll after the end: %v, %v; want %d", code, err, tt.code)
			}
			if rec := r.record(t, s.SandboxID); rec.Status != tt.status || !rec.Ended() {
				t.Errorf("record %+v, want status %q", rec, tt.status)
			}
		})
	}
}

func TestSandboxNames(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	first := r.create(t, modal.SandboxCreateParams{Name: "R", Command: []string{"sleep", "600"}})
	var taken modal.AlreadyExistsError
	if _, err := r.client.Sandboxes.Create(r.context(t), r.app, r.image, &modal.SandboxCreateParams{Name: "R"}); !errors.As(err, &taken) {
		t.Errorf("second of the name: %v, want AlreadyExistsError", err)
	}
	found, err := r.client.Sandboxes.FromName(r.context(t), "runners", "R", nil)
	if err != nil || found.SandboxID != first.SandboxID {
		t.Errorf("from name: %v, %v; want %s", found, err, first.SandboxID)
	}
	if _, err := first.Terminate(r.context(t), &modal.SandboxTerminateParams{Wait: true}); err != nil {
		t.Errorf("terminate: %v", err)
	}
	if code, err := first.Terminate(r.context(t), nil); err != nil || code != 0 {
		t.Errorf("terminate again: %d, %v", code, err)
	}
	var missing modal.NotFoundError
	if _, err := r.client.Sandboxes.FromName(r.context(t), "runners", "R", nil); !errors.As(err, &missing) {
		t.Errorf("from name after the end: %v, want NotFoundError", err)
	}
	ended, err := r.client.Sandboxes.FromName(r.context(t), "runners", "R", &modal.SandboxFromNameParams{IncludeTerminated: true})
	if err != nil || ended.SandboxID != first.SandboxID {
		t.Errorf("from name with ended ones: %v, %v; want %s", ended, err, first.SandboxID)
	}
	second := r.create(t, modal.SandboxCreateParams{Name: "R", Command: []string{"true"}})
	r.wait(t, second)
	if got := r.Snapshot().MaxPerName["R"]; got != 1 {
		t.Errorf("at most %d sandboxes of the name at once, want 1", got)
	}
}

func TestTerminateKillsTheWholeTree(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	s := r.create(t, modal.SandboxCreateParams{Command: sh(`
		echo "$HOME" > "$TMPDIR/file"
		sleep 600 & echo $!
		setsid sleep 600 & echo $!
		echo "$HOME"
		sleep 600`)})
	var lines []string
	buf := make([]byte, 4096)
	for out := ""; len(lines) < 3; lines = strings.Fields(out) {
		n, err := s.Stdout.Read(buf)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		out += string(buf[:n])
	}
	if code, err := s.Terminate(r.context(t), &modal.SandboxTerminateParams{Wait: true}); err != nil || code != 137 {
		t.Errorf("terminate: %d, %v; want 137", code, err)
	}
	for _, pid := range lines[:2] { // A process that was killed ends when it is its turn to run.
		end := time.Now().Add(time.Minute)
		for {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil || strings.Contains(string(stat), ") Z") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("process %s still runs: %s", pid, stat)
			}
			runtime.Gosched()
		}
	}
	if _, err := os.Stat(lines[2]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %s: %v, want it removed", lines[2], err)
	}
	if err := s.Stdout.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestManySandboxesAtOnce(t *testing.T) {
	const n = 200
	r := newRig(t, fakemodal.Options{})
	var all sync.WaitGroup
	codes := make([]int, n)
	errs := make([]error, n)
	for i := range n {
		all.Go(func() {
			s, err := r.client.Sandboxes.Create(r.context(t), r.app, r.image, &modal.SandboxCreateParams{
				Name: fmt.Sprintf("many-%d", i), Command: sh(fmt.Sprintf("exit %d", i%7)),
			})
			if err == nil {
				codes[i], err = s.Wait(r.context(t), nil)
			}
			errs[i] = err
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	want := make([]int, n)
	for i := range n {
		want[i] = i % 7
	}
	if diff := cmp.Diff(want, codes); diff != "" {
		t.Errorf("exit codes (-want +got):\n%s", diff)
	}
	snapshot := r.Snapshot()
	if len(snapshot.Sandboxes) != n || snapshot.Running != 0 || snapshot.PeakRunning < 1 || snapshot.ImageBuilds != 1 {
		t.Errorf("%d sandboxes, %d running, peak %d, %d image builds", len(snapshot.Sandboxes), snapshot.Running, snapshot.PeakRunning, snapshot.ImageBuilds)
	}
}

func TestStopEndsAllSandboxes(t *testing.T) {
	r := newRig(t, fakemodal.Options{})
	s := r.create(t, modal.SandboxCreateParams{Command: []string{"sleep", "600"}})
	r.Stop()
	if rec := r.record(t, s.SandboxID); rec.Status != sandbox.Terminated || !rec.Ended() {
		t.Errorf("record %+v, want it terminated", rec)
	}
}
