package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/actionsrunner"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/catalog"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

const ownImages = `
images:
  tools: {registry: "registry.example/tools:1", registry_secret: pull, steps: [RUN install tools]}
  wrong: {steps: [RUN make broken]}
pools:
  default: {labels: [modal], max: {images: [tools, default]}}
  wrong: {labels: [wrong], image: wrong}
`

func TestImagesAreBuiltAheadAndOneThatCannotBeHoldsBackItsOwnJobsOnly(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "pools.yaml"), filepath.Join(dir, "next.yaml")
	for file, text := range map[string]string{path: "{}", next: ownImages} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, rig.Options{Workers: 2, Env: []string{"POOLS_FILE=" + path}})
	s.do(s.Simulator.Make(t.Context(), fakemodal.Objects{
		Secrets:      map[string]map[string]string{"pull": {"REGISTRY_USERNAME": "acme", "REGISTRY_PASSWORD": "pass"}},
		Registries:   map[string]catalog.Login{"registry.example": {Username: "acme", Password: "pass"}},
		FailingSteps: map[string]string{"RUN make broken": "make: *** No rule to make target 'broken'.\n"},
	}))

	built, err := s.RunWorker(t.Context(), 0, []string{"POOLS_FILE=" + next}, "images", "build")
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(built, "1 of 3 images not built\n") ||
		!strings.Contains(built, "wrong | make: *** No rule to make target 'broken'.\nwrong not built: build image with runner ") {
		t.Errorf("images build: %v\n%s", err, built)
	}
	ids := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^(\w+) (im-\w+)$`).FindAllStringSubmatch(built, -1) {
		ids[match[1]] = match[2]
	}
	listed, err := s.RunWorker(t.Context(), 1, []string{"POOLS_FILE=" + next}, "images", "list")
	if err != nil || !regexp.MustCompile(`(?m)^tools +built +\S+ +\S+ +`+ids["tools"]+`$`).MatchString(listed) ||
		!regexp.MustCompile(`(?m)^wrong +failed +\S+ +\S+ +-$`).MatchString(listed) || !strings.Contains(listed, "wrong: make: *** No rule") {
		t.Errorf("images list: %v\n%s", err, listed)
	}
	if !strings.Contains(listed, "runner "+actionsrunner.Version+": in use, published ") {
		t.Errorf("images list says nothing of the runner:\n%s", listed)
	}
	if again, err := s.RunWorker(t.Context(), 0, nil, "images", "try"); err != nil || again != "no version of the runner is refused\n" {
		t.Errorf("images try: %q, %v", again, err)
	}

	s.do(os.Rename(next, path))
	plain, tooled, broken := task("plain", 0), task("tooled", 0), task("broken", 0)
	tooled.Labels, broken.Labels = []string{"self-hosted", "modal", "Image=tools"}, []string{"wrong"}
	eventually(t, "both workers have read the file", func(context.Context) bool {
		return strings.Count(s.log("worker-1")+s.log("worker-2"), `"pools file reloaded"`) == 2
	})
	s.dispatch(t.Context(), "acme/api", plain, tooled, broken)
	s.succeeds(soon, "plain", "tooled")
	state := s.modal(t.Context())
	for _, job := range []struct{ label, image string }{{"plain", "default"}, {"tooled", "tools"}} {
		made := slices.ContainsFunc(state.Sandboxes, func(r sandbox.Record) bool { return r.ImageID == ids[job.image] && r.ImageID != "" })
		if !made {
			t.Errorf("no sandbox started from image %s of job %s: %+v", job.image, job.label, ids)
		}
	}
	chain := layersBelow(state.Images, ids["tools"])
	for _, want := range []string{"FROM registry.example/tools:1", "RUN install tools", "sha256sum -c -"} {
		if !strings.Contains(chain, want) {
			t.Errorf("the image lacks %q:\n%s", want, chain)
		}
	}
	if regexp.MustCompile(`"image (is being )?built"[^\n]*"image":"tools"`).MatchString(s.log("worker-1") + s.log("worker-2")) {
		t.Error("a worker built what was built ahead")
	}
	id := strconv.FormatInt(s.job(t.Context(), "broken").ID, 10)
	eventually(t, "the job of the image that can't be built knows why it waits", func(ctx context.Context) bool {
		return strings.Contains(string(s.operator(ctx, "jobs")), id) &&
			strings.Contains(string(s.operator(ctx, "explain", id)), "make: *** No rule to make target 'broken'.")
	})
	eventually(t, "the breaker of its pool is open", func(ctx context.Context) bool {
		return strings.Contains(string(s.operator(ctx, "places")), "launches of pool wrong do not start")
	})
}

// layersBelow is all that the image and the layers that it stands on were made of.
func layersBelow(layers []catalog.ImageRecord, id string) (all string) {
	for _, layer := range slices.Backward(layers) {
		if layer.ID == id {
			all, id = strings.Join(layer.Dockerfile, "\n")+"\n"+all, layer.Base
		}
	}
	return all
}
