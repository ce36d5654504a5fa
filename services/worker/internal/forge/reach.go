package forge

import (
	"net/netip"
	"net/url"
	"strings"

	"modal-github-runner/services/worker/internal/run"
)

// Reach is what a runner must reach to work for the GitHub at that API, and to download actions from there: for github.com and
// ghe.com as docs.github.com/actions/reference/runners/self-hosted-runners has it, without what only packages and Git LFS need.
// GitHub's own servers elsewhere serve all of it themselves; where they keep logs and artifacts outside, a pool has to name that.
func Reach(api *url.URL) run.Reach {
	host := strings.ToLower(api.Hostname())
	tenant, isTenant := strings.CutPrefix(host, "api.")
	isTenant = isTenant && strings.HasSuffix(tenant, ".ghe.com")
	// The names of GitHub's own accounts in Azure's store change, so all of it is within reach.
	shared := []string{"*.actions.githubusercontent.com", "*.blob.core.windows.net"}
	if addr, err := netip.ParseAddr(host); err == nil {
		return run.Reach{CIDRs: []string{netip.PrefixFrom(addr, addr.BitLen()).String()}}
	}
	switch {
	case host == "api.github.com":
		return run.Reach{Domains: append([]string{
			"github.com", host, "codeload.github.com", "objects.githubusercontent.com", "release-assets.githubusercontent.com",
		}, shared...)}
	case isTenant:
		return run.Reach{Domains: append([]string{tenant, "*." + tenant}, shared...)}
	default:
		return run.Reach{Domains: []string{host}}
	}
}
