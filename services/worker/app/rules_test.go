package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

func TestWhatTheWorkerReadsInAPoolsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(`
max_sandboxes: 200
daily_budget_usd: 50
prices: {cpu_core: 0.5, memory_gib: 0.25, gpu: {T4: 2}}
pools:
  gpu:
    {labels: [modal, gpu], cpu: 2, cpu_limit: 3, memory: 4GiB, memory_limit: 5GiB, gpu: "t4:2", timeout: 1h, idle_limit: 1m,
     max_sandboxes: 10, daily_budget_usd: 4, create_rate: 2, max: {cpu: 8, gpu: ["T4:2"]}}
  other: {labels: [other], allow: {owners: [acme], visibility: private}, network: {mode: block}}
  set:
    labels: [set]
    regions: [us-east]
    cloud: aws
    runtime: vm
    docker: true
    max: {caches: [deps]}
    cache: {size: 2GiB, volume: ours, read_only: true}
    env: {A: b}
    secrets: [s]
    oidc: true
    volumes: {v: {path: /v, read_only: true}}
    network: {mode: allow, domains: [example.com], cidrs: [10.1.0.0/16]}
  cuda: {labels: [cuda], image: cuda, max: {images: [tools, cuda]}}
  mixed: {labels: [mixed], max: {cpu: 4, gpu: [t4], regions: [us-east], images: [tools], docker: true}}
images:
  cuda: {registry: "cuda:12", registry_secret: nvcr, registry_login: aws, steps: [RUN a, RUN b]}
  tools: {modal: "tools:v2"}
repositories: [{match: acme/*, weight: 3, priority: -1, max_sandboxes: 5, daily_budget_usd: 1}]
owners: [{match: acme, max_sandboxes: 7, daily_budget_usd: 3}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := pools.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rules{Source: source, github: run.Reach{Domains: []string{"github.example"}, CIDRs: []string{"10.0.0.1/32"}}}
	limit, rate := r.Pool("gpu")
	noLimit, noRate := r.Pool("gone")
	sandbox, err := r.sandboxFor(run.Job{Pool: "gpu", Labels: []string{"modal", "gpu"}})
	if err != nil {
		t.Fatal(err)
	}
	larger, err := r.sandboxFor(run.Job{Pool: "gpu", Labels: []string{"modal", "gpu", "cpu:8", "GPU=t4"}})
	if err != nil {
		t.Fatal(err)
	}
	block, err := r.sandboxFor(run.Job{Pool: "other", Labels: []string{"other"}, Owner: "acme", Repo: "web", Private: true})
	if err != nil {
		t.Fatal(err)
	}
	kindOf := func(pool string, labels ...string) places.Sandbox {
		s := r.Sandbox(run.Job{Pool: pool, Labels: append(labels, pool)})
		return places.Sandbox{Kind: s.Kind, Rate: s.Rate}
	}
	cuda, tools := run.Image{
		Name: "cuda", Registry: "cuda:12", RegistrySecret: "nvcr", Login: "aws", Steps: []string{"RUN a", "RUN b"},
	}, run.Image{Name: "tools", Modal: "tools:v2"}
	imageFor := func(labels ...string) any {
		p, err := r.sandboxFor(run.Job{Pool: "cuda", Labels: append(labels, "cuda")})
		if err != nil {
			t.Fatal(err)
		}
		return []any{p.Image, p.ImageAsked}
	}
	set, err := r.sandboxFor(run.Job{Pool: "set", Labels: []string{"set", "cache:deps"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ got, want any }{
		"all images":                     {r.images(), []run.Image{{}, cuda, tools}},
		"the image of a pool":            {imageFor(), []any{cuda, false}},
		"one that a job asks for":        {imageFor("image:tools"), []any{tools, true}},
		"the pool's own, asked for":      {imageFor("image=CUDA"), []any{cuda, false}},
		"what a blocked sandbox reaches": {block.Reach, &run.Reach{Domains: []string{"github.example"}, CIDRs: []string{"10.0.0.1/32"}}},
		"a sandbox's setting": {set, run.Pool{
			Name: "set", CPU: 1, CPULimit: 2, MemoryMiB: 4096, MemoryLimitMiB: 8192, Timeout: 375 * time.Minute, IdleLimit: 5 * time.Minute,
			Regions: []string{"us-east"}, Cloud: "aws", Runtime: "vm", Docker: true, Cache: &run.Cache{Name: "deps", SizeMiB: 2048, Volume: "ours", ReadOnly: true}, Env: map[string]string{"A": "b"}, Secrets: []string{"s"}, OIDC: true,
			Volumes: []run.Volume{{Name: "v", Path: "/v", ReadOnly: true}},
			Reach:   &run.Reach{Domains: []string{"github.example", "example.com"}, CIDRs: []string{"10.0.0.1/32", "10.1.0.0/16"}},
		}},
		"a sandbox": {sandbox, run.Pool{
			Name: "gpu", CPU: 2, CPULimit: 3, MemoryMiB: 4096, MemoryLimitMiB: 5120, GPU: "T4:2", Timeout: time.Hour, IdleLimit: time.Minute,
		}},
		"how long it may run":  {r.Sandbox(run.Job{Pool: "gpu"}).Timeout, time.Hour},
		"how long it may take": {r.Sandbox(run.Job{Pool: "gpu"}).StartLimit, 2 * time.Minute},
		"its price":            {r.Sandbox(run.Job{Pool: "gpu"}).Price, 2*0.5 + 4*0.25 + 2*2.0},
		"its kind":             {r.Sandbox(run.Job{Pool: "gpu"}).Kind, ""},
		"that of a larger one": {r.Sandbox(run.Job{Pool: "gpu", Labels: []string{"modal", "gpu", "cpu:8", "GPU=t4"}}).Price, 8*0.5 + 4*0.25 + 1*2.0},
		"another GPU":          {kindOf("gpu", "GPU=t4"), places.Sandbox{Kind: "gpu gpu:T4"}},
		"a GPU where the pool has none": {
			kindOf("mixed", "gpu:t4", "region:us-east", "image:tools", "docker"),
			places.Sandbox{Kind: "mixed gpu:T4 image:tools region:us-east docker", Rate: 5},
		},
		"a size is no kind of its own": {kindOf("mixed", "cpu:2"), places.Sandbox{}},
		"a larger one": {larger, run.Pool{
			Name: "gpu", CPU: 8, CPULimit: 12, MemoryMiB: 4096, MemoryLimitMiB: 5120, GPU: "T4", Timeout: time.Hour, IdleLimit: time.Minute, Asked: true,
		}},
		"all":                   {r.All(), places.Limit{Max: 200, Budget: 50}},
		"a pool":                {limit, places.Limit{Max: 10, Budget: 4}},
		"its rate":              {rate, 2.0},
		"a pool that is gone":   {noLimit, places.Limit{}},
		"its rate then":         {noRate, 0.0},
		"an account":            {r.Owner("Acme"), places.Limit{Max: 7, Budget: 3}},
		"a repository":          {r.Repo("acme", "web"), places.Share{Limit: places.Limit{Max: 5, Budget: 1}, Weight: 3, Priority: -1}},
		"a job's pool":          {r.poolOf([]string{"GPU", "modal"}), "gpu"},
		"one of none":           {r.poolOf([]string{"gpu"}), ""},
		"one of two, for a run": {r.poolOf([]string{"gpu", "modal", "other"}), "gpu"},
		"names":                 {r.names(), []string{"gpu", "other", "set", "cuda", "mixed"}},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, test := range map[string]struct {
		job  run.Job
		want string
	}{
		"a pool that is gone": {run.Job{Pool: "gone", Labels: []string{"modal", "gpu"}}, `pool: must be one of the pools file (got "gone")`},
		"a job that asks for more than its pool has": {
			run.Job{Pool: "gpu", Labels: []string{"modal", "gpu", "cpu:9"}},
			`runs-on: cpu must be within what pool gpu has, 0.125 to 8 cores (got "cpu:9")`,
		},
		"a job that its pool does not take": {
			run.Job{Pool: "other", Labels: []string{"other"}, Owner: "octo", Repo: "web", Private: true},
			`pool other: allow: must name the repository or its owner (got "octo/web")`,
		},
		"a job of a public repository for a pool of private ones": {
			run.Job{Pool: "other", Labels: []string{"other"}, Owner: "acme", Repo: "web"},
			`pool other: allow: takes private repositories only (got "acme/web")`,
		},
		"a job for two pools": {
			run.Job{Pool: "gpu", Labels: []string{"other", "modal", "gpu"}},
			"runs-on: must ask for the labels of one pool (got those of gpu and of other)",
		},
	} {
		if _, err := r.sandboxFor(test.job); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}
