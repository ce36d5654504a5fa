package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
)

// TestIngressAndWorkersAreReplacedByTheNextVersionInEitherOrder has a next version, which is this one but for the version of the schema
// that it writes and understands. A job comes when only the first of the two programs is of it.
func TestIngressAndWorkersAreReplacedByTheNextVersionInEitherOrder(t *testing.T) {
	long(t)
	t.Parallel()
	old, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	next := buildNext(t)
	tests := []struct {
		name          string
		first, second string
		held          bool // the job waits for a worker that understands what ingress says
	}{
		{"ingress first", "ingress", "worker", true},
		{"the worker first", "worker", "ingress", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			covers(t, "F39", "F58")
			bin := t.TempDir()
			for _, program := range []string{"ingress", "worker", "simulator", "nats-server"} {
				deploy(t, bin, program, old)
			}
			s := start(t, rig.Options{Bin: bin})
			s.replace(bin, tt.first, next)
			s.dispatch(t.Context(), "acme/api", task("between", 0))
			if tt.held {
				eventually(t, "the worker knows that it does not understand", func(context.Context) bool {
					return strings.Contains(s.log("worker-1"), `"msg":"message held for a newer worker"`)
				})
				if sandboxes, registrations := s.left(t.Context()); sandboxes+registrations > 0 {
					t.Errorf("%d sandboxes and %d registrations for a job that nobody understands", sandboxes, registrations)
				}
			} else {
				s.succeeds(soon, "between")
			}
			s.replace(bin, tt.second, next)
			s.succeeds(2*soon, "between") // What is held is for a minute. A job that came now would have its runner take this one.
			s.dispatch(t.Context(), "acme/api", task("after", 0))
			s.succeeds(soon, "after")
			s.leavesNothing(soon)
			if made := len(s.modal(t.Context()).Sandboxes); made != 2 {
				t.Errorf("%d sandboxes were made for two jobs", made)
			}
		})
	}
}

// replace has the program be the next version's from now on.
func (s *system) replace(bin, program, next string) {
	s.t.Helper()
	deploy(s.t, bin, program, next)
	s.do(s.process(program + "-1").Stop(stopLimit))
	s.do(s.restart(program + "-1"))
	s.do(s.AwaitReady(s.t.Context()))
}

// deploy has the program in the folder bin be that of the folder from.
func deploy(t *testing.T, bin, program, from string) {
	t.Helper()
	name := filepath.Join(bin, program)
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(from, program), name); err != nil {
		t.Fatal(err)
	}
}

// buildNext builds ingress and worker of the next version, and returns their folder.
func buildNext(t *testing.T) string {
	t.Helper()
	root := repositoryRoot(t)
	file := filepath.Join(root, "proto", "wire", "headers.go")
	source := string(readFile(t, file))
	const version = "\tSchemaVersion = 1\n"
	if strings.Count(source, version) != 1 {
		t.Fatalf("%s has no line %q", file, version)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "headers.go"), filepath.Join(dir, "overlay.json")
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{changed: []byte(strings.Replace(source, version, "\tSchemaVersion = 2\n", 1)), overlay: replaced} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "bin")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", overlay, "-o", bin+string(filepath.Separator),
		ours+"services/ingress/cmd/ingress", ours+"services/worker/cmd/worker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK="+filepath.Join(root, "go.work"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}
