package pools_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
)

func TestWhereUntrustedJobsGo(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]string{"": "", "refuse": "", "allow": "p", "open": "open"} {
		got, ok := pools.Pool{Name: "p", Untrusted: says}.ForUntrusted()
		if got != want || ok != (want != "") {
			t.Errorf("with untrusted: %q they go to %q (%v), not %q", says, got, ok, want)
		}
	}
}

// One workflow serves a repository's own jobs and those of its forks.
func TestAnUntrustedJobGetsWhatThePoolHasThatItIsSentTo(t *testing.T) {
	t.Parallel()
	f, err := pools.Parse([]byte(`
pools:
  default: {labels: [modal], max: {cpu: 16, memory: 64GiB, gpu: [T4], timeout: 12h, regions: [eu], docker: true}, untrusted: forks}
  gpu: {labels: [modal, gpu-t4], gpu: T4, untrusted: forks}
  trusting: {labels: [trusting], untrusted: allow, network: {mode: block}}
  forks: {labels: [modal-forks], cpu: 2, memory: 4GiB, timeout: 1h, max: {cpu: 4}, untrusted: allow, network: {mode: block}}
`))
	if err != nil {
		t.Fatal(err)
	}
	forks, _ := f.Pool("forks")
	with := func(change func(*pools.Pool)) pools.Pool {
		changed := forks
		change(&changed)
		return changed
	}
	const sent, asked = ", where pool default sends untrusted jobs", " must not be asked for in pool forks"
	for name, test := range map[string]struct {
		labels []string
		want   pools.Pool
		wrong  string
	}{
		"as many cores as labels may ask for there": {[]string{"modal", "cpu:8"}, with(func(p *pools.Pool) { p.CPU, p.CPULimit = 4, 8 }), ""},
		"fewer than that":                {[]string{"modal", "cpu:3"}, with(func(p *pools.Pool) { p.CPU, p.CPULimit = 3, 6 }), ""},
		"as much memory as the pool has": {[]string{"modal", "mem:32"}, forks, ""},
		"less than that": {
			[]string{"modal", "mem:2"}, with(func(p *pools.Pool) { p.MemoryMiB, p.MemoryLimitMiB = 2048, 4096 }), "",
		},
		"as much time as the pool has":         {[]string{"modal", "timeout:2h"}, forks, ""},
		"less time than that":                  {[]string{"modal", "timeout:30m"}, with(func(p *pools.Pool) { p.Timeout = 30 * time.Minute }), ""},
		"the labels of the pool that sends it": {[]string{"modal", "gpu-t4"}, forks, ""},
		"no network where there is none":       {[]string{"modal", "net:none"}, forks, ""},
		"no GPU":                               {[]string{"modal", "gpu:t4"}, pools.Pool{}, "runs-on: gpu" + asked + sent + ` (got "gpu:t4")`},
		"no Docker":                            {[]string{"modal", "docker"}, pools.Pool{}, "runs-on: docker" + asked + sent + ` (got "docker")`},
		"no other region":                      {[]string{"modal", "region:eu"}, pools.Pool{}, "runs-on: region" + asked + sent + ` (got "region:eu")`},
		"no nonsense": {
			[]string{"modal", "cpu:many"}, pools.Pool{}, `runs-on: cpu must be a number of cores, such as 4 or 0.5 (got "cpu:many")`,
		},
		"hardly a core": {
			[]string{"modal", "cpu:0"}, pools.Pool{}, "runs-on: cpu must be within what pool forks has, 0.125 to 4 cores" + sent + ` (got "cpu:0")`,
		},
		"of its own labels no more than others": {
			[]string{"modal-forks", "cpu:8"}, pools.Pool{}, `runs-on: cpu must be within what pool forks has, 0.125 to 4 cores (got "cpu:8")`,
		},
		"and of those of a pool that sends it nowhere": {
			[]string{"trusting", "mem:8"}, pools.Pool{}, `runs-on: mem must not be asked for in pool forks (got "mem:8")`,
		},
	} {
		got, err := f.Fit(forks, test.labels)
		wrong := ""
		if err != nil {
			wrong = err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" || wrong != test.wrong {
			t.Errorf("%s: %s\n got %s\nwant %s", name, diff, wrong, test.wrong)
		}
	}
}
