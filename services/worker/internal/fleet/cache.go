package fleet

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// cachePath is where a sandbox has its cache.
	cachePath = "/cache"
	// cacheVersion is the one of Modal's Volumes that any number of sandboxes may write to at a time.
	cacheVersion = 2
)

// cacheScript is the command with which jobs, and the entrypoint for the tools, keep what they want to find again. It says what makes
// that safe.
//
//go:embed cache.sh
var cacheScript string

// ofRepository reports whether only jobs of the job's own repository can take the runner. One of an organization may be taken by a job of
// any of its repositories, and a cache can't be taken out of a sandbox when that comes, so such runners have none.
func ofRepository(r run.Runner) bool { return r.Scope == r.Job.Owner+"/"+r.Job.Repo }

// mountCache gives the sandbox of a job what its repository keeps, and nothing of others. An error says that nothing was created.
func (f *Fleet) mountCache(ctx context.Context, client *modal.Client, params *modal.SandboxCreateParams, p run.Pool, j run.Job) error {
	name := p.Cache.Volume
	if name == "" {
		name = f.App + "-cache"
	}
	volume, err := client.Volumes.FromName(ctx, name, &modal.VolumeFromNameParams{CreateIfMissing: true, Version: cacheVersion})
	if err != nil {
		return missing(p, "cache", name, err)
	}
	path := fmt.Sprintf("/%s/%s/%s", pathName(j.Owner), pathName(j.Repo), pathName(p.Cache.Name))
	params.Volumes[cachePath] = volume.WithMountOptions(&modal.VolumeMountOptionsParams{ReadOnly: &p.Cache.ReadOnly, SubPath: &path})
	params.Env["RUNNER_CACHE"], params.Env["RUNNER_CACHE_MIB"] = cachePath, strconv.Itoa(p.Cache.SizeMiB)
	if p.Cache.ReadOnly {
		params.Env["RUNNER_CACHE_READ_ONLY"] = "1"
	}
	return nil
}

// pathName is a name of one directory, whatever the text. Texts that GitHub takes for one repository, which differ in case only, have
// the same, and no others.
func pathName(text string) string {
	var b strings.Builder
	for i, c := range []byte(strings.ToLower(text)) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	if b.Len() == 0 {
		return "%"
	}
	return b.String()
}
