package pools_test

import (
	"os"
	"strings"
	"testing"

	"modal-github-runner/proto/pools"
)

func TestWithThePoolsFileForThoseWhoComeFromTheModalAppTheirLabelsMeanWhatTheyMeant(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deployments/MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	shown, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("it shows no pools file")
	}
	f, err := pools.Parse([]byte(strings.ReplaceAll("\n"+shown, "\n   ", "\n")))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := f.Pool("default")
	for _, gpu := range []string{"T4", "L4", "A100", "A100-80GB", "H100"} {
		got, err := f.Fit(p, []string{"self-hosted", "modal", "docker", "image:ml", "gpu:" + strings.ToLower(gpu), "job-1-2"})
		if err != nil || got.GPU != gpu || got.Image != "ml" || !got.Docker || got.Cache.SizeMiB == 0 {
			t.Errorf("%s: %+v, %v", gpu, got, err)
		}
	}
}
