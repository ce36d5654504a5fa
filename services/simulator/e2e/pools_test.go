package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
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
  gpu: {labels: [modal, gpu], gpu: T4, regions: [us], runtime: gvisor, env: {SHOWN: to all}, secrets: [hub], volumes: {models: {path: /m}}, network: {mode: block}}
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
			Regions: made.Regions, Cloud: made.Cloud, Runtime: made.Runtime, Mounts: made.Mounts, Network: made.Network,
			Domains: made.Domains, CIDRs: made.CIDRs, EnvKeys: made.EnvKeys,
		}
	}
	variables := []string{"ACTIONS_RUNNER_INPUT_JITCONFIG", "HUB_TOKEN", "RUNNER_IDLE_SECONDS", "SHOWN"}
	// The simulated GitHub has no name, only the address of this machine.
	for pool, want := range map[string]sandbox.Record{
		"cpu": {
			Regions: []string{"us-east", "eu"}, Cloud: "aws", Runtime: "vm", Mounts: []sandbox.Mount{{Path: "/models", ReadOnly: true}},
			Network: "allowlist", Domains: []string{"*.example.com"}, CIDRs: []string{"127.0.0.1/32", "203.0.113.0/24"}, EnvKeys: variables,
		},
		"gpu": {
			Regions: []string{"us"}, Runtime: "gvisor", Mounts: []sandbox.Mount{{Path: "/m"}},
			Network: "allowlist", CIDRs: []string{"127.0.0.1/32"}, EnvKeys: variables,
		},
	} {
		if diff := cmp.Diff(want, found[pool]); diff != "" {
			t.Errorf("pool %s: %s", pool, diff)
		}
	}

	s.dispatch(t.Context(), "acme/api", missing)
	told := s.concluded(strconv.FormatInt(s.job(t.Context(), "missing").ID, 10), "failure")
	if want := `secret: must exist at Modal (got "gone")`; !strings.Contains(told.Summary, want) {
		t.Errorf("the author of the job is told %+v", told)
	}
}
