package obs

import (
	"cmp"
	"runtime/debug"
)

// version and revision are set by the linker: -ldflags "-X modal-github-runner/services/internal/obs.version=v1.2.3".
// The go command records the commit itself, but not where it builds without the repository, or in a git worktree.
var (
	version  string
	revision string //nolint:gochecknoglobals // the linker can set nothing else
)

// Build says which build of the program runs.
type Build struct {
	Version  string // the release, "devel" if none was linked in
	Revision string // the commit, "unknown" if the build did not record it
	Go       string // the toolchain
}

// ReadBuild returns the build of the running program.
func ReadBuild() Build {
	b := Build{Version: version, Revision: revision}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Go = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && b.Revision == "" {
				b.Revision = s.Value
			}
		}
	}
	b.Version, b.Revision = cmp.Or(b.Version, "devel"), cmp.Or(b.Revision, "unknown")
	return b
}

// String is what the version command prints.
func (b Build) String() string { return b.Version + " (" + b.Revision + ", " + b.Go + ")" }
