package e2e_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A file that fits on a few screens can be read in one go. The limit is wide, so that it stops monsters and not a thought.
const (
	maxFileLines = 600
	maxMainLines = 60
)

// The simulator speaks the other side of what the services speak with these: one version, or the test tells nothing about
// the product. Of the Modal SDK a second version can't even be linked, both would register the same messages.
var speakTheSame = []string{
	"github.com/modal-labs/modal-client/go",
	"github.com/nats-io/nats.go",
	"google.golang.org/protobuf",
}

// moduleFile is what the rules need of `go mod edit -json` and `go work edit -json`.
type moduleFile struct {
	Go      string
	Use     []struct{ DiskPath string }
	Require []struct{ Path, Version string }
	Replace []struct {
		Old struct{ Path string }
		New struct{ Path, Version string }
	}
}

func TestModulesAgree(t *testing.T) {
	t.Parallel()
	root := repositoryRoot(t)
	var workspace moduleFile
	decodeJSON(t, goTool(t, "work", "edit", "-json"), &workspace)

	modules := map[string]moduleFile{}
	for _, use := range workspace.Use {
		var m moduleFile
		decodeJSON(t, goTool(t, "mod", "edit", "-json", filepath.Join(use.DiskPath, "go.mod")), &m)
		modules[filepath.Clean(use.DiskPath)] = m
	}

	t.Run("the modules and the workspace ask for the same Go", func(t *testing.T) {
		t.Parallel()
		for dir, m := range modules {
			if m.Go != workspace.Go {
				t.Errorf("%s/go.mod asks for go %s, go.work for go %s", dir, m.Go, workspace.Go)
			}
		}
	})

	t.Run("replacements lead to modules of this workspace", func(t *testing.T) {
		t.Parallel()
		for dir, m := range modules {
			for _, r := range m.Replace {
				target := filepath.Join(dir, r.New.Path)
				if _, ok := modules[target]; !ok || filepath.IsAbs(r.New.Path) || r.New.Version != "" {
					t.Errorf("%s/go.mod replaces %s by %s %s", dir, r.Old.Path, r.New.Path, r.New.Version)
				}
			}
		}
	})

	t.Run("every module of the repository is in the workspace", func(t *testing.T) {
		t.Parallel()
		walkSources(t, root, func(path string, _ []byte) {
			if _, ok := modules[filepath.Dir(path)]; filepath.Base(path) == "go.mod" && !ok {
				t.Errorf("%s is not in go.work", path)
			}
		})
	})

	for _, library := range speakTheSame {
		t.Run("all that speak with "+library+" use one version", func(t *testing.T) {
			t.Parallel()
			versions := map[string][]string{}
			for dir, m := range modules {
				for _, r := range m.Require {
					if r.Path == library {
						versions[r.Version] = append(versions[r.Version], dir)
					}
				}
			}
			if len(versions) != 1 {
				t.Errorf("want one version, required are %v", versions)
			}
		})
	}
}

func TestFilesStaySmall(t *testing.T) {
	t.Parallel()
	generated := regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	command := regexp.MustCompile(`(?m)^package main$`)
	mains := 0
	walkSources(t, repositoryRoot(t), func(path string, content []byte) {
		if filepath.Ext(path) != ".go" || generated.Match(content) {
			return
		}
		limit := maxFileLines
		if command.Match(content) && !strings.HasSuffix(path, "_test.go") {
			mains++
			limit = maxMainLines
		}
		if lines := bytes.Count(content, []byte("\n")); lines > limit {
			t.Errorf("%s has %d lines, at most %d are allowed", path, lines, limit)
		}
	})
	if mains == 0 {
		t.Error("no command was found")
	}
}

func TestTopLevelHoldsNothingElse(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"services", "proto", "deployments", "go.work", "go.work.sum", "Makefile", "README.md", "docker-compose.yml", "LICENSE",
		"bin", // built, not committed
	}
	entries, err := os.ReadDir(repositoryRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) {
			t.Errorf("%s does not belong at the top level: allowed are %v and dotfiles", name, allowed)
		}
	}
}

// walkSources calls visit for each Go file and go.mod below root, with its path from there.
func walkSources(t *testing.T, root string, visit func(path string, content []byte)) {
	t.Helper()
	files := os.DirFS(root)
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if name != "go.mod" && filepath.Ext(name) != ".go" {
			return nil
		}
		content, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		visit(path, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func decodeJSON(t *testing.T, data []byte, target any) {
	t.Helper()
	if err := json.Unmarshal(data, target); err != nil {
		t.Fatalf("decode what the go command printed: %v", err)
	}
}
