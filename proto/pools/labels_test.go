package pools_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
)

const bounded = `
images:
  ml: {registry: "python:3.13"}
  other: {modal: other}
pools:
  p:
    labels: [modal, "cpu:99"]
    cpu: 2
    cpu_limit: 3
    memory: 8GiB
    memory_limit: 12GiB
    max: {cpu: 16, memory: 64GiB, gpu: [T4:2, A100-80GB, A10:4], timeout: 12h, regions: [us-east, eu], docker: true, caches: [deps, models], images: [ml, default]}
    cache: {size: 1GiB}
  bare: {labels: [bare], gpu: T4}
`

func parsed(t testing.TB, text string) (f *pools.File, p, bare pools.Pool) {
	t.Helper()
	f, err := pools.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f, f.Pools[0], f.Pools[1]
}

func TestLabelsWithValuesSayWhatASandboxGets(t *testing.T) {
	t.Parallel()
	f, p, _ := parsed(t, bounded)
	change := func(how func(*pools.Pool)) pools.Pool {
		changed := p
		how(&changed)
		return changed
	}
	gpu := func(kind string) pools.Pool { return change(func(p *pools.Pool) { p.GPU = kind }) }
	image := func(name string) pools.Pool { return change(func(p *pools.Pool) { p.Image = name }) }
	cpu := change(func(p *pools.Pool) { p.CPU, p.CPULimit = 4, 6 })
	memory := change(func(p *pools.Pool) { p.MemoryMiB, p.MemoryLimitMiB = 16384, 24576 })
	for label, want := range map[string]pools.Pool{
		"cpu:4": cpu, "cpu=4": cpu, "cpu-4": cpu, "CPU:4.0": cpu,
		"cpu:0.5": change(func(p *pools.Pool) { p.CPU, p.CPULimit = 0.5, 0.75 }),
		"mem:16":  memory, "mem-16": memory, "memory=16GiB": memory, "mem:16384MiB": memory, "Mem:16g": memory,
		"mem:512m": change(func(p *pools.Pool) { p.MemoryMiB, p.MemoryLimitMiB = 512, 768 }),
		"gpu:t4":   gpu("T4"), "gpu-t4": gpu("T4"), "GPU=T4:2": gpu("T4:2"), "gpu-a100-80gb": gpu("A100-80GB"), "gpu:a10:4": gpu("A10:4"),
		"timeout:2h": change(func(p *pools.Pool) { p.Timeout = 2 * time.Hour }), "timeout-90m": change(func(p *pools.Pool) { p.Timeout = 90 * time.Minute }),
		"region:eu":  change(func(p *pools.Pool) { p.Regions = []string{"eu"} }),
		"net:none":   change(func(p *pools.Pool) { p.Network.Mode = pools.NetworkBlock }),
		"net-none":   change(func(p *pools.Pool) { p.Network.Mode = pools.NetworkBlock }),
		"cache:deps": change(func(p *pools.Pool) { p.Cache.Name = "deps" }), "Cache=Models": change(func(p *pools.Pool) { p.Cache.Name = "models" }),
		"cache-deps": change(func(p *pools.Pool) { p.Cache.Name = "deps" }),
		"docker":     change(func(p *pools.Pool) { p.Docker = true }), "Docker": change(func(p *pools.Pool) { p.Docker = true }),
		// These have no value that is meant for us, or are the pool's own.
		"cpu:99": p, "modal": p, "job-123-4": p, "gpu": p, "gpu-runner": p, "cpu-bound": p, "memory-hungry": p, "timeout-tests": p, "region-locked": p, "region": p, "network-tests": p,
		"gpu-runner-2": p, "gpu-2": p, "gpu-t4-runner": p, "cpu-4-large": p, "mem-16-large": p, "timeout-2h-long": p, "region-user-tests": p, "net-none-here": p,
		"image:ml": image("ml"), "image=ML": image("ml"), "Image-ml": image("ml"), "image:default": p, "image-default": p,
		"net-tests": p, "image": p, "image-builder": p, "cpux:4": p, "docker:27": p, "docker-compose": p, "cache": p, "cache-tests": p,
		"ram-hungry": p, "vcpu-bound": p, "cores": p, "disk": p, "disk-100": p, "volume-tests": p, "gpus-2": p, "images-builder": p, "regions-all": p, "caches-off": p,
		"arch:x64": p, "os=linux": p, "ubuntu-latest": p, "alarm": p, "macos-free": p, "windows-tests": p, "arm-tests": p,
		":4": p, "-": p, "": p,
	} {
		got, err := f.Fit(p, []string{"self-hosted", "modal", label})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", label, err, diff)
		}
	}
	all, err := f.Fit(p, []string{"modal", "cpu:4", "cpu:4", "mem:16", "gpu:t4", "timeout:1h", "region:eu", "net:none", "docker", "cache:deps"})
	if err != nil || all.CPU != 4 || all.MemoryMiB != 16384 || all.GPU != "T4" || all.Timeout != time.Hour || all.Regions[0] != "eu" ||
		all.Network.Mode != pools.NetworkBlock || !all.Docker || all.Cache.Name != "deps" {
		t.Errorf("all at once: %+v, %v", all, err)
	}
	if p.Regions != nil || p.CPU != 2 {
		t.Errorf("the pool was changed: %+v", p)
	}
}

// Whatever stands between the word, the value and a count, it is the same label.
func TestALabelWithAValueIsTheSameInEachSpelling(t *testing.T) {
	t.Parallel()
	f, p, _ := parsed(t, strings.NewReplacer("caches: [deps", "caches: [deps, go-mod-2", "images: [ml", "images: [ml, ml-gpu.2", "  other:", "  ml-gpu.2: {modal: gpu}\n  other:").Replace(bounded))
	for value, plain := range map[string]string{
		"cpu 4": "cpu:4", "cpu 0.5": "cpu:0.5", "mem 16": "mem:16", "mem 512MiB": "mem:512MiB", "memory 16": "mem:16", "gpu t4": "gpu:t4", "gpu t4 2": "gpu:t4:2", "gpu a10 4": "gpu:a10:4",
		"gpu a100-80gb": "gpu:a100-80gb", "gpu a100-80gb 1": "gpu:a100-80gb:1", "timeout 2h": "timeout:2h", "timeout 1h30m": "timeout:1h30m",
		"region us-east": "region:us-east", "region eu": "region:eu", "cache go-mod-2": "cache:go-mod-2", "cache models": "cache:models",
		"image ml-gpu.2": "image:ml-gpu.2", "image ml": "image:ml", "net none": "net:none", "network none": "net:none",
	} {
		want, err := f.Fit(p, []string{"modal", plain})
		if err != nil || reflect.DeepEqual(want, p) {
			t.Errorf("%s: %v, %+v", plain, err, want)
		}
		for _, first := range []string{":", "=", "-"} {
			for _, second := range []string{":", "=", "-"} {
				label := strings.Replace(strings.Replace(value, " ", first, 1), " ", second, 1)
				for _, spelled := range []string{label, strings.ToUpper(label)} {
					got, err := f.Fit(p, []string{"modal", spelled, plain})
					if diff := cmp.Diff(want, got); err != nil || diff != "" {
						t.Errorf("%q: %v %s", spelled, err, diff)
					}
				}
			}
		}
	}
}

func TestALabelThatAsksForTooMuchIsRefusedWithTheBoundThatItBreaks(t *testing.T) {
	t.Parallel()
	f, p, bare := parsed(t, bounded)
	for name, test := range map[string]struct {
		pool   pools.Pool
		labels []string
		want   string
	}{
		"more cores than the most":     {p, []string{"cpu:16.1"}, `cpu must be within what pool p has, 0.125 to 16 cores (got "cpu:16.1")`},
		"hardly a core":                {p, []string{"cpu:0"}, `cpu must be within what pool p has, 0.125 to 16 cores (got "cpu:0")`},
		"cores that are no number":     {p, []string{"cpu:many"}, `cpu must be a number of cores, such as 4 or 0.5 (got "cpu:many")`},
		"cores in a strange number":    {p, []string{"cpu:1e1"}, `cpu must be a number of cores, such as 4 or 0.5 (got "cpu:1e1")`},
		"cores below none":             {p, []string{"cpu=-4"}, `cpu must be a number of cores, such as 4 or 0.5 (got "cpu=-4")`},
		"cores where none are offered": {bare, []string{"cpu:1"}, `cpu must not be asked for in pool bare (got "cpu:1")`},
		"too much memory":              {p, []string{"MEM=65"}, `mem must be within what pool p has, 128MiB to 65536MiB (got "MEM=65")`},
		"hardly any memory":            {p, []string{"mem:1m"}, `mem must be within what pool p has, 128MiB to 65536MiB (got "mem:1m")`},
		"memory in strange units": {
			p, []string{"memory:1tb"}, `mem must be a whole number of GiB, or have a unit, such as 16 or 512MiB (got "memory:1tb")`,
		},
		"memory where none is offered":   {bare, []string{"mem:1"}, `mem must not be asked for in pool bare (got "mem:1")`},
		"too many GPUs":                  {p, []string{"gpu:t4:3"}, `gpu must be within what pool p has, T4:2, A100-80GB, A10:4 (got "gpu:t4:3")`},
		"a GPU that is not offered":      {p, []string{"gpu-h100"}, `gpu must be within what pool p has, T4:2, A100-80GB, A10:4 (got "gpu-h100")`},
		"a smaller GPU of a like name":   {p, []string{"gpu:a100"}, `gpu must be within what pool p has, T4:2, A100-80GB, A10:4 (got "gpu:a100")`},
		"more GPUs than a machine has":   {p, []string{"gpu:a10:5"}, `gpu must have a count from 1 to 4 for A10 (got "gpu:a10:5")`},
		"no GPU":                         {p, []string{"gpu:"}, `gpu must be a type of Modal's, alone or with a count from 1 to 8, such as T4 or A100-80GB:2 (got "gpu:")`},
		"a GPU where none is offered":    {bare, []string{"gpu:t4"}, `gpu must not be asked for in pool bare (got "gpu:t4")`},
		"too much time":                  {p, []string{"timeout:13h"}, `timeout must be within what pool p has, up to 12h0m0s (got "timeout:13h")`},
		"hardly any time":                {p, []string{"timeout:5m"}, `timeout must be above 5m0s, which a runner may wait for its job (got "timeout:5m")`},
		"a time of no unit":              {p, []string{"timeout:7"}, `timeout must be hours, minutes and seconds such as 6h15m or 90s (got "timeout:7")`},
		"time where none is offered":     {bare, []string{"timeout:1h"}, `timeout must not be asked for in pool bare (got "timeout:1h")`},
		"a region that is not offered":   {p, []string{"region:us"}, `region must be within what pool p has, us-east, eu (got "region:us")`},
		"a region where none is offered": {bare, []string{"region:eu"}, `region must not be asked for in pool bare (got "region:eu")`},
		"a cache of another name":        {p, []string{"cache:all"}, `cache must be within what pool p has, deps, models (got "cache:all")`},
		"a cache of another repository":  {p, []string{"cache:../../octo/app/deps"}, `cache must be within what pool p has, deps, models (got "cache:../../octo/app/deps")`},
		"a cache where none is offered":  {bare, []string{"cache-deps"}, `cache must not be asked for in pool bare (got "cache-deps")`},
		"Docker where none is offered":   {bare, []string{"docker"}, `docker must not be asked for in pool bare (got "docker")`},
		"an image that is not offered":   {p, []string{"image-other"}, `image must be within what pool p has, ml, default (got "image-other")`},
		"an image of no name":            {p, []string{"image:../ml"}, `image must be within what pool p has, ml, default (got "image:../ml")`},
		"an image where none is offered": {bare, []string{"image:default"}, `image must not be asked for in pool bare (got "image:default")`},
		"two images":                     {p, []string{"image:ml", "image:default"}, `must ask for image once, and does with "image:ml", too (got "image:default")`},
		"a network of another kind":      {p, []string{"net:open"}, `net must be none (got "net:open")`},
		"too many GPUs after a dash":     {p, []string{"gpu-t4-3"}, `gpu must be within what pool p has, T4:2, A100-80GB, A10:4 (got "gpu-t4-3")`},
		"more GPUs than there ever are": {
			p, []string{"gpu-t4-12"}, `gpu must be a type of Modal's, alone or with a count from 1 to 8, such as T4 or A100-80GB:2 (got "gpu-t4-12")`,
		},
		"a region after a dash":          {p, []string{"region-us-west"}, `region must be within what pool p has, us-east, eu (got "region-us-west")`},
		"a region of no pool's":          {bare, []string{"region-ap-south-1"}, `region must not be asked for in pool bare (got "region-ap-south-1")`},
		"a time of no unit after a dash": {p, []string{"timeout-30"}, `timeout must be hours, minutes and seconds such as 6h15m or 90s (got "timeout-30")`},
		"two numbers of cores":           {p, []string{"cpu:4", "cpu=8"}, `must ask for cpu once, and does with "cpu:4", too (got "cpu=8")`},
		"another architecture":           {p, []string{"ARM64"}, `must not ask for a machine that Modal does not have: its sandboxes are Linux on x64 (got "ARM64")`},
		"another system":                 {bare, []string{"windows"}, `must not ask for a machine that Modal does not have: its sandboxes are Linux on x64 (got "windows")`},
		"another architecture by a word": {p, []string{"arch:arm64"}, `must not ask for a machine that Modal does not have: its sandboxes are Linux on x64 (got "arch:arm64")`},
		"one of GitHub's own machines":   {p, []string{"ubuntu-24.04-arm"}, `must not ask for a machine that Modal does not have: its sandboxes are Linux on x64 (got "ubuntu-24.04-arm")`},
		"the newest Windows":             {p, []string{"Windows-Latest"}, `must not ask for a machine that Modal does not have: its sandboxes are Linux on x64 (got "Windows-Latest")`},
		"a control character":            {p, []string{"region:eu\x1b[2J"}, `region must be within what pool p has, us-east, eu (got "region:eu\x1b[2J")`},
		"a digit of another script":      {p, []string{"cpu:٤"}, `cpu must be a number of cores, such as 4 or 0.5 (got "cpu:٤")`},
	} {
		_, err := f.Fit(test.pool, test.labels)
		if _, ok := errors.AsType[*pools.LabelError](err); !ok || err.Error() != "runs-on: "+test.want {
			t.Errorf("%s:\n got %v\nwant runs-on: %s", name, err, test.want)
		}
	}
}

// Other systems have other words for the same. A job that says them must not run with less than it asks for in silence.
func TestALabelInTheWordsOfAnotherSystemIsRefusedWithOurs(t *testing.T) {
	t.Parallel()
	f, p, bare := parsed(t, bounded+`  own: {labels: [own, "ram:1", "disk=2"]}`+"\n")
	const cores, disk = ", such as cpu:4: physical cores, each of which is two virtual ones", "must not ask for space on a disk, which Modal lets nobody choose"
	for label, want := range map[string]string{
		"ram:16": "must say mem for ram, such as mem:16", "RAM=16GiB": "must say mem for ram, such as mem:16", "ram-16": "must say mem for ram, such as mem:16",
		"ram:much": "must say mem for ram, such as mem:16",
		"vcpu:4":   "must say cpu for vcpu" + cores, "vcpus-2": "must say cpu for vcpus" + cores, "cpus=4": "must say cpu for cpus" + cores,
		"cores:8": "must say cpu for cores" + cores, "cores-8": "must say cpu for cores" + cores,
		"gpus:1": "must say gpu for gpus, such as gpu:t4", "gpus-t4-2": "must say gpu for gpus, such as gpu:t4",
		"images:ml": "must say image for images, such as image:ml", "images-ml": "must say image for images, such as image:ml",
		"regions:us": "must say region for regions, such as region:us-east", "caches:x": "must say cache for caches, such as cache:deps",
		"disk:100": disk, "Disk=100gb": disk, "volume:80gb": disk,
	} {
		for _, pool := range []pools.Pool{p, bare} {
			_, err := f.Fit(pool, []string{pool.Labels[0], "x", label})
			if refused, ok := errors.AsType[*pools.LabelError](err); !ok || refused.Rule != want || refused.Label != label {
				t.Errorf("%s of pool %s:\n got %v\nwant %s", label, pool.Name, err, want)
			}
		}
	}
	if _, err := f.Fit(f.Pools[2], []string{"own", "ram:1", "Disk=2"}); err != nil {
		t.Errorf("labels of the pool's own: %v", err)
	}
}

// A virtual machine has the memory that is reserved and no more, and 1 GiB at least.
func TestALabelAsksForNoVirtualMachineWithTooLittleMemory(t *testing.T) {
	t.Parallel()
	f, err := pools.Parse([]byte(`
pools:
  usual: {labels: [usual], memory: 512MiB, max: {memory: 4GiB, docker: true}}
  vm: {labels: [vm], runtime: vm, max: {memory: 4GiB, docker: true}}
  docker: {labels: [docker-pool], docker: true, max: {memory: 4GiB}}
  gvisor: {labels: [gvisor], runtime: gvisor, memory: 512MiB, max: {memory: 4GiB, docker: true}}
`))
	if err != nil {
		t.Fatal(err)
	}
	const rule = "runs-on: mem must be at least 1GiB for the virtual machine that it is, for Docker or all jobs of pool "
	for _, test := range []struct{ labels, want string }{
		{"usual mem:512m", ""},
		{"usual docker mem:1", ""},
		{"gvisor docker mem:512m", ""},
		{"vm mem:1024m", ""},
		{"usual docker", rule + `usual (got "docker")`},
		{"usual docker mem:1023m", rule + `usual (got "mem:1023m")`},
		{"vm mem:512m", rule + `vm (got "mem:512m")`},
		{"vm docker mem:512m", rule + `vm (got "mem:512m")`},
		{"docker-pool mem-128m", rule + `docker (got "mem-128m")`},
	} {
		labels := strings.Fields(test.labels)
		name, err := f.Route(labels)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := f.Pool(name)
		got := ""
		if _, err := f.Fit(p, labels); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.labels, got, test.want)
		}
	}
}

// Whatever the labels, a sandbox gets no more than the pool's bounds, and an error is one line without what a terminal acts on.
func FuzzFit(f *testing.F) {
	file, p, _ := parsed(f, bounded)
	for _, seed := range []string{"cpu:4 mem:16 gpu-t4:2", "timeout=2h region:eu net:none docker cache:deps", "gpu:a100-80gb memory-1g cpu-0.125", "cpu:NaN mem:9999999g", "\u0441pu:4 cpu\uff1a2", "$(id) ../.. cpu:+4", "image:ml image-default", "region-us-east gpu-a100-80gb-1 gpu=t4=2", "timeout-30 gpu-t4-99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, labels string) {
		got, err := file.Fit(p, strings.Split(labels, " "))
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) || len(err.Error()) > 600 {
				t.Errorf("an error that is no line: %q", err)
			}
			if !reflect.DeepEqual(got, pools.Pool{}) {
				t.Errorf("an error, and %+v", got)
			}
			return
		}
		price, most := got.PricePerSecond(file.Prices), 1.75*pools.Pool{CPU: 16, MemoryMiB: 65536, GPU: "T4:2"}.PricePerSecond(file.Prices)
		most = max(most, 1.75*pools.Pool{CPU: 16, MemoryMiB: 65536, GPU: "A10:4"}.PricePerSecond(file.Prices))
		if !(price >= 0 && price <= most) || got.CPU < 0.125 || got.CPULimit < got.CPU || got.MemoryMiB < 128 || got.MemoryLimitMiB < got.MemoryMiB ||
			got.Timeout > 12*time.Hour || got.Timeout <= got.IdleLimit || len(got.Regions) > 1 ||
			got.Image != "ml" && got.Image != pools.DefaultImage {
			t.Errorf("%q gets %+v", labels, got)
		}
	})
}
