package fakemodal_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/simulator/internal/fakemodal"
)

func TestImageIsBuiltOnce(t *testing.T) {
	r := newRig(t, fakemodal.Options{ImageBuildTime: 100 * time.Millisecond})
	commands := []string{"RUN apt-get update", "ENV A=b"}
	var builders sync.WaitGroup
	ids := make([]string, 10)
	errs := make([]error, len(ids))
	for i := range ids {
		builders.Go(func() { // a handle each: one that is shared and not built is not safe for concurrent use
			image, err := r.client.Images.FromRegistry("debian:13", nil).DockerfileCommands(commands, nil).Build(r.context(t), r.app, nil)
			if err == nil {
				ids[i] = image.ImageID
			}
			errs[i] = err
		})
	}
	builders.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("build: %v", err)
	}
	if got := slices.Compact(ids); len(got) != 1 || !strings.HasPrefix(got[0], "im-") {
		t.Errorf("ids %v, want one", got)
	}
	if got := r.Snapshot().ImageBuilds; got != 2 {
		t.Errorf("%d layers were built, want the base and one more", got)
	}
	other, err := r.client.Images.FromRegistry("debian:13", nil).DockerfileCommands([]string{"ENV A=c"}, nil).Build(r.context(t), r.app, nil)
	if err != nil || other.ImageID == ids[0] {
		t.Errorf("another recipe: %v, %v; want another id", other, err)
	}
	forced, err := r.client.Images.FromRegistry("debian:13", nil).
		DockerfileCommands(commands, &modal.ImageDockerfileCommandsParams{ForceBuild: true}).Build(r.context(t), r.app, nil)
	if err != nil || forced.ImageID == ids[0] {
		t.Errorf("forced build: %v, %v; want another id", forced, err)
	}
}

func TestFailedBuildIsDoneAnew(t *testing.T) {
	fail := true
	r := newRig(t, fakemodal.Options{BuildError: func(dockerfile []string) error {
		if fail && slices.Contains(dockerfile, "RUN false") {
			return errors.New("step 2 exited with 1")
		}
		return nil
	}})
	build := func() error {
		_, err := r.client.Images.FromRegistry("debian:13", nil).DockerfileCommands([]string{"RUN false"}, nil).Build(r.context(t), r.app, nil)
		return err
	}
	var remote modal.RemoteError
	if err := build(); !errors.As(err, &remote) || !strings.Contains(err.Error(), "step 2 exited with 1") {
		t.Errorf("build: %v, want a RemoteError that says why", err)
	}
	fail = false
	if err := build(); err != nil {
		t.Errorf("build again: %v", err)
	}
}

func TestPublishedImages(t *testing.T) {
	r := newRig(t, fakemodal.Options{Environments: []string{"staging"}})
	if err := r.image.Publish(r.context(t), "runner:v1", nil); err != nil {
		t.Fatalf("publish: %v", err)
	}
	if err := r.image.Publish(r.context(t), "runner", &modal.ImagePublishParams{Environment: "staging"}); err != nil {
		t.Fatalf("publish: %v", err)
	}
	for _, tt := range []struct {
		name, ref, environment string
		found                  bool
	}{
		{name: "the tag is found", ref: "runner:v1", found: true},
		{name: "another tag is not", ref: "runner:v2"},
		{name: "the default tag is not another one", ref: "runner"},
		{name: "the default tag is latest", ref: "runner:latest", environment: "staging", found: true},
		{name: "an environment may be a prefix", ref: "staging/runner", found: true},
		{name: "environments are apart", ref: "runner:v1", environment: "staging"},
		{name: "an unknown environment has none", ref: "runner:v1", environment: "production"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			image, err := r.client.Images.FromName(r.context(t), tt.ref, &modal.ImageFromNameParams{Environment: tt.environment})
			if !tt.found {
				if !errors.As(err, &modal.NotFoundError{}) {
					t.Errorf("error %v, want NotFoundError", err)
				}
				return
			}
			if err != nil || image.ImageID != r.image.ImageID {
				t.Errorf("image %v, %v; want %s", image, err, r.image.ImageID)
			}
		})
	}
	if _, err := r.client.Images.FromID(r.context(t), r.image.ImageID, nil); err != nil {
		t.Errorf("from id: %v", err)
	}
	if _, err := r.client.Images.FromID(r.context(t), "im-unknown", nil); !errors.As(err, &modal.NotFoundError{}) {
		t.Errorf("unknown id: %v, want NotFoundError", err)
	}
}

func TestNamedObjects(t *testing.T) {
	r := newRig(t, fakemodal.Options{Secrets: map[string]map[string]string{"shared": {"A": "b"}}})
	ctx := r.context(t)
	for _, tt := range []struct {
		name    string
		call    func() error
		missing bool
		text    string
	}{
		{name: "an app that exists is found", call: func() error { return second(r.client.Apps.FromName(ctx, "runners", nil)) }},
		{name: "an unknown app is missing", call: func() error { return second(r.client.Apps.FromName(ctx, "other", nil)) }, missing: true},
		{name: "an app of an unknown environment is missing", missing: true, call: func() error {
			return second(r.client.Apps.FromName(ctx, "runners", &modal.AppFromNameParams{Environment: "nowhere", CreateIfMissing: true}))
		}},
		{name: "an app needs a name", text: `name of a new app: must not be empty (got "")`, call: func() error {
			return second(r.client.Apps.FromName(ctx, "", &modal.AppFromNameParams{CreateIfMissing: true}))
		}},
		{name: "an environment is made", call: func() error {
			return second(r.client.Environments.FromName(ctx, "made", &modal.EnvironmentFromNameParams{CreateIfMissing: true}))
		}},
		{name: "an unknown environment is missing", call: func() error { return second(r.client.Environments.FromName(ctx, "unknown", nil)) }, missing: true},
		{name: "a secret is found", call: func() error { return second(r.client.Secrets.FromName(ctx, "shared", nil)) }},
		{name: "an unknown secret is missing", call: func() error { return second(r.client.Secrets.FromName(ctx, "other", nil)) }, missing: true},
		{name: "a secret without a required key is refused", text: "Secret is missing key(s): B", call: func() error {
			return second(r.client.Secrets.FromName(ctx, "shared", &modal.SecretFromNameParams{RequiredKeys: []string{"A", "B"}}))
		}},
		{name: "a volume is made", call: func() error {
			return second(r.client.Volumes.FromName(ctx, "cache", &modal.VolumeFromNameParams{CreateIfMissing: true, Version: 2}))
		}},
		{name: "a volume is found in its version", call: func() error {
			return second(r.client.Volumes.FromName(ctx, "cache", &modal.VolumeFromNameParams{Version: 2}))
		}},
		{name: "a volume is not another version", text: "exists but has version v2", call: func() error {
			return second(r.client.Volumes.FromName(ctx, "cache", &modal.VolumeFromNameParams{Version: 1}))
		}},
		{name: "an unknown volume is missing", call: func() error { return second(r.client.Volumes.FromName(ctx, "other", nil)) }, missing: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call()
			if missing := errors.As(err, &modal.NotFoundError{}); missing != tt.missing {
				t.Errorf("error %v, want NotFoundError: %v", err, tt.missing)
			}
			if !tt.missing && (err != nil) != (tt.text != "") || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %q", err, tt.text)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }
