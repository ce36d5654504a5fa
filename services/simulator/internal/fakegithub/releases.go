package fakegithub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/shape"
)

// The repository whose releases are the runner's.
const runnerRepo = "actions/runner"

// release is a published version of the runner.
type release struct {
	version   string
	published time.Time
}

func (r release) tag() string { return "v" + r.version }

// platforms of the assets that are published here; both hold the same scripts.
func platforms() []string { return []string{"linux-x64", "linux-arm64"} }

func (r release) asset(platform string) string {
	return fmt.Sprintf("actions-runner-%s-%s.tar.gz", platform, r.version)
}

// PublishRunner releases a version of the runner ("2.337.0") and makes it the latest.
func (g *GitHub) PublishRunner(version string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.releases = append(g.releases, release{version: version, published: time.Now()})
}

func (c *call) release(tag string) (release, error) {
	if c.PathValue("owner")+"/"+c.PathValue("repo") != runnerRepo {
		return release{}, errNotFound
	}
	c.gh.mu.Lock()
	defer c.gh.mu.Unlock()
	for _, r := range slices.Backward(c.gh.releases) {
		if tag == "" || r.tag() == tag {
			return r, nil
		}
	}
	return release{}, errNotFound
}

// latestRelease serves GET /repos/actions/runner/releases/latest.
func latestRelease(c *call) (answer, error) {
	r, err := c.release("")
	if err != nil {
		return answer{}, err
	}
	return ok(c.renderRelease(r))
}

// taggedRelease serves GET /repos/actions/runner/releases/tags/{tag}.
func taggedRelease(c *call) (answer, error) {
	r, err := c.release(c.PathValue("tag"))
	if err != nil {
		return answer{}, err
	}
	return ok(c.renderRelease(r))
}

// renderRelease gives each asset's SHA-256 twice, as actions/runner does: in the asset's digest, and in the text
// between markers that installers look for.
func (c *call) renderRelease(r release) shape.Object {
	sum := sha256.Sum256(c.gh.archive)
	digest := hex.EncodeToString(sum[:])
	id := r.published.Unix()
	api := fmt.Sprintf("%s/repos/%s/releases/%d", c.links.API, runnerRepo, id)
	var assets []shape.Object
	var notes strings.Builder
	notes.WriteString("## SHA-256 Checksums\n\n")
	for n, platform := range platforms() {
		name := r.asset(platform)
		fmt.Fprintf(&notes, "- %s <!-- BEGIN SHA %s -->%s<!-- END SHA %s -->\n", name, platform, digest, platform)
		assets = append(assets, shape.Object{
			"url": fmt.Sprintf("%s/repos/%s/releases/assets/%d", c.links.API, runnerRepo, id+int64(n)), "id": id + int64(n),
			"browser_download_url": fmt.Sprintf("%s/%s/releases/download/%s/%s", c.links.HTML, runnerRepo, r.tag(), name),
			"node_id":              shape.NodeID("ReleaseAsset", id+int64(n)), "name": name, "label": "", "state": "uploaded",
			"content_type": "application/octet-stream", "size": len(c.gh.archive), "digest": "sha256:" + digest, "download_count": 0,
			"created_at": shape.Time(r.published), "updated_at": shape.Time(r.published), "uploader": c.links.Sender(),
		})
	}
	return shape.Object{
		"url": api, "html_url": fmt.Sprintf("%s/%s/releases/tag/%s", c.links.HTML, runnerRepo, r.tag()), "assets_url": api + "/assets",
		"upload_url": api + "/assets{?name,label}", "tarball_url": fmt.Sprintf("%s/repos/%s/tarball/%s", c.links.API, runnerRepo, r.tag()),
		"zipball_url": fmt.Sprintf("%s/repos/%s/zipball/%s", c.links.API, runnerRepo, r.tag()), "id": id,
		"node_id": shape.NodeID("Release", id), "tag_name": r.tag(), "target_commitish": "main", "name": r.tag(), "draft": false,
		"prerelease": false, "created_at": shape.Time(r.published), "published_at": shape.Time(r.published),
		"author": c.links.Sender(), "assets": assets, "body": notes.String(),
	}
}

// download serves an asset of a release.
func download(c *call) (answer, error) {
	r, err := c.release(c.PathValue("tag"))
	if err != nil {
		return answer{}, err
	}
	if !slices.ContainsFunc(platforms(), func(p string) bool { return r.asset(p) == c.PathValue("file") }) {
		return answer{}, errNotFound
	}
	return answer{status: http.StatusOK, body: c.gh.archive}, nil
}
