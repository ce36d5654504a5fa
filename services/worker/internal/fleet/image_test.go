package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

// layersOfAnImage are its base, the tools, and the runner.
const layersOfAnImage = 3

func TestTheImageIsBuiltOnceHoweverManySandboxesStartFromIt(t *testing.T) {
	r := newRig(t, nil)
	_, err := r.create(t.Context(), 1)
	if err == nil || err.Error() != "no image to start from yet: it is being built" || !isLackOfImage(err, time.Second) {
		t.Errorf("before the image is built: %v, want a short limit for lack of an image", err)
	}
	if ready := r.fleet.Ready(somePool()); ready == nil || ready.Error() != err.Error() || !isLackOfImage(ready, time.Second) {
		t.Errorf("ready: %v, want what a launch gets", ready)
	}
	r.wantPaused(t, 1)
	r.build(t, "2.330.0", 1)
	if err := r.fleet.Ready(somePool()); err != nil {
		t.Errorf("with an image: %v", err)
	}
	r.wantPaused(t, 0)
	var creating sync.WaitGroup
	for n := range 50 {
		creating.Go(func() {
			if _, err := r.create(t.Context(), n+1); err != nil {
				t.Errorf("create %d: %v", n, err)
			}
		})
	}
	creating.Wait()
	r.see(func() {
		if len(r.layers) != layersOfAnImage || len(r.creates) != 50 {
			t.Errorf("%d layers built for %d sandboxes, want %d", len(r.layers), len(r.creates), layersOfAnImage)
		}
		if diff := cmp.Diff([]string{"staging/runners"}, r.apps); diff != "" {
			t.Errorf("Apps: %s", diff)
		}
	})
}

// isLackOfImage reports whether err is a limit for lack of an image, for no longer than said.
func isLackOfImage(err error, longest time.Duration) bool {
	limited, ok := errors.AsType[*run.LimitedError](err)
	return ok && errors.Is(err, run.ErrNoImage) && time.Until(limited.Until) <= longest
}

func (r *rig) wantPaused(t *testing.T, want int) {
	t.Helper()
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(fmt.Sprintf(`
# HELP worker_paused `+fleet.PausedHelp+`
# TYPE worker_paused gauge
worker_paused{reason="no_image"} %d
`, want)), "worker_paused"); err != nil {
		t.Error(err)
	}
}

// A launch looks again after a tenth of the time for which there has been no image, and after 15 s at most.
func TestTheLongerThereIsNoImageTheSeldomerLaunchesLookForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, err := fleet.NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		f := fleet.New(fleet.Options{Metrics: metrics})
		began := time.Now()
		for _, tt := range []struct{ age, wait time.Duration }{
			{0, 0}, {20 * time.Second, 2 * time.Second}, {time.Minute, 6 * time.Second}, {5 * time.Minute, 15 * time.Second}, {time.Hour, 15 * time.Second},
		} {
			time.Sleep(time.Until(began.Add(tt.age)))
			limited, ok := errors.AsType[*run.LimitedError](f.Ready(somePool()))
			if !ok || time.Until(limited.Until) != tt.wait {
				t.Errorf("after %v: %+v, want to look again in %v", tt.age, limited, tt.wait)
			}
		}
	})
}

func TestTheImageHoldsTheRunnerWhoseChecksumIsRight(t *testing.T) {
	r := built(t, nil)
	r.see(func() {
		last := strings.Join(r.layers[len(r.layers)-1], "\n")
		for _, want := range []string{
			"'https://host.invalid/runner-2.330.0.tar.gz'", "echo '" + strings.Repeat("ab", 32) + "  runner.tar.gz' | sha256sum -c -",
			"mkdir -p /opt/actions-runner", "./bin/installdependencies.sh",
		} {
			if !strings.Contains(last, want) {
				t.Errorf("the last layer lacks %q: %s", want, last)
			}
		}
		all := ""
		for _, layer := range r.layers {
			all += strings.Join(layer, "\n") + "\n"
		}
		for _, want := range []string{"FROM ubuntu:24.04", "ENV ACTIONS_RUNNER_HOME=/opt/actions-runner"} {
			if !strings.Contains(all, want) {
				t.Errorf("no layer has %q: %s", want, all)
			}
		}
	})
	if problems, err := testutil.GatherAndLint(r.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(`
# HELP worker_runner_release_timestamp_seconds When the runner version in use was published.
# TYPE worker_runner_release_timestamp_seconds gauge
worker_runner_release_timestamp_seconds{version="2.330.0"} 1.767323045e+09
`), "worker_runner_release_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}

// What workflows use without an action that sets it up (Docker's client and server are one package).
func TestTheDefaultImageHasWhatIsExpectedOfAnUbuntuRunner(t *testing.T) {
	r := built(t, nil)
	r.see(func() {
		words := map[string]bool{}
		for _, layer := range r.layers[:len(r.layers)-1] {
			for word := range strings.FieldsSeq(strings.Join(layer, " ")) {
				words[word] = true
			}
		}
		for _, want := range []string{
			"git", "curl", "jq", "sudo", "tar", "unzip", "zip", "zstd", "xz-utils", "build-essential", "python3", "nodejs", "ca-certificates",
			"openssh-client", "docker.io", "docker-buildx", "docker-compose-v2",
		} {
			if !words[want] {
				t.Errorf("no layer below the runner's has %s", want)
			}
		}
	})
}

func TestANewerRunnerMakesANewImageAndTheSameOneDoesNot(t *testing.T) {
	r := built(t, nil)
	asked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		r.fleet.KeepImages(ctx, func(context.Context) (run.RunnerRelease, error) { close(asked); return release("2.330.0"), nil })
	})
	<-asked
	cancel()
	keeping.Wait()
	r.see(func() {
		if len(r.layers) != layersOfAnImage {
			t.Errorf("%d layers after the same release, want %d", len(r.layers), layersOfAnImage)
		}
	})
	r.build(t, "2.331.0", 2)
	if _, err := r.create(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	r.see(func() {
		if got := r.creates[0].GetDefinition().GetImageId(); len(r.layers) != 2*layersOfAnImage || got != "im-6" {
			t.Fatalf("%d layers after a newer release, image %q", len(r.layers), got)
		}
		// Modal keeps a layer by its commands; those below name the one they stand on, which the fake numbers anew.
		if diff := cmp.Diff(r.layers[1][1:], r.layers[4][1:]); diff != "" || cmp.Equal(r.layers[2][1:], r.layers[5][1:]) {
			t.Errorf("a newer runner must change the last layer only: %s", diff)
		}
	})
}

func TestAnImageThatCannotBeBuiltIsTriedAgain(t *testing.T) {
	r := newRig(t, nil)
	r.failing("ImageGetOrCreate", 1, status.Error(codes.PermissionDenied, "not today"))
	r.build(t, "2.330.0", 1)
	if log := r.log.String(); strings.Count(log, "image not built") != 1 || !strings.Contains(log, "build image with runner 2.330.0") {
		t.Errorf("the failure was not logged, once: %s", log)
	}
	if _, err := r.create(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

func TestALaunchWithoutAnImageTellsWhyThereIsNone(t *testing.T) {
	const token = "ghp_0123456789"
	for name, test := range map[string]struct {
		method   string
		releases func() (run.RunnerRelease, error)
		err      error
		want     string
	}{
		"a token that Modal refuses": {
			method: "AppGetOrCreate", err: status.Error(codes.Unauthenticated, "token "+token+" is not valid"),
			want: "no image to start from yet: its build is tried again within a minute: modal app runners: rpc error: code = Unauthenticated desc = token [masked] is not valid",
		},
		"a build that fails": {
			method: "ImageGetOrCreate", err: status.Error(codes.PermissionDenied, "not today"),
			want: "no image to start from yet: its build is tried again within a minute: build image with runner 2.330.0: rpc error: code = PermissionDenied desc = not today",
		},
		"a runner that is not found": { // For good, but what a job must wait for.
			releases: func() (run.RunnerRelease, error) {
				return run.RunnerRelease{}, &run.PermanentError{Err: errors.New("no such release"), Advice: "mend it"}
			},
			want: "no image to start from yet: its build is tried again within a minute: no such release; mend it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.failing(test.method, -1, test.err)
			ctx, cancel := context.WithCancel(t.Context())
			var keeping sync.WaitGroup
			defer keeping.Wait()
			defer cancel()
			keeping.Go(func() {
				r.fleet.KeepImages(ctx, func(context.Context) (run.RunnerRelease, error) {
					if test.releases != nil {
						return test.releases()
					}
					return release("2.330.0"), nil
				})
			})
			eventually(t, "a launch that tells "+test.want, func() bool {
				err := r.fleet.Ready(somePool())
				limited, ok := errors.AsType[*run.LimitedError](err)
				if _, permanent := errors.AsType[*run.PermanentError](err); !ok || permanent || !errors.Is(err, run.ErrNoImage) {
					t.Fatalf("ready: %v, want a limit for lack of an image", err)
				}
				return limited.Err.Error() == test.want
			})
		})
	}
}

func TestAnAppThatCannotBeMadeIsTriedAgain(t *testing.T) {
	r := newRig(t, nil)
	r.failing("AppGetOrCreate", 1, status.Error(codes.PermissionDenied, "not today"))
	r.build(t, "2.330.0", 1)
	if log := r.log.String(); !strings.Contains(log, "modal app runners") {
		t.Errorf("the failure was not logged: %s", log)
	}
}

// keep keeps the image of a release until stop is called.
func (r *rig) keep(t *testing.T, version string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		r.fleet.KeepImages(ctx, func(context.Context) (run.RunnerRelease, error) { return release(version), nil })
	})
	return func() {
		cancel()
		keeping.Wait()
	}
}

// build keeps the image of a release until so many images were asked to be kept in all.
func (r *rig) build(t *testing.T, version string, images int) {
	t.Helper()
	defer r.keep(t, version)()
	r.awaitImages(t, images)
}

func (r *rig) awaitImages(t *testing.T, images int) {
	t.Helper()
	eventually(t, fmt.Sprintf("image %d is built", images), func() bool {
		return strings.Count(r.log.String(), "image built") >= images
	})
}

func release(version string) run.RunnerRelease {
	return run.RunnerRelease{
		Version: version, URL: "https://host.invalid/runner-" + version + ".tar.gz", SHA256: strings.Repeat("ab", 32),
		PublishedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}
