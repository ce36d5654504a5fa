package rollout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/rollout"
	"modal-github-runner/services/worker/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("down")

// world is what all workers share.
type world struct {
	js jetstream.JetStream

	mu     sync.Mutex
	newest run.RunnerRelease
	down   bool // GitHub
	asked  int
	ledger map[run.Name]run.Runner
	sick   map[string]bool // pools
	later  time.Duration   // than it is
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.later)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{js: natstest.Start(t).JetStream(t), newest: one, ledger: map[run.Name]run.Runner{}, sick: map[string]bool{}}
	if _, err := natsx.Ensure(t.Context(), w.js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// worker is one of them.
type worker struct {
	*rollout.Rollout

	registry *prometheus.Registry
	log      *bytes.Buffer
}

func (w *world) worker(t *testing.T, pinned bool) *worker {
	t.Helper()
	k := &worker{registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	metrics, err := rollout.NewMetrics(k.registry)
	if err != nil {
		t.Fatal(err)
	}
	k.Rollout = rollout.New(rollout.Options{
		JS: w.js, Pinned: pinned, Metrics: metrics, Log: slog.New(slog.NewTextHandler(k.log, nil)), Now: w.now,
		Latest: func(context.Context) (run.RunnerRelease, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.asked++; w.down {
				return run.RunnerRelease{}, errDown
			}
			return w.newest, nil
		},
		Runner: func(_ context.Context, name run.Name) (run.Runner, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.ledger[name], nil
		},
		Well: func(_ context.Context, r run.Runner) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.sick[r.Job.Pool], nil
		},
	})
	return k
}

// look has the worker look once, as it does every few seconds and when it starts.
func (k *worker) look(t *testing.T, until func(rollout.State) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for deadline := time.Now().Add(20 * time.Second); ; {
		s, err := k.Read(t.Context())
		switch {
		case err != nil:
			t.Fatal(err)
		case until(s):
			return
		case time.Now().After(deadline):
			t.Fatalf("on record is still %+v", s)
		}
	}
}

func (k *worker) wantMetric(t *testing.T, line string) {
	t.Helper()
	got, err := k.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, family := range got {
		for _, m := range family.GetMetric() {
			state := map[string]string{}
			for _, l := range m.GetLabel() {
				state[l.GetName()] = l.GetValue()
			}
			lines = append(lines, fmt.Sprintf("%s %s", state["version"], state["state"]))
		}
	}
	if diff := cmp.Diff(line, strings.Join(lines, "\n")); diff != "" {
		t.Error(diff)
	}
	if problems, err := testutil.GatherAndLint(k.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func candidate(version string) func(rollout.State) bool {
	return func(s rollout.State) bool { return s.Candidate.Version == version }
}

func TestOfWorkersThatWouldTryAVersionAtOnceOneDoes(t *testing.T) {
	w := newWorld(t)
	first := w.worker(t, false)
	if got, err := first.Release(t.Context()); err != nil || got != one {
		t.Fatalf("the first release: %+v, %v", got, err)
	}
	w.newest = two
	first.look(t, candidate(two.Version))
	first.wantMetric(t, "2.332.0 waiting")
	if got, err := first.Release(t.Context()); err != nil || got != one || first.Good() != one || first.Candidate() != two || !first.Due() {
		t.Errorf("while one is to be tried, all get %+v, %v", got, err)
	}
	var racing sync.WaitGroup
	var trying atomic.Int64
	for n := range int64(8) {
		k := w.worker(t, false)
		racing.Go(func() {
			does, err := k.Try(t.Context(), run.Name{Job: n + 1, Attempt: 1}, two.Version)
			if err != nil {
				t.Error(err)
			}
			if does {
				trying.Add(1)
			}
		})
	}
	racing.Wait()
	if trying.Load() != 1 {
		t.Errorf("%d try it", trying.Load())
	}
	if _, err := first.Read(t.Context()); err != nil || first.Due() {
		t.Errorf("one tries it, and another is to: %v", err)
	}
}

func TestAVersionThatItsTrialShowsToWorkIsTakenByAllAndOneThatDoesNotByNone(t *testing.T) {
	for _, test := range []struct {
		name           string
		runner         run.Runner
		sick           bool
		excused        string // what the job that lost the runner is told that it tried
		metric, logged string
	}{
		{"it took a job", run.Runner{State: run.Busy, For: 7, Took: 7}, false, "", "", "runner version is in use"},
		{
			"it ended without one",
			run.Runner{State: run.Ended, For: 7, SandboxID: "sb-1", Reason: "exit code 0"},
			false,
			"2.332.0", "2.332.0 waiting", "level=WARN msg=\"trial of a runner version failed\" runner_version=2.332.0 job_id=7 attempt=1 trials=1 reason=\"exit code 0\"",
		},
		{
			"it ended in a pool that fails",
			run.Runner{State: run.Ended, For: 7, SandboxID: "sb-1", Reason: "exit code 0"},
			true,
			"", "2.332.0 waiting", "trial of a runner version proved nothing",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			k, another := w.worker(t, false), w.worker(t, false)
			if _, err := k.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.newest = two
			k.look(t, candidate(two.Version))
			if does, err := k.Try(t.Context(), tries, two.Version); err != nil || !does {
				t.Fatal(does, err)
			}
			k.wantMetric(t, "2.332.0 trying")
			test.runner.Name, test.runner.Job = tries, run.Job{ID: 7, Pool: "default"}
			w.set(func() { w.ledger[tries], w.sick["default"] = test.runner, test.sick })
			another.look(t, func(s rollout.State) bool { return !s.Trying }) // The worker that tried it may be dead.
			another.wantMetric(t, test.metric)
			if !strings.Contains(another.log.String(), test.logged) {
				t.Errorf("the log: %s", another.log)
			}
			for range 2 { // It may be told of again.
				if got, err := k.Tried(t.Context(), test.runner); err != nil || got != test.excused {
					t.Errorf("the runner is excused for %q, %v", got, err)
				}
			}
			if got, err := k.Tried(t.Context(), run.Runner{Name: other, State: run.Ended, For: 8, SandboxID: "sb-2"}); err != nil || got != "" {
				t.Errorf("another runner is excused for %q, %v", got, err)
			}
		})
	}
}

func TestAnOperatorHasARefusedVersionTriedOnceMore(t *testing.T) {
	w := newWorld(t)
	k := w.worker(t, false)
	if _, err := k.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Again(t.Context()); err != nil || got.Version != "" {
		t.Errorf("nothing is refused: %+v, %v", got, err)
	}
	w.newest = two
	k.look(t, candidate(two.Version))
	// Of each runner two workers tell, and a third one may have died.
	for n, name := range []run.Name{tries, other, third} {
		if does, err := k.Try(t.Context(), name, two.Version); err != nil || !does {
			t.Fatalf("trial %d: %t, %v", n+1, does, err)
		}
		lost := run.Runner{Name: name, State: run.Ended, For: name.Job, SandboxID: "sb-1"}
		var telling sync.WaitGroup
		for _, by := range []*worker{k, w.worker(t, false)} {
			telling.Go(func() {
				if got, err := by.Tried(t.Context(), lost); err != nil || got != two.Version {
					t.Errorf("trial %d: the runner is excused for %q, %v", n+1, got, err)
				}
			})
		}
		telling.Wait()
		if does, err := k.Try(t.Context(), run.Name{Job: 99, Attempt: 1}, two.Version); err != nil || does {
			t.Errorf("after trial %d another one tries it at once, %v", n+1, err)
		}
		if s, err := k.Read(t.Context()); err != nil || len(s.Failed) != n+1 || (s.Refused == two) != (n == 2) {
			t.Errorf("after trial %d there is %+v, %v", n+1, s, err)
		}
		w.set(func() { w.later += 10 * time.Minute })
	}
	k.wantMetric(t, "2.332.0 refused")
	if got, err := k.Tried(t.Context(), run.Runner{Name: tries, State: run.Ended, For: 7, SandboxID: "sb-1"}); err != nil || got != two.Version {
		t.Errorf("the first runner is excused for %q, %v", got, err)
	}
	if n := strings.Count(k.log.String(), "runner version refused"); n > 1 {
		t.Errorf("%d times in one log: %s", n, k.log)
	}
	w.worker(t, false).look(t, func(s rollout.State) bool { return w.askedTimes() > 2 && s.Refused == two }) // Who looks anew does not change that.
	if got, err := k.Again(t.Context()); err != nil || got != two || k.Candidate() != two {
		t.Errorf("%+v, %v", got, err)
	}
}

func (w *world) askedTimes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func TestWhatIsOnRecordIsThereWhileGitHubIsDown(t *testing.T) {
	w := newWorld(t)
	w.down = true
	if _, err := w.worker(t, false).Release(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("with nothing on record: %v", err)
	}
	w.down = false
	if _, err := w.worker(t, false).Release(t.Context()); err != nil {
		t.Error(err)
	}
	w.down = true
	k := w.worker(t, false)
	if got, err := k.Release(t.Context()); err != nil || got != one {
		t.Errorf("%+v, %v", got, err)
	}
	k.look(t, func(rollout.State) bool { return w.askedTimes() > 2 })
	if !strings.Contains(k.log.String(), "level=WARN msg=\"runner versions not looked at\" err=down") {
		t.Errorf("the log: %s", k.log)
	}
}

func TestAWorkerWhoseVersionIsPinnedTriesNone(t *testing.T) {
	w := newWorld(t)
	k := w.worker(t, false)
	if _, err := k.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.newest = two
	k.look(t, candidate(two.Version))
	pinned := w.worker(t, true)
	pinned.Run(t.Context()) // There is nothing to do.
	if _, err := pinned.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := pinned.Candidate(); got.Version != "" || pinned.Good().Version != "" || pinned.Due() {
		t.Errorf("it has %+v", got)
	}
	pinned.wantMetric(t, "")
	// It takes over the launch of a runner that is to try one.
	if does, err := k.Try(t.Context(), tries, two.Version); err != nil || !does {
		t.Fatal(does, err)
	}
	if does, err := pinned.Try(t.Context(), tries, ""); err != nil || does {
		t.Errorf("tries it: %t, %v", does, err)
	}
	if s, err := k.Read(t.Context()); err != nil || s.Trying {
		t.Errorf("on record is %+v, %v", s, err)
	}
}

// A worker of an older version, to which one failure was enough, may have left its record.
func TestTheRecordOfAnOlderWorkerIsUnderstood(t *testing.T) {
	w := newWorld(t)
	kv, err := w.js.KeyValue(t.Context(), wire.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	const record = `{"good":{"version":"2.331.0"},"runner":{"job":7,"attempt":1},"refused":{"version":"2.332.0"},"refused_at":"2026-03-01T12:00:00Z","why":"it ended"}`
	if _, err := kv.PutString(t.Context(), "runner-release", record); err != nil {
		t.Fatal(err)
	}
	k := w.worker(t, false)
	lost := run.Runner{Name: tries, State: run.Ended, For: 7, SandboxID: "sb-1"}
	if got, err := k.Tried(t.Context(), lost); err != nil || got != two.Version {
		t.Errorf("the runner is excused for %q, %v", got, err)
	}
	if got, err := k.Again(t.Context()); err != nil || got.Version != two.Version || k.Candidate().Version != two.Version {
		t.Errorf("%+v, %v", got, err)
	}
}
