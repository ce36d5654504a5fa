package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

const warmFile = `
prices: {cpu_core: 0.5, memory_gib: 0.25, gpu: {T4: 2}}
pools:
  cold: {labels: [cold]}
  none: {labels: [none], warm: {count: 0}}
  quick:
    labels: [quick]
    timeout: 1h
    idle_limit: 1m
    env: {A: b, C: d}
    network: {mode: block}
    volumes: {v: {path: /v}}
    allow: {owners: [octo]}
    untrusted: forks
    distrust_public: true
    max: {cpu: 4, memory: 8GiB, timeout: 2h, gpu: [t4], regions: [eu], images: [tools, default], docker: true}
    warm: {count: 2, days: [mon], hours: "08:00-18:00"}
  forks: {labels: [forks], untrusted: allow, network: {mode: block}, max: {docker: true}, warm: {count: 1}}
images: {tools: {modal: "tools:v2"}}
`

func TestAPoolKeepsSandboxesWarmAsTheFileSays(t *testing.T) {
	t.Parallel()
	reach := &run.Reach{Domains: []string{"github.example"}, CIDRs: []string{"10.0.0.1/32"}}
	r := rulesOf(t, warmFile)
	r.github = *reach
	monday := time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC)
	got := r.warmPools(monday)
	quick := run.Pool{
		Name: "quick", CPU: 1, CPULimit: 2, MemoryMiB: 4096, MemoryLimitMiB: 8192, Timeout: time.Hour, IdleLimit: time.Minute,
		Env: map[string]string{"A": "b", "C": "d"}, Volumes: []run.Volume{{Name: "v", Path: "/v"}}, OnlyPrivate: true, Reach: reach,
	}
	forks := run.Pool{
		Name: "forks", CPU: 1, CPULimit: 2, MemoryMiB: 4096, MemoryLimitMiB: 8192, Timeout: 375 * time.Minute, IdleLimit: 5 * time.Minute,
		Untrusted: true, Reach: reach,
	}
	want := []sweep.WarmPool{
		{Want: 2, Pool: quick, Ask: places.Ask{Pool: "quick", Sandbox: places.Sandbox{
			Price: 0.5 + 4*0.25, Timeout: 3 * time.Hour, StartLimit: 2 * time.Minute, Spec: specOf(quick),
		}}},
		{Want: 1, Pool: forks, Ask: places.Ask{Pool: "forks", Sandbox: places.Sandbox{
			Price: 0.5 + 4*0.25, Timeout: 495 * time.Minute, StartLimit: 6 * time.Minute, Spec: specOf(forks),
		}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	want[0].Want = 0
	if diff := cmp.Diff(want, r.warmPools(monday.Add(-time.Nanosecond))); diff != "" {
		t.Errorf("before its hours: %s", diff)
	}
	if of := rulesOf(t, "{}").warmPools(monday); len(of) > 0 {
		t.Errorf("a file that says nothing of it: %+v", of)
	}
}

// A job that is given a warm sandbox has just what it would have had without.
func TestAJobCanHaveAWarmSandboxIfItsOwnWouldBeTheSame(t *testing.T) {
	t.Parallel()
	r := rulesOf(t, warmFile)
	specs := map[string]string{}
	for _, w := range rulesOf(t, warmFile).warmPools(time.Now()) { // Those of another worker.
		specs[w.Ask.Pool] = w.Ask.Spec
	}
	if specs["quick"] == "" || specs["quick"] == specs["forks"] || len(specs["quick"]) > 16 {
		t.Fatalf("%v", specs)
	}
	job := func(pool string, labels ...string) run.Job {
		return run.Job{Pool: pool, Labels: labels, Owner: "octo", Repo: "web", Private: true}
	}
	fork := func(pool string, labels ...string) run.Job {
		j := job(pool, labels...)
		j.Untrusted = "its code is that of stranger/web"
		return j
	}
	stranger := job("quick", "quick")
	stranger.Owner = "other"
	for name, test := range map[string]struct {
		job  run.Job
		want string
	}{
		"its labels are the pool's":                {job("quick", "quick"), specs["quick"]},
		"and others that mean nothing":             {job("quick", "self-hosted", "Quick", "job-123-4", "gpu-runner"), specs["quick"]},
		"it asks for what the pool has":            {job("quick", "quick", "cpu:1", "mem:4", "timeout:1h", "net:none", "image:default"), specs["quick"]},
		"it asks for more cores":                   {job("quick", "quick", "cpu:2"), ""},
		"for less":                                 {job("quick", "quick", "cpu:0.5"), ""},
		"for memory":                               {job("quick", "quick", "mem:8"), ""},
		"for time":                                 {job("quick", "quick", "timeout:30m"), ""},
		"for a GPU":                                {job("quick", "quick", "gpu:t4"), ""},
		"for a region":                             {job("quick", "quick", "region-eu"), ""},
		"for an image":                             {job("quick", "quick", "image=tools"), ""},
		"for Docker":                               {job("quick", "quick", "docker"), ""},
		"for more than it may":                     {job("quick", "quick", "cpu:5"), ""},
		"its pool does not take it":                {stranger, ""},
		"it is untrusted":                          {fork("quick", "quick"), ""},
		"it was sent elsewhere for that":           {fork("forks", "quick"), specs["forks"]},
		"and gets as much as there is":             {fork("forks", "quick", "cpu:4", "mem:8", "timeout:10h"), specs["forks"]},
		"and chooses something":                    {fork("forks", "quick", "docker"), ""},
		"and can't have what it asks for":          {fork("forks", "quick", "gpu:t4"), ""},
		"it is trusted, where untrusted ones are":  {job("forks", "forks"), specs["forks"]},
		"its pool has none":                        {job("cold", "cold"), ""},
		"or none now":                              {job("none", "none"), ""},
		"its pool is gone":                         {job("gone", "quick"), ""},
		"it asks for two pools":                    {job("quick", "quick", "cold"), ""},
		"it asks for a machine that Modal has not": {job("quick", "quick", "arm64"), ""},
	} {
		if got := r.Sandbox(test.job).Spec; got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// A sandbox that waits has been created already: where all jobs had one, no newer release of the runner would ever be tried.
func TestAJobHasANewSandboxIfThatIsToTryARunnerVersion(t *testing.T) {
	t.Parallel()
	r, due := rulesOf(t, "images: {tools: {modal: a}}\npools: {q: {labels: [q], warm: {count: 1}}, t: {labels: [t], image: tools, warm: {count: 1}}}"), "tools"
	r.trialDue = func(i run.Image) bool { return i.Name == due }
	of := func(pool string) string {
		return r.Sandbox(run.Job{Pool: pool, Labels: []string{pool}, Private: true}).Spec
	}
	warm := r.warmPools(time.Now())
	if of("t") != "" || of("q") != warm[0].Ask.Spec || warm[1].Ask.Spec == "" {
		t.Errorf("while it is to be tried: %q, %q, %+v", of("t"), of("q"), warm)
	}
	due = "none"
	if of("t") != warm[1].Ask.Spec {
		t.Errorf("once it is tried: %q, want %q", of("t"), warm[1].Ask.Spec)
	}
}

// What a sandbox is told apart by is all that is asked of Modal for it, and nothing else.
func TestAnotherDefinitionOfAPoolIsAnotherSpec(t *testing.T) {
	t.Parallel()
	const header = "images: {tools: {modal: \"%\"}}\npools: {q: {labels: [q], warm: {count: 1}, "
	seen := map[string]string{}
	for _, fields := range []string{
		"image: tools", "cpu: 2", "cpu_limit: 3", "memory: 2GiB", "memory_limit: 9GiB", "gpu: T4", "timeout: 1h", "idle_limit: 1m", "distrust_public: true",
		"untrusted: allow, network: {mode: block}", "regions: [eu]", "cloud: aws", "runtime: vm", "docker: true", "env: {A: b}", "env: {A: c}", "secrets: [s]",
		"oidc: true", "volumes: {v: {path: /v}}", "volumes: {v: {path: /w}}", "volumes: {v: {path: /v, read_only: true}}", "network: {mode: block}",
		"network: {mode: allow, domains: [example.com]}", "network: {mode: allow, cidrs: [10.0.0.0/8]}",
	} {
		spec := rulesOf(t, strings.Replace(header, "%", "a", 1)+fields+"}}").warmPools(time.Now())[0].Ask.Spec
		if other, twice := seen[spec]; twice {
			t.Errorf("%s is the same as %s", fields, other)
		}
		seen[spec] = fields
	}
	image := rulesOf(t, strings.Replace(header, "%", "b", 1)+"image: tools}}").warmPools(time.Now())[0].Ask.Spec
	if _, same := seen[image]; same {
		t.Error("another image under the same name is the same")
	}
	plain := rulesOf(t, "pools: {q: {labels: [q], warm: {count: 1}}}").warmPools(time.Now())[0].Ask.Spec
	same := rulesOf(t, `pools: {q: {labels: [q, r], warm: {count: 9, hours: "08:00-09:00"}, max_sandboxes: 10, max: {cpu: 4}, create_rate: 1}}`)
	if got := same.warmPools(time.Now())[0].Ask.Spec; got != plain {
		t.Error("labels, limits and how many are warm make another one")
	}
}

func TestWhatAFileSaysOfWarmSandboxesIsInForceAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pools: {q: {labels: [q], warm: {count: 1}}}")
	synctest.Test(t, func(t *testing.T) {
		source, err := pools.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, job := rules{Source: source, trialDue: func(run.Image) bool { return false }}, run.Job{Pool: "q", Labels: []string{"q"}}
		first := r.warmPools(time.Now())[0]
		write("pools: {q: {labels: [q], cpu: 2, warm: {count: 10}}}")
		time.Sleep(time.Second)
		second := r.warmPools(time.Now())[0]
		if first.Want != 1 || second.Want != 10 || second.Pool.CPU != 2 || second.Ask.Spec == first.Ask.Spec || r.Sandbox(job).Spec != second.Ask.Spec {
			t.Errorf("first %+v, then %+v", first, second)
		}
		write("pools: {q: {labels: [q]}}")
		time.Sleep(time.Second)
		if none := r.warmPools(time.Now()); len(none) > 0 || r.Sandbox(job).Spec != "" {
			t.Errorf("none, then %+v", none)
		}
	})
}
