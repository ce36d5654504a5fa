package fleet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

// of is what says which images are kept.
func of(images ...run.Image) func(*fleet.Options) {
	return func(o *fleet.Options) { o.Images = func() []run.Image { return images } }
}

func TestAnImageOfOnesOwnIsItsBaseItsStepsAndTheRunner(t *testing.T) {
	static, aws := pb.RegistryAuthType_REGISTRY_AUTH_TYPE_STATIC_CREDS, pb.RegistryAuthType_REGISTRY_AUTH_TYPE_AWS
	gcp, none := pb.RegistryAuthType_REGISTRY_AUTH_TYPE_GCP, pb.RegistryAuthType_REGISTRY_AUTH_TYPE_UNSPECIFIED
	steps := []string{"ENV A=b", "RUN make"}
	for name, test := range map[string]struct {
		image  run.Image
		from   string // What is asked of the first layer.
		base   string // The image that the first layer stands on.
		login  pb.RegistryAuthType
		layers int
	}{
		"an image of a registry":                 {run.Image{Registry: "ubuntu:22.04"}, "FROM ubuntu:22.04", "", none, 3},
		"and steps":                              {run.Image{Registry: "ubuntu:22.04", Steps: steps}, "FROM ubuntu:22.04", "", none, 3},
		"a private registry":                     {run.Image{Registry: "r.invalid/a:1", RegistrySecret: "model-hub"}, "FROM r.invalid/a:1", "", static, 3},
		"a private registry at AWS":              {run.Image{Registry: "r.invalid/a:1", RegistrySecret: "model-hub", Login: "aws"}, "FROM r.invalid/a:1", "", aws, 3},
		"a private registry at Google":           {run.Image{Registry: "r.invalid/a:1", RegistrySecret: "model-hub", Login: "gcp"}, "FROM r.invalid/a:1", "", gcp, 3},
		"an image of Modal's by its id":          {run.Image{Modal: "im-0"}, "FROM base", "im-0", none, 2},
		"a published one by its name, and steps": {run.Image{Modal: "staging/golden:v2", Steps: steps}, "FROM base", "im-golden", none, 2},
		"steps on top of the default image":      {run.Image{Steps: steps}, "FROM ubuntu:24.04", "", none, 4},
	} {
		t.Run(name, func(t *testing.T) {
			test.image.Name = "mine"
			r := newRig(t, of(test.image))
			r.build(t, "2.330.0", 1)
			pool := somePool()
			pool.Image = test.image
			if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); err != nil {
				t.Fatal(err)
			}
			r.see(func() {
				first, last := r.images[0], strings.Join(r.layers[len(r.layers)-1], "\n")
				config := first.GetImageRegistryConfig()
				if first.GetDockerfileCommands()[0] != test.from || config.GetRegistryAuthType() != test.login || (config.GetSecretId() == "st-1") != (test.login != none) {
					t.Errorf("the first layer is %v", first)
				}
				if base := first.GetBaseImages(); (test.base == "") != (len(base) == 0) || len(base) == 1 && base[0].GetImageId() != test.base {
					t.Errorf("it stands on %v", base)
				}
				if len(r.layers) != test.layers || !strings.Contains(last, "runner-2.330.0.tar.gz") || !strings.Contains(last, "sha256sum -c -") {
					t.Errorf("%d layers, the last one %s", len(r.layers), last)
				}
				before := r.layers[len(r.layers)-2][1:]
				if test.layers == 2 {
					before = r.layers[0][1:]
				}
				want := append(slices.Clone(test.image.Steps), "ENTRYPOINT []")
				if diff := cmp.Diff(want, before[:min(len(want), len(before))]); diff != "" || !strings.Contains(before[len(before)-1], "command -v curl") {
					t.Errorf("before the runner there are %v: %s", before, diff)
				}
				if id := r.creates[0].GetDefinition().GetImageId(); id != fmt.Sprintf("im-%d", test.layers) {
					t.Errorf("the sandbox starts from %s", id)
				}
			})
		})
	}
}

func TestAnImageThatCannotBeBuiltHoldsBackOnlyWhatStartsFromIt(t *testing.T) {
	const token = "ghp_0123456789"
	wrong := run.Image{Name: "wrong", Registry: "ubuntu:22.04", Steps: []string{"RUN make"}}
	nowhere := run.Image{Name: "nowhere", Modal: "nowhere"}
	secret := run.Image{Name: "secret", Registry: "r.invalid/a:1", RegistrySecret: "nobodys"}
	r := newRig(t, of(run.Image{}, wrong, nowhere, secret))
	r.breaks = func(commands string) string {
		if strings.Contains(commands, "RUN make") {
			return strings.Repeat("compiling\n", 50) + "token " + token + "\nmake: *** No targets specified.\n"
		}
		return ""
	}
	defer r.keep(t, "2.330.0")()
	r.awaitImages(t, 1)
	poolOf := func(i run.Image, asked bool) run.Pool {
		p := somePool()
		p.Image, p.ImageAsked = i, asked
		return p
	}
	for _, test := range []struct{ image, reason string }{
		{"wrong", "make: *** No targets specified."},
		{"wrong", "build image with runner 2.330.0: RemoteError: Image build failed with the exception"},
		{"wrong", "its log ends: compiling"},
		{"wrong", "token [masked]"},
		{"nowhere", "Image 'nowhere:latest' not found"},
		{"secret", "registry_secret nobodys"},
	} {
		image := map[string]run.Image{"wrong": wrong, "nowhere": nowhere, "secret": secret}[test.image]
		eventually(t, test.image+" waits for "+test.reason, func() bool {
			err := r.fleet.Ready(poolOf(image, false))
			limited, ok := errors.AsType[*run.LimitedError](err)
			return ok && errors.Is(err, run.ErrBadImage) && errors.Is(err, run.ErrNoImage) && strings.Contains(err.Error(), test.reason) &&
				strings.HasPrefix(limited.Error(), "no image to start from yet: the build of image "+test.image+" fails, as it is defined in the pools file") &&
				len(err.Error()) < 3000
		})
		if err := r.fleet.Ready(poolOf(image, true)); errors.Is(err, run.ErrBadImage) || !errors.Is(err, run.ErrNoImage) {
			t.Errorf("a job that asked for it: %v, which must not be the pool's fault", err)
		}
	}
	if _, err := r.create(t.Context(), 1); err != nil {
		t.Errorf("from the default image: %v", err)
	}
	r.wantPaused(t, 1)
	eventually(t, "it is tried again", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.said) > 2
	})
	if log := r.log.String(); strings.Count(log, "image=wrong err=") != 1 {
		t.Errorf("what fails in the same way is told more than once: %s", log)
	}
	if log := r.log.String(); !strings.Contains(log, "image=wrong") || !strings.Contains(log, `build_log="compiling`) || strings.Contains(log, token) {
		t.Errorf("the log does not have the build's, or a token: %s", log)
	}
}

func TestALossOfOneImageLeavesTheOthersAlone(t *testing.T) {
	mine := run.Image{Name: "mine", Registry: "ubuntu:22.04"}
	r := newRig(t, of(run.Image{}, mine))
	defer r.keep(t, "2.330.0")()
	r.awaitImages(t, 2)
	pool := somePool()
	pool.Image = mine
	if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); err != nil {
		t.Fatal(err)
	}
	r.see(func() { r.gone[r.creates[0].GetDefinition().GetImageId()] = errGone })
	if _, err := r.fleet.Create(t.Context(), newRunner(2), pool, config.NewSecret(canary)); !errors.Is(err, run.ErrNoImage) || errors.Is(err, run.ErrBadImage) {
		t.Errorf("from the one that is lost: %v", err)
	}
	if _, err := r.create(t.Context(), 3); err != nil {
		t.Errorf("from the default image: %v", err)
	}
	r.awaitImages(t, 3)
	if _, err := r.fleet.Create(t.Context(), newRunner(4), pool, config.NewSecret(canary)); err != nil {
		t.Errorf("after it was made again: %v", err)
	}
}

func TestImagesComeAndGoWithThePoolsFile(t *testing.T) {
	var file atomic.Pointer[[]run.Image]
	file.Store(&[]run.Image{{}})
	r := newRig(t, func(o *fleet.Options) { o.Images = func() []run.Image { return *file.Load() } })
	defer r.keep(t, "2.330.0")()
	r.awaitImages(t, 1)
	mine := run.Image{Name: "mine", Registry: "ubuntu:22.04", Steps: []string{"RUN make"}}
	pool := somePool()
	pool.Image = mine
	if err := r.fleet.Ready(pool); err == nil || err.Error() != "no image to start from yet: image mine is being built" {
		t.Errorf("an image that is not kept yet: %v", err)
	}
	r.wantPaused(t, 0)
	file.Store(&[]run.Image{{}, mine})
	r.awaitImages(t, 2)
	if err := r.fleet.Ready(pool); err != nil {
		t.Error(err)
	}
	renamed := mine
	renamed.Name = "yours"
	pool.Image = renamed
	if err := r.fleet.Ready(pool); err != nil {
		t.Errorf("the same image under another name: %v", err)
	}
	file.Store(&[]run.Image{mine})
	eventually(t, "the default image is kept no more", func() bool { return r.fleet.Ready(somePool()) != nil })
	r.wantPaused(t, 0)
}
