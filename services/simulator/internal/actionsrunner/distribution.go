package actionsrunner

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// script starts exe as the runner of the folder that holds the script, up steps above it.
func script(exe, up, flags string) []byte {
	quoted := "'" + strings.ReplaceAll(exe, "'", `'\''`) + "'"
	return fmt.Appendf(nil, `#!/bin/sh
ACTIONS_RUNNER_ROOT=$(CDPATH= cd -- "$(dirname -- "$0")%s" && pwd) || exit 1
export ACTIONS_RUNNER_ROOT
exec %s runner%s "$@"
`, up, quoted, flags)
}

// file of a distribution.
type file struct {
	path    string // with slashes
	content []byte
}

func distribution(exe string) []file {
	return []file{
		{"run.sh", script(exe, "", " --script")},
		{"bin/Runner.Listener", script(exe, "/..", "")},
	}
}

// WriteDistribution lays a runner's distribution into dir, which it creates: run.sh and bin/Runner.Listener, which
// start the runner of simulatorExe ("simulator runner ...") in that folder. The folder may be copied elsewhere.
func WriteDistribution(dir, simulatorExe string) error {
	for _, f := range distribution(simulatorExe) {
		path := filepath.Join(dir, filepath.FromSlash(f.path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // programs that any user may run
			return fmt.Errorf("runner distribution: %w", err)
		}
		if err := os.WriteFile(path, f.content, 0o755); err != nil { //nolint:gosec // see above
			return fmt.Errorf("runner distribution: %w", err)
		}
	}
	return nil
}

// Archive packs the same distribution as the .tar.gz that a release offers. The same exe gives the same bytes.
func Archive(simulatorExe string) ([]byte, error) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, f := range distribution(simulatorExe) {
		if err := archive.WriteHeader(&tar.Header{Name: "./" + f.path, Mode: 0o755, Size: int64(len(f.content))}); err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.path, err)
		}
		if _, err := archive.Write(f.content); err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.path, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if err := zipped.Close(); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return out.Bytes(), nil
}
