package faultstest_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"modal-github-runner/services/internal/faultstest"
)

// played is a test whose end the test of it decides.
type played struct {
	testing.TB

	failed, skipped bool
	cleanup         func()
}

func (*played) Name() string       { return "TestPlayed/twice" }
func (p *played) Failed() bool     { return p.failed }
func (p *played) Skipped() bool    { return p.skipped }
func (p *played) Cleanup(f func()) { p.cleanup = f }

func TestOnlyATestThatPassedHasMadeAFaultHappen(t *testing.T) {
	const here = "services/internal/faultstest"
	tests := []struct {
		name string
		test played
		want []faultstest.Record
	}{
		{"one that passed is recorded with each row", played{}, []faultstest.Record{
			{Row: "F01", Package: here, Test: "TestPlayed/twice", Short: testing.Short()},
			{Row: "F02", Package: here, Test: "TestPlayed/twice", Short: testing.Short()},
		}},
		{"one that failed is not", played{failed: true}, nil},
		{"one that was skipped is not", played{skipped: true}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "faults")
			t.Setenv(faultstest.Dir, dir)
			tt.test.TB = t
			faultstest.Cover(&tt.test, "F01", "F02")
			if _, err := faultstest.Read(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("before the test has ended: %v", err)
			}
			tt.test.cleanup()
			got, err := faultstest.Read(dir)
			if wrong := err != nil && (tt.want != nil || !errors.Is(err, fs.ErrNotExist)); wrong || !slices.Equal(got, tt.want) {
				t.Errorf("recorded %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestWithoutAFolderNothingIsRecorded(t *testing.T) {
	t.Setenv(faultstest.Dir, "")
	test := played{TB: t}
	faultstest.Cover(&test, "F01")
	if test.cleanup != nil {
		t.Error("it wants to record something")
	}
}

func TestAFileThatIsNoneOfOursIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "records.tsv"), []byte("F01\tsomewhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if records, err := faultstest.Read(dir); err == nil {
		t.Errorf("read %v", records)
	}
}
