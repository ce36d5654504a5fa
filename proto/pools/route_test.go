package pools_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/proto/pools"
)

// withPools are pools by "name=label,label".
func withPools(t *testing.T, specs ...string) (*pools.File, error) {
	t.Helper()
	var b strings.Builder
	b.WriteString("pools:\n")
	for _, spec := range specs {
		name, labels, _ := strings.Cut(spec, "=")
		fmt.Fprintf(&b, "  %s: {labels: [%s]}\n", name, labels)
	}
	return pools.Parse([]byte(b.String()))
}

func TestAJobGoesToThePoolThatItsLabelsAskFor(t *testing.T) {
	t.Parallel()
	f, err := withPools(t, "default=modal", "gpu=modal,gpu", "big=modal,big", "big-gpu=modal,big,gpu", "other=other")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		labels []string
		want   string
		clash  [2]string
	}{
		"no label":                            {nil, "", [2]string{}},
		"no label of ours":                    {[]string{"self-hosted", "gpu", "modal-x"}, "", [2]string{}},
		"a label of ours among others":        {[]string{"self-hosted", "modal", "job-123-4"}, "default", [2]string{}},
		"without regard to case":              {[]string{"MoDaL", "GPU"}, "gpu", [2]string{}},
		"the most labels count":               {[]string{"gpu", "modal"}, "gpu", [2]string{}},
		"in any order and more than once":     {[]string{"gpu", "big", "modal", "gpu"}, "big-gpu", [2]string{}},
		"two pools that have nothing common":  {[]string{"modal", "other"}, "default", [2]string{"default", "other"}},
		"of two, the larger one is named":     {[]string{"other", "modal", "gpu"}, "gpu", [2]string{"gpu", "other"}},
		"all labels of one, some of another":  {[]string{"other", "gpu"}, "other", [2]string{}},
		"look-alikes are no labels of a pool": {[]string{"mοdal"}, "", [2]string{}}, // a Greek omicron
	} {
		got, err := f.Route(test.labels)
		var clash [2]string
		if e, ok := errors.AsType[*pools.AmbiguousError](err); ok {
			clash = e.Pools
		}
		if got != test.want || clash != test.clash {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	_, err = f.Route([]string{"modal", "other"})
	if want := "runs-on: must ask for the labels of one pool (got those of default and of other)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// With a pool for whatever asks for a self-hosted runner, those that others have of other kinds keep their jobs, and nobody is told that these
// were given up.
func TestAJobForAnotherMachineIsSomebodyElsesUnlessItNamesAPool(t *testing.T) {
	t.Parallel()
	f, err := withPools(t, "any=self-hosted,Linux", "default=self-hosted,linux,modal", "arm=arm64,board")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ labels, want string }{
		{"self-hosted linux", "any"},
		{"self-hosted linux x64 rack-3", "any"},
		{"self-hosted linux ram:16", "any"},
		{"self-hosted Linux ARM64", ""},
		{"self-hosted linux arch:arm64", ""},
		{"self-hosted linux windows-latest", ""},
		{"self-hosted linux modal arm64", "default"},
		{"self-hosted arm64 board", "arm"},
	} {
		if got, err := f.Route(strings.Fields(test.labels)); got != test.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", test.labels, got, err, test.want)
		}
	}
}

func TestPoolsThatLabelsCanNotTellApartAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pools []string
		want  []string
	}{
		"one in another":            {[]string{"a=x", "b=x,y", "c=x,y,z"}, nil},
		"nothing in common":         {[]string{"a=x", "b=y"}, nil},
		"the same":                  {[]string{"a=x,y", "b=Y,x"}, []string{"pools.b.labels: must not be the same as those of pool a (got [Y, x])"}},
		"some in common":            {[]string{"a=x,y", "b=x,z"}, []string{"pools.b.labels: must not overlap with those of pool a, unless there is a pool for [x, y, z], too (got [x, z])"}},
		"with a pool for both":      {[]string{"a=x,y", "b=x,z", "c=z,y,x"}, nil},
		"a pool for more than both": {[]string{"a=x,y", "b=x,z", "c=x,y,z,w"}, []string{"pools.b.labels: must not overlap with those of pool a, unless there is a pool for [x, y, z], too (got [x, z])"}},
	} {
		_, err := withPools(t, test.pools...)
		var got []string
		if all, ok := errors.AsType[pools.Errors](err); ok {
			for _, e := range all {
				got = append(got, e.Field+": "+e.Rule+" (got "+e.Got+")")
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Whatever pools are accepted, the labels of any job lead to all that it asks for, or to an error that is true.
func TestNoPoolIsChosenThatLeavesOutWhatAJobAsksFor(t *testing.T) {
	t.Parallel()
	const universe = 3 // labels, so that there are 7 sets of them
	letters := func(bits int) (labels []string) {
		for n := range universe {
			if bits>>n&1 == 1 {
				labels = append(labels, string(rune('a'+n)))
			}
		}
		return labels
	}
	accepted := 0
	for sets := 1; sets < 1<<(1<<universe-1); sets++ {
		f := &strings.Builder{}
		f.WriteString("pools:\n")
		for bits := 1; bits < 1<<universe; bits++ {
			if sets>>(bits-1)&1 == 1 {
				fmt.Fprintf(f, "  p%d: {labels: [%s]}\n", bits, strings.Join(letters(bits), ","))
			}
		}
		file, err := pools.Parse([]byte(f.String()))
		if err != nil {
			continue
		}
		accepted++
		for job := range 1 << universe {
			var asked int // all that pools have of what the job asks for
			for bits := 1; bits < 1<<universe; bits++ {
				if sets>>(bits-1)&1 == 1 && bits&job == bits {
					asked |= bits
				}
			}
			pool, err := file.Route(letters(job))
			_, exists := file.Pool(fmt.Sprintf("p%d", asked))
			switch {
			case asked == 0 && (pool != "" || err != nil), exists && (pool != fmt.Sprintf("p%d", asked) || err != nil), asked != 0 && !exists && err == nil:
				t.Fatalf("%s: job %v: got %q, %v", f, letters(job), pool, err)
			}
		}
	}
	if accepted < 10 {
		t.Errorf("only %d files were accepted", accepted)
	}
}
