package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/demo"
	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
)

const (
	// soon bounds what takes seconds on a machine that has nothing else to do.
	soon = time.Minute
	// stopLimit is what a worker promises: 30 s for what it has in hand and 15 s for the rest.
	stopLimit = 45 * time.Second
)

// binaries is the folder of the programs, built when a test first needs them.
var binaries = sync.OnceValues(build)

func build() (string, error) {
	dir, err := os.MkdirTemp("", "e2e-bin-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+string(filepath.Separator),
		ours+"services/ingress/cmd/ingress", ours+"services/worker/cmd/worker", ours+"services/simulator/cmd/simulator",
		"github.com/nats-io/nats-server/v2")
	root, err := filepath.Abs("../../..")
	if err != nil {
		return "", err
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK="+filepath.Join(root, "go.work"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
}

// builtIn is what TestMain removes; empty if nothing was built.
var builtIn string

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(builtIn); err != nil && builtIn != "" {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	// A connection that toxiproxy (v2.5.0) cuts leaves those behind that would have handed on what is read from it.
	toxic := "github.com/Shopify/toxiproxy/v2/"
	if err := goleak.Find(goleak.IgnoreAnyFunction(toxic+"toxics.(*ToxicStub).Run"), goleak.IgnoreAnyFunction(toxic+"stream.(*ChanWriter).Write")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// long skips a test that takes more than some seconds.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes up to minutes: run without -short, as make e2e does")
	}
}

// system is the whole system with an empty GitHub whose webhooks lead to it.
type system struct {
	*rig.Rig

	t *testing.T
}

func start(t *testing.T, o rig.Options) *system {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	o.Bin, o.Dir, o.Seed = cmp.Or(o.Bin, bin), t.ArtifactDir(), 1 // kept by go test -artifacts
	o.Ingresses, o.Workers = max(1, o.Ingresses), max(1, o.Workers)
	r, err := rig.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.Tails(40))
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := demo.Prepare(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return &system{Rig: r, t: t}
}

// in is the system for a subtest.
func (s *system) in(t *testing.T) *system { return &system{Rig: s.Rig, t: t} }

// serve runs a workload to its end and checks what must hold for each: no job is lost, each ran exactly once, only those
// failed that were to, and nothing is left. watch, which may be nil, sees every state on the way.
func (s *system) serve(o workload.Options, watch func(report.Report) error) report.Report {
	s.t.Helper()
	o.Witness = filepath.Join(s.t.TempDir(), "witness")
	if watch == nil {
		watch = func(report.Report) error { return nil }
	}
	final, err := demo.Serve(s.t.Context(), s.Rig, workload.Plan(o), watch)
	if err != nil {
		s.t.Fatal(err)
	}
	if c := final.Counts(); c.Done() != len(final.Jobs) {
		s.t.Errorf("of %d jobs only %d ended", len(final.Jobs), c.Done())
	}
	if final.Leaked() > 0 {
		s.t.Errorf("left are the sandboxes %v and the registrations %v", final.Sandboxes, final.Registrations)
	}
	s.ranOnce(o)
	for _, j := range final.Jobs[len(final.Jobs)-o.Jobs:] {
		wantFailure := j.ExitCode != 0
		if succeeded := j.Conclusion == "success"; succeeded == wantFailure {
			s.t.Errorf("job %s ended %s with exit code %d: %s", j.Name, j.Conclusion, j.ExitCode, j.Reason)
		}
	}
	return final
}

// ranOnce asks the jobs themselves: each left one line.
func (s *system) ranOnce(o workload.Options) {
	s.t.Helper()
	content, err := os.ReadFile(o.Witness)
	if err != nil {
		s.t.Fatal(err)
	}
	ran := map[string]int{}
	for name := range strings.FieldsSeq(string(content)) {
		ran[name]++
	}
	for n := 1; n <= o.Jobs; n++ {
		if name := fmt.Sprintf("test-%03d", n); ran[name] != 1 {
			s.t.Errorf("job %s ran %d times", name, ran[name])
		}
	}
}

// eventually polls until done, for at most soon.
func eventually(t *testing.T, what string, done func(ctx context.Context) bool) {
	t.Helper()
	within(t, soon, what, done)
}

// within polls until done, for at most limit.
func within(t *testing.T, limit time.Duration, what string, done func(ctx context.Context) bool) {
	t.Helper()
	if !happens(t.Context(), limit, done) {
		t.Fatalf("%s: not within %s", what, limit)
	}
}

// happens polls until done, for at most limit, and reports whether it is.
func happens(ctx context.Context, limit time.Duration, done func(ctx context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(max(20*time.Millisecond, limit/1000)) // What takes minutes is not asked about all the time.
	defer ticker.Stop()
	for !done(ctx) {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

// served are the ids of the jobs for which sandboxes were made.
func (s *system) served(ctx context.Context) []string {
	s.t.Helper()
	modal, err := s.Simulator.Modal(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	for _, sandbox := range modal.Sandboxes {
		ids = append(ids, sandbox.Tags["job-id"])
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
