package forge_test

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

func TestWhatARunnerMustReach(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		api  string
		want run.Reach
	}{
		"for github.com": {"https://api.github.com", run.Reach{Domains: []string{
			"github.com", "api.github.com", "codeload.github.com", "objects.githubusercontent.com", "release-assets.githubusercontent.com",
			"*.actions.githubusercontent.com", "*.blob.core.windows.net",
		}}},
		"for a company at ghe.com": {"https://api.octo.ghe.com", run.Reach{Domains: []string{
			"octo.ghe.com", "*.octo.ghe.com", "*.actions.githubusercontent.com", "*.blob.core.windows.net",
		}}},
		"for a server of one's own":       {"https://GitHub.example.com:8443/api/v3", run.Reach{Domains: []string{"github.example.com"}}},
		"for one that is called api":      {"https://api.example.com", run.Reach{Domains: []string{"api.example.com"}}},
		"for one that has only an IP":     {"https://10.1.2.3/api/v3", run.Reach{CIDRs: []string{"10.1.2.3/32"}}},
		"for one that has only an IPv6":   {"https://[fd00::1]/api/v3", run.Reach{CIDRs: []string{"fd00::1/128"}}},
		"for one that pretends to be one": {"https://api.github.com.example.com", run.Reach{Domains: []string{"api.github.com.example.com"}}},
	} {
		api, err := url.Parse(test.api)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, forge.Reach(api)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
