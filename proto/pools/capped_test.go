package pools_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
)

func TestOfAnUntrustedJobItIsSaidWhatItGetsLessOf(t *testing.T) {
	t.Parallel()
	f, err := pools.Parse([]byte(`
pools:
  default: {labels: [modal], max: {cpu: 16, memory: 64GiB, gpu: [T4], timeout: 12h}, untrusted: forks}
  big: {labels: [modal, "cpu:16"], cpu: 16, untrusted: forks}
  forks: {labels: [modal-forks], cpu: 2, memory: 4GiB, timeout: 1h, max: {cpu: 4, timeout: 2h}, untrusted: allow, network: {mode: block}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		pool   string
		labels []string
		want   []string
	}{
		"all that is less":                     {"forks", []string{"modal", "cpu:8", "MEM-32", "timeout=6h"}, []string{"4 cores for cpu:8", "4096MiB for MEM-32", "2h0m0s for timeout=6h"}},
		"what it gets":                         {"forks", []string{"modal", "cpu:4", "mem:2", "timeout:1h", "job-1"}, nil},
		"what is refused anyway":               {"forks", []string{"modal", "gpu:t4", "cpu:many", "mem:1MiB"}, nil},
		"the labels of the pool that sends it": {"forks", []string{"modal", "cpu:16"}, nil},
		"a job that nobody sent":               {"forks", []string{"modal-forks", "cpu:8"}, nil},
		"a trusted job":                        {"default", []string{"modal", "cpu:8"}, nil},
	} {
		p, _ := f.Pool(test.pool)
		if diff := cmp.Diff(test.want, f.Capped(p, test.labels)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
