package exact_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutant is one of the services' lines, broken on purpose, and the invariant that is violated then.
type mutant struct {
	name      string
	file      string // below services/worker/internal
	old, new  string
	invariant string
	flags     []string
}

func mutants() []mutant {
	return []mutant{
		{
			name: "a change is acted on and not saved", invariant: "I1", file: "launch/launch.go",
			old: "if !reflect.DeepEqual(before, after) {\n\t\t\trevision, err = h.Ledger.SaveRun",
			new: "if !reflect.DeepEqual(before, after) && after.State != run.Done {\n\t\t\trevision, err = h.Ledger.SaveRun",
		},
		{
			name: "a sweep takes any queued job for ours", invariant: "I2", file: "sweep/unqueued.go",
			old: `if j.Pool == "" ||`, new: `if j.Pool = "default"; false ||`,
		},
		{
			name: "the last runner is not ended before the next one is launched", invariant: "I3", file: "run/runner.go",
			old: "effects = append(effects, r.lostBy(r.For, r.For))", new: "effects = []Effect{r.lostBy(r.For, r.For)}",
		},
		{
			name: "each time that it is looked at, a job gets a new runner", invariant: "I3", file: "run/decide.go",
			old: "if r.Runner.IsZero() {\n\t\tif tried", new: "if r.LastQueuedAt.Unix()%7 == 0 || r.Runner.IsZero() {\n\t\tif tried",
		},
		{
			name: "a job that was held is never launched", invariant: "I4", file: "run/decide.go",
			old: "if r.State == New || r.State == OnHold {", new: "if r.State == New {",
		},
		{
			name: "an event that nobody takes for eight minutes is given up", invariant: "I4", file: "sweep/deliveries_missed.go", flags: []string{"--intensity=5"},
			old: "worth = 2 * 24 * time.Hour", new: "worth = 8 * time.Minute",
		},
		{
			name: "a job that is given up is not put among the dead letters", invariant: "I4", file: "run/decide.go",
			old: "effects := []Effect{Bury{Job: r.Job, Reason: reason}}", new: "effects := []Effect{}",
		},
		{
			name: "a runner is ended without being asked whether it works", invariant: "I5", file: "launch/end.go",
			old: "if mayWork {", new: "if mayWork && false {",
		},
		{
			name: "a spare runner is never asked to go", invariant: "I5", file: "launch/launch.go", flags: []string{"--surplus-limit=30s", "--calm"},
			old: "return h.dismiss(ctx, e.Runner)", new: "return nil",
		},
		{
			name: "a spare sandbox that hangs is waited for", invariant: "I5", file: "launch/inspect.go",
			old: "evidence == run.Starting && age >= pool.StartLimit():", new: "evidence == run.Starting && age >= 100*pool.StartLimit():",
		},
		{
			name: "registrations that are left are not removed", invariant: "I6", file: "sweep/registrations.go",
			old: "if err := g.Registrar.DeregisterID(ctx, s.job, s.name, found.ID); err != nil {", new: "if err := error(nil); err != nil {",
		},
		{
			name: "registrations that a restored ledger has forgotten are left", invariant: "I6", file: "sweep/registrations.go", flags: []string{"--intensity=5"},
			old: "if unused < grace || job.State == run.New && unused < usableFor {", new: "if _ = job; unused >= 0 {",
		},
		{
			name: "a JIT configuration is told in an error", invariant: "I7", file: "launch/create.go",
			old: `return "", "", fmt.Errorf("create sandbox: %w", err)`, new: `return "", "", fmt.Errorf("create sandbox with %s: %w", jit.Reveal(), err)`,
		},
		{
			name: "a job that was given up ends once more", invariant: "I8", file: "run/decide.go",
			old: "if !r.State.Terminal() {\n\t\tr.State = Done", new: "if r.State != Done {\n\t\tr.State = Done",
		},
		{
			name: "a replay begins anew what is done", invariant: "I8", file: "run/replay.go",
			old: "if r.State == Dead && now.Sub(r.QueuedAt) < GiveUpAfter {\n\t\tr.Failures, r.Reason, r.Forgiven = 0, \"\", r.Attempts\n\t\tswitch {\n" +
				"\t\tcase r.Over():",
			new: "if r.State != New {\n\t\tswitch {\n\t\tcase false:",
		},
		{
			name: "a launch that failed is tried again at once", invariant: "I9", file: "run/backoff.go", flags: []string{"--intensity=5"},
			old: "return firstBackoff + time.Duration(rnd*float64(ceiling))", new: "_ = ceiling\n\treturn 0",
		},
		{
			name: "a limit has one place more", invariant: "I9", file: "places/obstacle.go", flags: []string{"--max-sandboxes=20"},
			old: "most > 0 && uses(s) >= most {", new: "most > 0 && uses(s) > most {",
		},
		{
			name: "nothing is told of a job", invariant: "I12", file: "run/decide.go",
			old: "next.History = chronicle(r, next, ev, now)", new: "",
		},
		{
			name: "a worker tells an author while another may be at it", invariant: "I13", file: "run/notice.go",
			old: "NoticeTime = 2 * time.Minute", new: "NoticeTime = time.Second",
		},
		{
			name: "a warm sandbox that was claimed can be claimed again", invariant: "I3", file: "places/warm.go", flags: []string{"--warm=3"},
			old: "delete(r.Warm, name)\n\tr, _ = r.charged(w.Place, now)\n\tplace", new: "r, _ = r.charged(w.Place, now)\n\tplace",
		},
		{
			name: "a warm sandbox that is being ended can be claimed", invariant: "I5", file: "places/warm.go", flags: []string{"--warm=3"},
			old: `return w.SandboxID != "" && !w.Ends`, new: `return w.SandboxID != ""`,
		},
		{
			name: "warm sandboxes that nobody wants any more stay", invariant: "I5", file: "places/keep.go", flags: []string{"--warm=3"},
			old: "case kept[w.Pool] == wanted[w.Pool]:", new: "case false:",
		},
		{
			name: "warm sandboxes of which nothing is on record stay", invariant: "I5", file: "sweep/places.go", flags: []string{"--warm=3", "--intensity=5"},
			old: "end, err := endWarm(ctx, o.Fleet, strays[name], false, true)", new: "end, err := unended, error(nil)",
		},
		{
			name: "warm sandboxes do not count", invariant: "I9", file: "places/use.go", flags: []string{"--warm=3", "--max-sandboxes=20"},
			old: "if w.in(s) && (s == All || s == PoolScope(w.Pool)) {", new: "if _ = w; false {",
		},
		{
			name: "a replay twice makes two runners", invariant: "I3", file: "run/replay.go",
			old: "if r.State != Waiting {\n\t\treturn r, nil", new: "r.Runner = Name{}\n\tif r.State != Waiting {\n\t\treturn r, nil",
		},
	}
}

// The simulator is worth what it catches. Each mutant breaks one line of the services; within a few seeds the invariant that
// the line is for must be found violated.
func TestMutantsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the simulator a dozen times: run without -short, as make mutants does")
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			program := m.build(t)
			began := time.Now()
			for seed := 1; seed <= 40; seed++ {
				args := append([]string{"--no-shrink", "--jobs=1000", fmt.Sprintf("--seed=%d", seed)}, m.flags...)
				out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
				if err != nil && strings.Contains(string(out), "VIOLATED "+m.invariant+" ") {
					t.Logf("caught as %s by seed %d after %v", m.invariant, seed, time.Since(began).Truncate(time.Millisecond))
					return
				}
				if err != nil && seed == 1 {
					t.Logf("seed 1 finds something else: %.2000s", out)
				}
			}
			t.Errorf("not caught: %s", m.invariant)
		})
	}
}

// A mutant that can't be made catches nothing: the line that it breaks must be there, once.
func TestEachMutantBreaksALineThatIsThere(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) { breakLine(t, filepath.Join("..", filepath.FromSlash(m.file)), m.old, m.new) })
	}
	for _, m := range testedMutants() {
		t.Run(m.name, func(t *testing.T) {
			breakLine(t, filepath.Join("..", "..", "..", filepath.FromSlash(m.file)), m.old, m.new)
		})
	}
}

// build makes the simulator with the mutant in it.
func (m mutant) build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "simulate")
	overlay := breakLine(t, filepath.Join("..", filepath.FromSlash(m.file)), m.old, m.new)
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, "../../cmd/simulate")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// breakLine returns the overlay by which go builds with a text of the file, which is there once, replaced.
func breakLine(t *testing.T, file, before, after string) (overlay string) {
	t.Helper()
	file, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), before); n != 1 {
		t.Fatalf("%s has the line %d times", file, n)
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(source), before, after, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, replaced, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
