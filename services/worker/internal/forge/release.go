package forge

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// Latest asks for the newest release of the runner.
const Latest = "latest"

// checksum is how the notes of a runner release give the SHA-256 of each archive (github.com/actions/runner/releases).
var checksum = regexp.MustCompile(`<!-- BEGIN SHA linux-x64 -->([0-9a-f]{64})<!-- END SHA linux-x64 -->`)

// Release finds a release of the runner for Linux on x64: a version such as "2.330.0", or Latest. Anybody may ask for
// it; with a token the request counts against the token's limit instead of the address's 60 an hour. A GitHub that does
// not know it, or does not say, sends to the public one, without the token.
func (f *Forge) Release(ctx context.Context, version string) (run.RunnerRelease, error) {
	ctx = inLane(ctx, LaneLaunch) // Without it there is no image, and no launch.
	transport := f.transport()    // No budget: without a token the limit is the address' own.
	if len(f.Apps) == 0 {
		transport = authTransport{authorize: f.callers[0].personal, next: f.budgeted(accountOfToken)}
	}
	host := f.APIURL
	release, err := find(ctx, f.newClient(transport).Repositories, version)
	if f.PublicURL != nil && (isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusUnauthorized) || isStatus(err, http.StatusForbidden)) {
		host = f.PublicURL
		release, err = find(ctx, (&Options{APIURL: host}).newClient(f.transport()).Repositories, version)
	}
	if isStatus(err, http.StatusNotFound) {
		return run.RunnerRelease{}, fmt.Errorf("RUNNER_VERSION: must be a release of actions/runner that %s knows (got %q): %w", host.Host, version, err)
	}
	if err != nil {
		return run.RunnerRelease{}, fmt.Errorf("find runner release %s: %w", version, classify(err, time.Now()))
	}
	return releaseOf(release)
}

func find(ctx context.Context, repos *github.RepositoriesService, version string) (release *github.RepositoryRelease, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if version == Latest {
		release, _, err = repos.GetLatestRelease(ctx, "actions", "runner")
	} else {
		release, _, err = repos.GetReleaseByTag(ctx, "actions", "runner", "v"+version)
	}
	return release, err
}

func releaseOf(release *github.RepositoryRelease) (run.RunnerRelease, error) {
	version := strings.TrimPrefix(release.GetTagName(), "v")
	sum := checksum.FindStringSubmatch(release.GetBody())
	if sum == nil {
		return run.RunnerRelease{}, fmt.Errorf("runner release %s: its notes give no SHA-256 for linux-x64", version)
	}
	archive := "actions-runner-linux-x64-" + version + ".tar.gz"
	for _, asset := range release.Assets {
		if asset.GetName() == archive {
			return run.RunnerRelease{Version: version, URL: asset.GetBrowserDownloadURL(), SHA256: sum[1], PublishedAt: release.GetPublishedAt().Time}, nil
		}
	}
	return run.RunnerRelease{}, fmt.Errorf("runner release %s: has no file %s", version, archive)
}
