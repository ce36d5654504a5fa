package pools_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
)

func TestAFileSaysWhatIsInIt(t *testing.T) {
	t.Parallel()
	got, err := pools.Load("pools.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	want := &pools.File{
		Limit:  pools.Limit{MaxSandboxes: 200, DailyBudget: 50},
		Prices: pools.Default().Prices,
		Images: []pools.Image{
			{Name: "ffmpeg", Steps: []string{"RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg"}},
			{Name: "cuda", Registry: "nvcr.io/nvidia/cuda:12.4.1-devel-ubuntu22.04", RegistrySecret: "nvcr"},
			{Name: "golden", Modal: "staging/golden:v2"},
		},
		Pools: []pools.Pool{
			{
				Name: "default", Labels: []string{"modal"}, CPU: 2, CPULimit: 4, MemoryMiB: 8192, MemoryLimitMiB: 16384,
				Timeout: 6*time.Hour + 15*time.Minute, IdleLimit: 5 * time.Minute, Limit: pools.Limit{MaxSandboxes: 100}, Image: pools.DefaultImage,
				Max: pools.Max{
					CPU: 16, MemoryMiB: 65536, GPUs: []string{"T4:2", "L4"}, Timeout: 12 * time.Hour, Regions: []string{"us-east", "eu"},
					Docker: true, Caches: []string{"deps"}, Images: []string{"ffmpeg", "golden"},
				},
				Setting: pools.Setting{
					Cache:   pools.Cache{Name: pools.DefaultCache, SizeMiB: 10240},
					Network: pools.Network{Mode: pools.NetworkOpen},
				},
				Untrusted: "forks", DistrustPublic: true,
			},
			{
				Name: "gpu", Labels: []string{"modal", "gpu"}, CPU: 4, CPULimit: 8, MemoryMiB: 32768, MemoryLimitMiB: 65536, GPU: "A100-80GB:2",
				Timeout: 2 * time.Hour, IdleLimit: 2 * time.Minute, Limit: pools.Limit{MaxSandboxes: 10, DailyBudget: 40}, CreateRate: 2,
				Image: "cuda",
				Allow: pools.Admission{
					Repositories: []wire.RepoPattern{"acme/web"}, Owners: []string{"acme-research"}, Visibility: pools.OnlyPrivate,
				},
				Setting: pools.Setting{
					Regions: []string{"us-east"}, Runtime: "gvisor", Env: map[string]string{"HF_HOME": "/models"}, Secrets: []string{"model-hub"},
					Volumes: []pools.Volume{{Name: "models", Path: "/models", ReadOnly: true}},
					Network: pools.Network{
						Mode: pools.NetworkAllow, Domains: []string{"huggingface.co", "*.huggingface.co"}, CIDRs: []string{"203.0.113.0/24"},
					},
				},
			},
			{
				Name: "quick", Labels: []string{"modal-quick"}, CPU: 1, CPULimit: 2, MemoryMiB: 4096, MemoryLimitMiB: 8192,
				Timeout: 6*time.Hour + 15*time.Minute, IdleLimit: 5 * time.Minute, Image: pools.DefaultImage,
				Warm:    pools.Warm{Count: 2, Days: []string{"mon", "tue", "wed", "thu", "fri"}, Hours: "08:00-18:00", Zone: berlin},
				Setting: pools.Setting{Network: pools.Network{Mode: pools.NetworkOpen}},
			},
			{
				Name: "forks", Labels: []string{"modal-forks"}, CPU: 1, CPULimit: 2, MemoryMiB: 4096, MemoryLimitMiB: 8192,
				Timeout: 6*time.Hour + 15*time.Minute, IdleLimit: 5 * time.Minute, Image: pools.DefaultImage, Untrusted: pools.AllowsUntrusted,
				Setting: pools.Setting{Network: pools.Network{Mode: pools.NetworkBlock}},
			},
		},
		Repositories: []pools.Repository{
			{Match: "acme/web", Share: pools.Share{Weight: 2, Priority: 1, Limit: pools.Limit{MaxSandboxes: 50, DailyBudget: 5}}},
			{Match: "acme/*", Share: pools.Share{Weight: 1, Limit: pools.Limit{MaxSandboxes: 20}}},
		},
		Owners: []pools.Owner{{Match: "acme", Limit: pools.Limit{MaxSandboxes: 100}}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAFileDoesNotSayIsAsWithoutOne(t *testing.T) {
	t.Parallel()
	withGPU := pools.Default()
	withGPU.Pools[0].GPU, withGPU.Pools[0].CreateRate = "T4", 5
	inSmallLetters := pools.Default()
	inSmallLetters.Pools[0].GPU, inSmallLetters.Pools[0].CreateRate = "H100!:8", 5
	free := pools.Default()
	free.Prices.CPUCore, free.Prices.GPU["B300"] = 0, 0.002
	free.Pools[0].GPU, free.Pools[0].CreateRate = "B300", 5
	for name, test := range map[string]struct {
		file string
		want *pools.File
	}{
		"an empty mapping":                     {"{}", pools.Default()},
		"a pool with nothing but its labels":   {"pools: {default: {labels: [modal]}}", pools.Default()},
		"GPUs are created slowly":              {"pools: {default: {labels: [modal], gpu: T4}}", withGPU},
		"GPUs are written as Modal does":       {"pools: {default: {labels: [modal], gpu: 'h100!:8'}}", inSmallLetters},
		"a new type of GPU needs only a price": {"{prices: {cpu_core: 0, gpu: {B300: 2e-3}}, pools: {default: {labels: [modal], gpu: B300}}}", free},
	} {
		got, err := pools.Parse([]byte(test.file))
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestREADMEShowsAFileThatIsGood(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("pools.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```yaml\n"+string(example)+"```\n") {
		t.Error("README.md does not have proto/pools/pools.example.yaml as it is")
	}
}

func TestEveryMistakeIsNamedWithItsLineFieldRuleAndValue(t *testing.T) {
	t.Parallel()
	mistakes, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(mistakes) == 0 {
		t.Fatalf("%v, %v", mistakes, err)
	}
	for _, path := range mistakes {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".errors")
			if err != nil {
				t.Fatal(err)
			}
			_, err = pools.Load(path)
			if _, ok := errors.AsType[pools.Errors](err); !ok {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsNoPoolsFileAtAll(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ file, want string }{
		"nothing":          {"", "must not be empty"},
		"a comment":        {"# later\n", "must be one document of YAML: no documents in stream"},
		"two documents":    {"{}\n---\n{}\n", "must be one document of YAML: expected single document, found multiple"},
		"broken YAML":      {"pools:\n  a: [\n", "line 3: must be one document of YAML: did not find expected node content"},
		"a list":           {"- a\n", "line 1: must be a mapping (got a list)"},
		"null":             {"null\n", "line 1: must be a mapping (got nothing)"},
		"itself":           {"&a [*a]\n", "line 1: must be a mapping (got a list)"},
		"an alias":         {"prices: &p {cpu_core: 1}\npools: *p\n", "line 2: pools: must be a mapping (got an alias)"},
		"a merge":          {"<<: {max_sandboxes: 5}\n", "line 1: <<: is not known, must be one of max_sandboxes, daily_budget_usd, prices, images, pools, repositories, owners"},
		"a key of no text": {"{[a]: 1}\n", "line 1: must have texts for keys (got a list)"},
		"too many to compare": {
			"repositories:\n" + strings.Repeat("- {match: a/b}\n", 1001), "line 2: repositories: must have between 0 and 1000 (got 1001)",
		},
		"a megabyte": {strings.Repeat("#", 1<<20) + "\n{}", "must not be larger than 1MiB"},
	} {
		if _, err := pools.Parse([]byte(test.file)); err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", name, err, test.want)
		}
	}
	if _, err := pools.Load("nowhere.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// What is accepted can be served: a job with the labels of a pool gets a pool, and the names are those that the queue takes.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(seeds, "pools.example.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := pools.Parse(data)
		if err != nil {
			for _, e := range err.(pools.Errors) { //nolint:errorlint // It is promised to be of that type.
				if e.Rule == "" || strings.ContainsAny(e.Error(), "\n\x00") {
					t.Errorf("an error that is no line: %q", e.Error())
				}
			}
			return
		}
		for _, p := range file.Pools {
			if err := wire.CheckPoolName(p.Name); err != nil {
				t.Errorf("pool %q: %v", p.Name, err)
			}
			if p.PricePerSecond(file.Prices) < 0 || p.CPULimit < p.CPU || p.MemoryLimitMiB < p.MemoryMiB || p.Timeout <= p.IdleLimit || p.Timeout > 24*time.Hour {
				t.Errorf("%+v", p)
			}
			if pool, err := file.Route(p.Labels); err != nil || pool != p.Name {
				t.Errorf("a job with the labels of pool %s goes to %q, %v", p.Name, pool, err)
			}
		}
		for _, r := range file.Repositories {
			var pattern wire.RepoPattern
			if err := pattern.UnmarshalText([]byte(r.Match)); err != nil || r.Weight < 1 {
				t.Errorf("%+v: %v", r, err)
			}
		}
	})
}
