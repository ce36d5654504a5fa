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
    env: {A: b}
    secrets: [s]
    volumes: {v: {path: /v, read_only: true}}
    network: {mode: allow, domains: [example.com], cidrs: [10.1.0.0/16]}
repositories: [{match: acme/*, weight: 3, priority: -1, max_sandboxes: 5, daily_budget_usd: 1}]
owners: [{match: acme, max_sandboxes: 7, daily_budget_usd: 3}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := pools.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rules{source, run.Reach{Domains: []string{"github.example"}, CIDRs: []string{"10.0.0.1/32"}}}
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
	set, err := r.sandboxFor(run.Job{Pool: "set", Labels: []string{"set"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ got, want any }{
		"what a blocked sandbox reaches": {block.Reach, &run.Reach{Domains: []string{"github.example"}, CIDRs: []string{"10.0.0.1/32"}}},
		"a sandbox's setting": {set, run.Pool{
			Name: "set", CPU: 1, CPULimit: 2, MemoryMiB: 4096, MemoryLimitMiB: 8192, Timeout: 375 * time.Minute, IdleLimit: 5 * time.Minute,
			Regions: []string{"us-east"}, Cloud: "aws", Runtime: "vm", Env: map[string]string{"A": "b"}, Secrets: []string{"s"},
			Volumes: []run.Volume{{Name: "v", Path: "/v", ReadOnly: true}},
			Reach:   &run.Reach{Domains: []string{"github.example", "example.com"}, CIDRs: []string{"10.0.0.1/32", "10.1.0.0/16"}},
		}},
		"a sandbox": {sandbox, run.Pool{
			Name: "gpu", CPU: 2, CPULimit: 3, MemoryMiB: 4096, MemoryLimitMiB: 5120, GPU: "T4:2", Timeout: time.Hour, IdleLimit: time.Minute,
		}},
		"its price":            {r.Price(run.Job{Pool: "gpu"}), 2*0.5 + 4*0.25 + 2*2.0},
		"that of a larger one": {r.Price(run.Job{Pool: "gpu", Labels: []string{"modal", "gpu", "cpu:8", "GPU=t4"}}), 8*0.5 + 4*0.25 + 1*2.0},
		"a larger one": {larger, run.Pool{
			Name: "gpu", CPU: 8, CPULimit: 12, MemoryMiB: 4096, MemoryLimitMiB: 5120, GPU: "T4", Timeout: time.Hour, IdleLimit: time.Minute,
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
		"names":                 {r.names(), []string{"gpu", "other", "set"}},
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
