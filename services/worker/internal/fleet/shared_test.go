package fleet_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/builds"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

// sharedRecord is where workers put on record what is built.
func sharedRecord(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := natstest.Start(t).JetStream(t)
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	return js
}

// sharing makes the worker of that id one of those that share the record.
func sharing(js jetstream.JetStream, id string) func(*fleet.Options) {
	return func(o *fleet.Options) { o.Builds = builds.New(js, id, slog.New(slog.DiscardHandler)) }
}

func TestAnImageIsBuiltOnceForAllWorkersAndALostOneOnceMore(t *testing.T) {
	js := sharedRecord(t)
	first := newRig(t, sharing(js, "a"))
	second := newRigOf(t, first.fakeModal, sharing(js, "b"))
	ready := func(r *rig) func() bool { return func() bool { return r.fleet.Ready(somePool()) == nil } }
	defer first.keep(t, "2.330.0")()
	defer second.keep(t, "2.330.0")()
	eventually(t, "both have the image", func() bool { return ready(first)() && ready(second)() })
	layers := func(want int) {
		t.Helper()
		first.see(func() {
			if len(first.layers) != want {
				t.Errorf("%d layers were built, want %d", len(first.layers), want)
			}
		})
	}
	layers(layersOfAnImage)
	create := func(r *rig, attempt int) (image string) {
		t.Helper()
		if _, err := r.fleet.Create(t.Context(), newRunner(attempt), somePool(), config.NewSecret(canary)); err != nil {
			t.Fatal(err)
		}
		first.see(func() { image = first.creates[len(first.creates)-1].GetDefinition().GetImageId() })
		return image
	}
	if one, two := create(first, 1), create(second, 2); one != "im-3" || two != "im-3" {
		t.Errorf("sandboxes start from %s and %s", one, two)
	}
	first.see(func() { first.gone["im-3"] = errGone })
	for _, r := range []*rig{first, second} {
		if _, err := r.fleet.Create(t.Context(), newRunner(3), somePool(), config.NewSecret(canary)); err == nil {
			t.Error("created from an image that is gone")
		}
	}
	eventually(t, "both have another image", func() bool { return ready(first)() && ready(second)() })
	layers(2 * layersOfAnImage)
	if one, two := create(first, 4), create(second, 5); one != "im-6" || two != "im-6" {
		t.Errorf("sandboxes start from %s and %s", one, two)
	}
	if log := first.log.String() + second.log.String(); strings.Count(log, `msg="image built" image=default `) != 2 ||
		strings.Count(log, `msg="image found" image=default `) != 2 {
		t.Errorf("the logs: %s", log)
	}
	// Another worker that comes while Modal has lost what is on record drops that, and builds.
	first.see(func() { first.gone["im-6"] = errGone })
	third := newRigOf(t, first.fakeModal, sharing(js, "c"))
	defer third.keep(t, "2.330.0")()
	eventually(t, "the third one has an image", ready(third))
	layers(3 * layersOfAnImage)
	if got := create(third, 6); got != "im-9" {
		t.Errorf("its sandbox starts from %s", got)
	}
	record, err := builds.New(js, "d", slog.New(slog.DiscardHandler)).Read(t.Context(), fleet.Key(run.Image{}))
	if err != nil || record.ID != "im-9" || record.Runner != "2.330.0" {
		t.Errorf("on record is %+v, %v", record, err)
	}
}

func TestOfALostAppNoImageIsBuiltAgain(t *testing.T) {
	js := sharedRecord(t)
	first := newRig(t, sharing(js, "a"))
	second := newRigOf(t, first.fakeModal, sharing(js, "b"))
	workers := []*rig{first, second}
	ready := func() bool {
		return first.fleet.Ready(somePool()) == nil && second.fleet.Ready(somePool()) == nil
	}
	for _, r := range workers {
		defer r.keep(t, "2.330.0")()
	}
	eventually(t, "both have the image", ready)
	first.see(func() { first.gone["ap-1"] = errGone })
	for n, r := range workers {
		if _, err := r.create(t.Context(), n+1); meaning(err) != "no image" {
			t.Errorf("created in an App that is gone: %v", err)
		}
	}
	eventually(t, "both have the image in another App", ready)
	for n, r := range workers {
		if _, err := r.create(t.Context(), n+3); err != nil {
			t.Errorf("in the new App: %v", err)
		}
	}
	first.see(func() {
		if len(first.layers) != layersOfAnImage || first.creates[0].GetAppId() != "ap-2" {
			t.Errorf("%d layers were built, want %d; the sandbox is in %s", len(first.layers), layersOfAnImage, first.creates[0].GetAppId())
		}
	})
}

func TestWhyAnImageIsLackingIsOnRecordThoughNoBuildOfItBegan(t *testing.T) {
	js := sharedRecord(t)
	nowhere := run.Image{Name: "nowhere", Modal: "nowhere"}
	r := newRig(t, func(o *fleet.Options) {
		of(nowhere)(o)
		sharing(js, "a")(o)
	})
	defer r.keep(t, "2.330.0")()
	book := builds.New(js, "b", slog.New(slog.DiscardHandler))
	eventually(t, "it is known why there is none", func() bool {
		record, err := book.Read(t.Context(), fleet.Key(nowhere))
		return err == nil && record.Bad && record.Name == "nowhere" && strings.Contains(record.Failure, "Image 'nowhere:latest' not found")
	})
	id, err := book.Once(t.Context(), run.Build{Key: fleet.Key(nowhere), Recipe: "r"}, func(context.Context) (string, error) { return "im-1", nil })
	if err != nil || id != "im-1" {
		t.Fatalf("once there is what it is made of: %q, %v", id, err)
	}
	book.Failed(t.Context(), fleet.Key(nowhere), "nowhere", &run.BuildError{Text: "looked for too early"})
	if record, err := book.Read(t.Context(), fleet.Key(nowhere)); err != nil || record.ID != "im-1" || record.Failure != "" {
		t.Errorf("one that is there is on record as %+v, %v", record, err)
	}
}
