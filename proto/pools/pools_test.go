package pools_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
)

func TestTheFirstEntryThatMatchesARepositoryCounts(t *testing.T) {
	t.Parallel()
	f, err := pools.Load("pools.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ got, want any }{
		"a repository by its name":     {f.Repository("Acme", "WEB"), f.Repositories[0].Share},
		"another one of the account":   {f.Repository("acme", "api"), f.Repositories[1].Share},
		"one of another account":       {f.Repository("other", "web"), pools.Share{Weight: 1}},
		"an account":                   {f.Owner("ACME"), pools.Limit{MaxSandboxes: 100}},
		"an account without an entry":  {f.Owner("other"), pools.Limit{}},
		"all names, in the file's way": {f.Names(), []string{"default", "gpu", "quick", "forks"}},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, ok := f.Pool("gone"); ok {
		t.Error("there is a pool that the file does not have")
	}
}

func TestASandboxCostsWhatItReserves(t *testing.T) {
	t.Parallel()
	prices := pools.Prices{CPUCore: 3, MemoryGiB: 5, GPU: map[string]float64{"T4": 7}}
	for name, test := range map[string]struct {
		pool pools.Pool
		want float64
	}{
		"cores and memory":   {pools.Pool{CPU: 2, CPULimit: 9, MemoryMiB: 1536, MemoryLimitMiB: 9999}, 2*3 + 1.5*5},
		"one GPU":            {pools.Pool{GPU: "T4"}, 7},
		"several GPUs":       {pools.Pool{CPU: 1, GPU: "T4:3"}, 3 + 3*7},
		"a GPU of no price":  {pools.Pool{CPU: 1, GPU: "L4"}, 3},
		"nothing is nothing": {pools.Pool{}, 0},
	} {
		if got := test.pool.PricePerSecond(prices); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	// 2 cores and 8 GiB are quoted at 0.4759 dollars an hour.
	if got := (pools.Pool{CPU: 2, MemoryMiB: 8192}).PricePerSecond(pools.Default().Prices) * 3600; math.Abs(got-0.4775) > 0.002 {
		t.Errorf("2 cores and 8 GiB cost %v an hour", got)
	}
}

func TestAFileKnowsItsImagesAndWhetherAPoolUsesTheDefault(t *testing.T) {
	t.Parallel()
	const images = "images: {ml: {modal: im-1}}\npools: "
	for name, test := range map[string]struct {
		file string
		want bool
	}{
		"a pool that names none":           {images + "{p: {labels: [p]}}", true},
		"a pool that names another":        {images + "{p: {labels: [p], image: ml}}", false},
		"a label may ask for it":           {images + "{p: {labels: [p], image: ml, max: {images: [default]}}}", true},
		"there is no pool but the default": {"{}", true},
	} {
		f, err := pools.Parse([]byte(test.file))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.UsesDefaultImage(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
		if _, ok := f.Image(pools.DefaultImage); ok {
			t.Errorf("%s: the default image has a definition", name)
		}
		if i, ok := f.Image("ml"); ok != (len(f.Images) == 1) || ok && i.Modal != "im-1" {
			t.Errorf("%s: %+v, %v", name, i, ok)
		}
	}
}

func TestTheBuiltInPoolCanBeServed(t *testing.T) {
	t.Parallel()
	f := pools.Default()
	if pool, err := f.Route([]string{"self-hosted", wire.DefaultLabel}); pool != wire.DefaultPool || err != nil {
		t.Errorf("got %q, %v", pool, err)
	}
	var table strings.Builder
	if err := f.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	want := `POOL     LABELS  IMAGE    CORES  MEMORY        GPU  TIMEOUT  IDLE  MOST  WARM  USD/DAY  USD/HOUR
default  modal   default  1-2    4096-8192MiB  -    6h15m0s  5m0s  -     -     -        0.2387
(all)                                                              -           -        
`
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Error(diff)
	}
}
