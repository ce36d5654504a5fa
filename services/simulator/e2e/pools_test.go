package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

const twoPools = `
pools:
  cpu: {labels: [modal], cpu: 0.5, cpu_limit: 1.5, memory: 512MiB, memory_limit: 1GiB, timeout: 20m, idle_limit: 40s}
  gpu: {labels: [modal, gpu], cpu: 2, cpu_limit: 4, memory: 2GiB, memory_limit: 3GiB, gpu: "a100-80gb:2", timeout: 1h1m1s}
  other: {labels: [other]}
  wide: {labels: [wide], cpu: 1, memory: 1GiB, max: {cpu: 4, memory: 16GiB, gpu: ["A100-80GB:2"], timeout: 12h, regions: [us-east]}}
  closed: {labels: [closed], allow: {repositories: [acme/web]}}
`

func TestASandboxGetsWhatThePoolOfItsJobSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(twoPools), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Env: []string{"POOLS_FILE=" + path}})
	small, large := task("small", 0), task("large", 0)
	large.Labels = []string{"self-hosted", "GPU", "modal", "job-1"}
	wide := task("wide", 0)
	wide.Labels = []string{"wide", "GPU=a100-80gb:2", "cpu:4", "mem-16", "timeout:2h", "region:us-east", "net:none", "job-123-4"}
	refused := map[string][]string{"torn": {"modal", "other"}, "closed": {"self-hosted", "closed"}, "greedy": {"wide", "cpu:5"}}
	s.dispatch(t.Context(), "acme/api", small)
	s.succeeds(soon, "small")
	s.dispatch(t.Context(), "acme/api", large)
	s.succeeds(soon, "large")
	s.dispatch(t.Context(), "acme/api", wide)
	s.succeeds(soon, "wide")

	found := map[string]sandbox.Record{}
	for _, made := range s.modal(t.Context()).Sandboxes {
		found[made.Tags["pool"]] = sandbox.Record{
			Backend: made.Backend, TimeoutSecs: made.TimeoutSecs, MilliCPU: made.MilliCPU, MilliCPUMax: made.MilliCPUMax,
			MemoryMiB: made.MemoryMiB, MemoryMaxMiB: made.MemoryMaxMiB, GPU: made.GPU, GPUs: made.GPUs,
			Regions: made.Regions, Network: made.Network, CIDRs: made.CIDRs,
		}
	}
	for pool, want := range map[string]sandbox.Record{
		"cpu": {Backend: sandbox.V2, TimeoutSecs: 1200, MilliCPU: 500, MilliCPUMax: 1500, MemoryMiB: 512, MemoryMaxMiB: 1024, Network: "open"},
		"gpu": {
			Backend: sandbox.V1, TimeoutSecs: 3661, MilliCPU: 2000, MilliCPUMax: 4000, MemoryMiB: 2048, MemoryMaxMiB: 3072,
			GPU: "A100-80GB", GPUs: 2, Network: "open",
		},
		"wide": {
			Backend: sandbox.V1, TimeoutSecs: 7200, MilliCPU: 4000, MilliCPUMax: 8000, MemoryMiB: 16384, MemoryMaxMiB: 32768,
			GPU: "A100-80GB", GPUs: 2, Regions: []string{"us-east"}, Network: "allowlist", CIDRs: []string{"127.0.0.1/32"},
		},
	} {
		if diff := cmp.Diff(want, found[pool]); diff != "" {
			t.Errorf("pool %s: %s", pool, diff)
		}
	}

	for name, want := range map[string]string{
		"torn":   "must ask for the labels of one pool (got those of cpu and of other)",
		"greedy": `cpu must be within what pool wide has, 0.125 to 4 cores (got "cpu:5")`,
		"closed": `pool closed: allow: must name the repository or its owner (got "acme/api")`,
	} {
		given := task(name, 0)
		given.Labels = refused[name]
		s.dispatch(t.Context(), "acme/api", given)
		told := s.concluded(strconv.FormatInt(s.job(t.Context(), name).ID, 10), "failure")
		if !strings.Contains(told.Summary, want) {
			t.Errorf("the author of %s is told %+v", name, told)
		}
	}
	if made := len(s.modal(t.Context()).Sandboxes); made != len(found) {
		t.Errorf("%d sandboxes were made", made)
	}
}

const keptPools = `
pools:
  plain: {labels: [modal], max: {docker: true, caches: [deps]}, cache: {size: 1GiB}}
  box: {labels: [box], docker: true}
`

// The steps are those of jobs: commands of Docker, of the cache, and a tool that finds its own.
func TestJobsHaveDockerAndWhatTheirRepositoryKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(keptPools), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Env: []string{"POOLS_FILE=" + path}})
	const keep = `[ ! -e "$GOCACHE/built" ] && echo x >"$GOCACHE/built" && mkdir d && echo $GITHUB_REPOSITORY >d/f && cache save deps-1 d`
	const find = `[ -e "$GOCACHE/built" ] && cache restore deps- d && [ "$(cat d/f)" = acme/api ]`
	for _, job := range []struct {
		name, repo, run string
		labels          []string
		fails           bool
	}{
		{name: "contained", repo: "acme/api", run: "docker run --rm alpine true", labels: []string{"modal", "docker"}},
		{name: "boxed", repo: "acme/api", run: "docker version", labels: []string{"box"}},
		{name: "not-contained", repo: "acme/api", run: "docker run --rm alpine true", labels: []string{"modal"}, fails: true},
		{name: "keeps", repo: "acme/api", run: keep, labels: []string{"modal"}},
		{name: "finds", repo: "acme/api", run: find, labels: []string{"modal"}},
		{name: "keeps-other", repo: "acme/web", run: keep, labels: []string{"modal"}},
		{name: "keeps-more", repo: "acme/api", run: keep, labels: []string{"modal", "cache=DEPS"}},
	} {
		s.dispatch(t.Context(), job.repo, world.JobSpec{Name: job.name, Labels: job.labels, Steps: []world.StepSpec{{Run: job.run}}})
		if !job.fails {
			s.succeeds(soon, job.name)
			s.leavesNothing(soon) // Then what it kept is committed.
			continue
		}
		within(t, soon, "job "+job.name+" ends", func(ctx context.Context) bool { return s.job(ctx, job.name).Status == world.Completed })
		said := ""
		for _, step := range s.job(t.Context(), job.name).Steps {
			said += step.Output
		}
		if !strings.Contains(said, "docker: not in this sandbox. Ask for it by the label docker") {
			t.Errorf("job %s was told %q", job.name, said)
		}
	}
	found := map[string]sandbox.Record{}
	for _, made := range s.modal(t.Context()).Sandboxes {
		for i := range made.Mounts {
			made.Mounts[i].VolumeID = ""
		}
		for _, j := range s.github(t.Context()).Jobs {
			if strconv.FormatInt(j.ID, 10) == made.Tags["job-id"] {
				found[j.Name] = sandbox.Record{Runtime: made.Runtime, Mounts: made.Mounts}
			}
		}
	}
	mount := func(path string) []sandbox.Mount { return []sandbox.Mount{{Path: "/cache", SubPath: path}} }
	for name, want := range map[string]sandbox.Record{
		"contained": {Runtime: "vm", Mounts: mount("/acme/api/default")}, "boxed": {Runtime: "vm"},
		"not-contained": {Mounts: mount("/acme/api/default")}, "finds": {Mounts: mount("/acme/api/default")},
		"keeps-other": {Mounts: mount("/acme/web/default")}, "keeps-more": {Mounts: mount("/acme/api/deps")},
	} {
		if diff := cmp.Diff(want, found[name]); diff != "" {
			t.Errorf("job %s: %s", name, diff)
		}
	}
}

const setPools = `
pools:
  cpu:
    labels: [modal]
    regions: [us-east, eu]
    cloud: aws
    runtime: vm
    env: {SHOWN: to all}
    secrets: [hub]
    volumes: {models: {path: /models, read_only: true}}
    network: {mode: allow, domains: ["*.example.com"], cidrs: [203.0.113.0/24]}
  gpu:
    labels: [modal, gpu]
    gpu: T4
    regions: [us]
    cloud: gcp
    runtime: gvisor
    docker: true
    oidc: true
    env: {SHOWN: to all}
    secrets: [hub]
    volumes: {models: {path: /m}}
    cache: {size: 1GiB}
    network: {mode: block}
  missing: {labels: [missing], secrets: [gone]}
`

func TestASandboxIsWhereThePoolOfItsJobSaysAndReachesNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(setPools), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Env: []string{"POOLS_FILE=" + path}})
	made := fakemodal.Objects{Secrets: map[string]map[string]string{"hub": {"HUB_TOKEN": "t"}}, Volumes: []string{"models"}}
	if err := s.Simulator.Make(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	cpu, gpu, missing := task("cpu", 0), task("gpu", 0), task("missing", 0)
	gpu.Labels, missing.Labels = []string{"modal", "gpu"}, []string{"missing"}
	s.dispatch(t.Context(), "acme/api", cpu)
	s.succeeds(soon, "cpu")
	s.dispatch(t.Context(), "acme/api", gpu)
	s.succeeds(soon, "gpu")

	found := map[string]sandbox.Record{}
	for _, made := range s.modal(t.Context()).Sandboxes {
		for i := range made.Mounts {
			made.Mounts[i].VolumeID = ""
		}
		found[made.Tags["pool"]] = sandbox.Record{
			Regions: made.Regions, Cloud: made.Cloud, Runtime: made.Runtime, Options: made.Options, Mounts: made.Mounts, Network: made.Network,
			Domains: made.Domains, CIDRs: made.CIDRs, EnvKeys: made.EnvKeys,
		}
	}
	variables := []string{"ACTIONS_RUNNER_INPUT_JITCONFIG", "HUB_TOKEN", "RUNNER_IDLE_SECONDS", "RUNNER_TRUSTED", "SHOWN"}
	// The simulated GitHub has no name, only the address of this machine.
	for pool, want := range map[string]sandbox.Record{
		"cpu": {
			Regions: []string{"us-east", "eu"}, Cloud: "aws", Runtime: "vm", Mounts: []sandbox.Mount{{Path: "/models", ReadOnly: true}},
			Network: "allowlist", Domains: []string{"*.example.com"}, CIDRs: []string{"127.0.0.1/32", "203.0.113.0/24"}, EnvKeys: variables,
		},
		"gpu": {
			Regions: []string{"us"}, Cloud: "gcp", Runtime: "gvisor", Options: map[string]string{"enable_docker": "true"},
			Mounts:  []sandbox.Mount{{Path: "/cache", SubPath: "/acme/api/default"}, {Path: "/m"}},
			Network: "allowlist", CIDRs: []string{"127.0.0.1/32"},
			EnvKeys: slices.Sorted(slices.Values(append(variables, "MODAL_IDENTITY_TOKEN", "RUNNER_CACHE", "RUNNER_CACHE_MIB", "RUNNER_DOCKER"))),
		},
	} {
		if diff := cmp.Diff(want, found[pool]); diff != "" {
			t.Errorf("pool %s: %s", pool, diff)
		}
	}

	s.dispatch(t.Context(), "acme/api", missing)
	id := strconv.FormatInt(s.job(t.Context(), "missing").ID, 10)
	within(t, soon, "the job waits for what its pool lacks", func(ctx context.Context) bool {
		return strings.Contains(string(s.operator(ctx, "jobs")), id) &&
			strings.Contains(string(s.operator(ctx, "explain", id)), `secret: must exist at Modal (got "gone")`)
	})
	within(t, soon, "nothing more of its pool is tried", func(ctx context.Context) bool {
		return strings.Contains(string(s.operator(ctx, "places")), "launches of pool missing do not start")
	})
	if err := s.Simulator.Make(t.Context(), fakemodal.Objects{Secrets: map[string]map[string]string{"gone": {"A": "b"}}}); err != nil {
		t.Fatal(err)
	}
	s.succeeds(soon, "missing")
}
