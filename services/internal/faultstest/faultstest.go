// Package faultstest keeps account of which tests make which faults happen. What it records becomes the table of faults in
// services/simulator/README.md; what a row of the table means it does not know. Only tests may import it.
package faultstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Dir is the environment variable that names the folder in which records are kept. Without it none are.
const Dir = "FAULTS_DIR"

// file is one for all: a line is appended by one write, so that packages that are tested at once do not mix theirs up.
const file = "records.tsv"

// modulePrefix is what all our import paths begin with.
const modulePrefix = "modal-github-runner/"

// Record says that a test that passed has made a fault happen.
type Record struct {
	// Row is the fault's, such as F24.
	Row string
	// Package is the folder of the test, from the root of the repository.
	Package string
	// Test is its whole name, subtests too.
	Test string
	// Short reports whether it ran with -short, as make test runs it.
	Short bool
}

// Cover says that the test makes the faults of these rows happen, which is recorded once it has passed. It is best called
// first: cleanups that were registered before run later, and can then still fail the test unseen.
func Cover(tb testing.TB, rows ...string) {
	tb.Helper()
	dir := os.Getenv(Dir) //nolint:forbidigo // no setting of a service: make sets it for a run of the tests
	if dir == "" {
		return
	}
	where := callersPackage()
	tb.Cleanup(func() {
		if tb.Failed() || tb.Skipped() {
			return
		}
		mode := "long"
		if testing.Short() {
			mode = "short"
		}
		var lines strings.Builder
		for _, row := range rows {
			fmt.Fprintf(&lines, "%s\t%s\t%s\t%s\n", row, where, tb.Name(), mode)
		}
		if err := write(dir, lines.String()); err != nil {
			tb.Errorf("record faults: %v", err)
		}
	})
}

// callersPackage is the folder of the package that called Cover. The name of a function has it, whatever -trimpath and the
// working directory are.
func callersPackage() string {
	pc, _, _, _ := runtime.Caller(2) //nolint:dogsled // only the function counts
	name := runtime.FuncForPC(pc).Name()
	parents, last := filepath.Split(name)
	last, _, _ = strings.Cut(last, ".")
	return strings.TrimPrefix(parents, modulePrefix) + strings.TrimSuffix(last, "_test")
}

func write(dir, lines string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil { //nolint:gosec // who runs the tests says where
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // as above
	if err != nil {
		return err
	}
	_, err = f.WriteString(lines)
	return errors.Join(err, f.Close())
}

// Read returns what was recorded in a folder, in the order in which it was. A folder without records is an error that
// matches [fs.ErrNotExist].
func Read(dir string) ([]Record, error) {
	content, err := fs.ReadFile(os.DirFS(dir), file)
	if err != nil {
		return nil, err
	}
	var records []Record
	for line := range strings.Lines(string(content)) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(parts) != 4 {
			return nil, fmt.Errorf("%s: a line must be row, package, test and mode (got %q)", file, line)
		}
		records = append(records, Record{Row: parts[0], Package: parts[1], Test: parts[2], Short: parts[3] == "short"})
	}
	return records, nil
}
