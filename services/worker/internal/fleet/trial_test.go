package fleet_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

// trials is the record of a trial, of which the runner with the attempt is the one.
type trials struct {
	mu              sync.Mutex
	good, candidate run.RunnerRelease
	attempt         int
	trying          bool
	asked           []string // The versions that there was an image with, one for each sandbox.
	err             error
}

func (s *trials) see(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *trials) Good() run.RunnerRelease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.good
}

func (s *trials) Candidate() run.RunnerRelease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.candidate
}

func (s *trials) Due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.candidate.Version != "" && !s.trying
}

func (s *trials) Try(_ context.Context, name run.Name, version string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, version)
	return s.err == nil && version != "" && name.Attempt == s.attempt, s.err
}

// tryingRig is a rig whose images, with the good runner and with the candidate, are built and kept.
func tryingRig(t *testing.T, s *trials) *rig {
	t.Helper()
	r := newRig(t, func(o *fleet.Options) { o.Trials = s })
	ctx, cancel := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		r.fleet.KeepImages(ctx, func(context.Context) (run.RunnerRelease, error) { return s.Good(), nil })
	})
	t.Cleanup(func() {
		cancel()
		keeping.Wait()
	})
	r.awaitImages(t, 2)
	return r
}

func TestOnlyTheSandboxThatTriesAVersionHasItUntilAllDo(t *testing.T) {
	s := &trials{good: release("2.330.0"), candidate: release("2.331.0"), attempt: 2}
	r := tryingRig(t, s)
	versionOf := func(attempt int) (version string) {
		t.Helper()
		if _, err := r.create(t.Context(), attempt); err != nil {
			t.Fatal(err)
		}
		return r.versionOfLast()
	}
	for attempt, want := range map[int]string{1: "2.330.0", 2: "2.331.0", 3: "2.330.0"} {
		if got := versionOf(attempt); got != want {
			t.Errorf("the sandbox of attempt %d has %s, want %s", attempt, got, want)
		}
	}
	r.wantInUse(t, "2.330.0")

	s.see(func() { s.err = errors.New("NATS is down") })
	if _, err := r.create(t.Context(), 4); err == nil || !strings.Contains(err.Error(), "trial of a runner version: NATS is down") {
		t.Errorf("created, though it is not known what it is to have: %v", err)
	}
	s.see(func() { s.err, s.candidate = nil, run.RunnerRelease{} })
	eventually(t, "the candidate's image is dropped", func() bool {
		s.see(func() { s.asked = nil })
		attempt := 100 + r.sandboxes()
		versionOf(attempt)
		return s.asked[0] == ""
	})
	s.see(func() { s.good = release("2.331.0") })
	r.awaitImages(t, 3)
	r.wantInUse(t, "2.331.0")
	eventually(t, "all have the new version", func() bool { return versionOf(1000+r.sandboxes()) == "2.331.0" })
}

func TestAVersionIsToBeTriedOnceThereIsAnImageWithIt(t *testing.T) {
	s := &trials{good: release("2.330.0"), candidate: release("2.331.0")}
	r := tryingRig(t, s)
	eventually(t, "it is to be tried", func() bool { return r.fleet.TrialDue(run.Image{}) })
	if r.fleet.TrialDue(run.Image{Registry: "debian:13"}) {
		t.Error("there is no image with it of another base")
	}
	s.see(func() { s.trying = true })
	if r.fleet.TrialDue(run.Image{}) {
		t.Error("another sandbox tries it")
	}
}

func TestASandboxThatExistedBeforeItsTrialProvesNothing(t *testing.T) {
	s := &trials{good: release("2.330.0"), candidate: release("2.331.0"), attempt: 1}
	r := tryingRig(t, s)
	if _, err := r.create(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.create(t.Context(), 1); !errors.Is(err, run.ErrExists) {
		t.Errorf("once more: %v", err)
	}
	s.see(func() {
		if got := strings.Join(s.asked, ","); got != "2.331.0,2.331.0," {
			t.Errorf("asked with %q, want the trial to be void in the end", got)
		}
	})
}

func (r *rig) sandboxes() (n int) {
	r.see(func() { n = len(r.creates) })
	return n
}

// versionOfLast is the version of the runner that the last sandbox has.
func (r *rig) versionOfLast() (version string) {
	r.see(func() {
		id := r.creates[len(r.creates)-1].GetDefinition().GetImageId()
		layer := strings.Join(r.layers[numberOf(id)-1], "\n")
		_, after, _ := strings.Cut(layer, "/runner-")
		version, _, _ = strings.Cut(after, ".tar.gz")
	})
	return version
}

// wantInUse checks that the metric shows that version, and no other.
func (r *rig) wantInUse(t *testing.T, version string) {
	t.Helper()
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(`
# HELP worker_runner_release_timestamp_seconds When the runner version in use was published.
# TYPE worker_runner_release_timestamp_seconds gauge
worker_runner_release_timestamp_seconds{version="`+version+`"} 1.767323045e+09
`), "worker_runner_release_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}

// numberOf is the number of the layer that the image ends with.
func numberOf(image string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(image, "im-"))
	if err != nil {
		panic(err)
	}
	return n
}
