package pools_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/proto/pools"
)

func TestAFileThatChangesIsReadAgainAndABadOneChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	write := func(t *testing.T, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(t, "max_sandboxes: 1\n")
	synctest.Test(t, func(t *testing.T) {
		source, err := pools.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		source.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
		first, _ := source.State()
		check := func(what string, most int, fails, sameHash bool, logged string) {
			t.Helper()
			log.Reset()
			for range 3 { // What does not change is logged once.
				time.Sleep(time.Second)
				if got := source.File().MaxSandboxes; got != most {
					t.Errorf("%s: got %d sandboxes, want %d", what, got, most)
				}
			}
			hash, err := source.State()
			if (err != nil) != fails || (hash == first) != sameHash || len(hash) != 12 {
				t.Errorf("%s: state %q (first %q), %v", what, hash, first, err)
			}
			if n := strings.Count(log.String(), "\n"); logged == "" && n > 0 || logged != "" && (n != 1 || !strings.Contains(log.String(), logged)) {
				t.Errorf("%s: logged %s", what, &log)
			}
		}
		check("no change", 1, false, true, "")
		write(t, "max_sandboxes: 20\n")
		if got := source.File().MaxSandboxes; got != 1 {
			t.Errorf("the file is looked at again within a second: %d", got)
		}
		check("a change", 20, false, false, "pools file reloaded")
		write(t, "max_sandboxes: none\n")
		check("a mistake", 20, true, false, "keeping the last good one")
		write(t, "max_sandboxes: nothing\n")
		check("another mistake", 20, true, false, "line 1: max_sandboxes: must be a whole number")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		check("no file", 20, true, false, "no such file")
		write(t, "max_sandboxes: 1\n")
		check("mended", 1, false, true, "pools file reloaded")
		if err := errors.Join(os.Rename(path, path+".aside"), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		check("what can't be read", 1, true, true, "is a directory")
		if err := errors.Join(os.Remove(path), os.Rename(path+".aside", path)); err != nil {
			t.Fatal(err)
		}
		check("the same file again", 1, false, true, "pools file reloaded")
	})
}

func TestASourceBeginsWithAGoodFileOrNone(t *testing.T) {
	t.Parallel()
	source, err := pools.Open("")
	if err != nil {
		t.Fatal(err)
	}
	if hash, err := source.State(); hash != "default" || err != nil || len(source.File().Pools) != 1 {
		t.Errorf("without a file: %q, %v", hash, err)
	}
	if _, err := pools.Open("testdata/values.yaml"); err == nil {
		t.Error("a file with mistakes is opened")
	} else if _, ok := errors.AsType[pools.Errors](err); !ok {
		t.Errorf("got %v", err)
	}
}
