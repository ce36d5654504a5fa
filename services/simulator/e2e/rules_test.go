package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	ours     = "modal-github-runner/"
	modalSDK = "github.com/modal-labs/modal-client/..."
	github   = "github.com/google/go-github/..."
	natsGo   = "github.com/nats-io/nats.go/..."
	natsd    = "github.com/nats-io/nats-server/..."
)

// rule says what some packages may import. A pattern is an import path, ours without the module prefix; "/..." at its end
// stands for the path and all below it, "std" for the standard library. Each pattern must match something, so that a rule
// can't outlive the package that it was about.
type rule struct {
	name   string
	of     []string // the packages that the rule is about
	except []string // and those of them that it is not about
	may    []string // if set, they import nothing else
	never  []string // they import none of these, themselves excepted
	unless []string // what they may import although never names it
	linked bool     // what their imports import counts, too
}

// The adapters speak to one outside party each.
var adapters = []string{
	"services/worker/internal/forge", "services/worker/internal/fleet",
	"services/worker/internal/ledger", "services/worker/internal/intake", "services/worker/internal/control",
	"services/worker/internal/budget", "services/worker/internal/builds",
}

var rules = []rule{
	{
		name:   "the worker's core imports the standard library only",
		of:     []string{"services/worker/internal/run"},
		may:    []string{"std"},
		linked: true,
	},
	{
		name: "the contract imports the standard library, protobuf and YAML only",
		of:   []string{"proto/..."},
		may:  []string{"std", "google.golang.org/protobuf/...", "go.yaml.in/yaml/...", "proto/..."},
	},
	{
		name:  "the shared plumbing knows no service",
		of:    []string{"services/internal/..."},
		never: []string{"services/ingress/...", "services/worker/...", "services/simulator/..."},
	},
	{
		name:   "the shared plumbing knows the contract in natsx only",
		of:     []string{"services/internal/..."},
		except: []string{"services/internal/natsx"},
		never:  []string{"proto/..."},
	},
	{
		name:  "ingress and worker share nothing but the contract and the plumbing: ingress",
		of:    []string{"services/ingress/..."},
		never: []string{"services/worker/...", "services/simulator/..."},
	},
	{
		name:  "ingress and worker share nothing but the contract and the plumbing: worker",
		of:    []string{"services/worker/..."},
		never: []string{"services/ingress/...", "services/simulator/..."},
	},
	{
		name:   "the public process links neither the clients of GitHub and Modal nor a server",
		of:     []string{"services/ingress/cmd/ingress"},
		never:  []string{modalSDK, github, natsd},
		linked: true,
	},
	{
		name:  "the webhook handler does not know the queue's client",
		of:    []string{"services/ingress/internal/webhook"},
		never: []string{natsGo, "services/ingress/internal/publish", "services/internal/natsx"},
	},
	{
		name:   "only the fleet and the simulator import the Modal SDK",
		of:     []string{"proto/...", "services/..."},
		except: []string{"services/worker/internal/fleet", "services/simulator/..."},
		never:  []string{modalSDK},
	},
	{
		name:   "only the forge imports the GitHub client",
		of:     []string{"proto/...", "services/..."},
		except: []string{"services/worker/internal/forge"},
		never:  []string{github},
	},
	{
		name:  "adapters never import each other",
		of:    adapters,
		never: adapters,
	},
	{
		name:  "adapters do not know who calls them",
		of:    []string{"services/worker/internal/forge", "services/worker/internal/fleet", "services/worker/internal/ledger"},
		never: []string{"services/worker/internal/launch", "services/worker/app"},
	},
	{
		name:  "the shell and the sweeps reach the outside through ports only, and their simulator has nothing of the adapters",
		of:    []string{"services/worker/internal/launch", "services/worker/internal/sweep", "services/worker/internal/exact"},
		never: append([]string{natsGo, github, modalSDK}, adapters...),
	},
	{
		name:   "commands import their app only",
		of:     []string{"services/ingress/cmd/ingress", "services/worker/cmd/..."},
		never:  []string{"proto/...", "services/..."},
		unless: []string{"services/ingress/app", "services/worker/app", "services/worker/internal/exact"},
	},
	{
		name:   "nothing but commands imports an app",
		of:     []string{"services/..."},
		except: []string{"services/ingress/cmd/ingress", "services/worker/cmd/worker", "services/simulator/e2e/..."},
		never:  []string{"services/ingress/app", "services/worker/app"},
	},
	{
		name:   "the simulator never imports a service's code; its end-to-end suite runs their apps",
		of:     []string{"services/simulator/..."},
		except: []string{"services/simulator/e2e/..."},
		never:  []string{"services/ingress/...", "services/worker/..."},
	},
	{
		name: "the stand-ins share no code with what they test",
		of: []string{
			"services/simulator/internal/world/...", "services/simulator/internal/fakegithub/...",
			"services/simulator/internal/fakemodal/...", "services/simulator/internal/actionsrunner/...",
		},
		never:  []string{"proto/...", "services/..."},
		unless: []string{"services/simulator/internal/..."},
	},
	{
		name:   "no binary links test code",
		of:     []string{"services/ingress/cmd/ingress", "services/worker/cmd/worker", "services/simulator/cmd/simulator"},
		never:  []string{"services/internal/natstest", "services/internal/faultstest", "services/internal/cli/clitest", "go.uber.org/goleak", "github.com/google/go-cmp/...", "pgregory.net/rapid"},
		linked: true,
	},
}

func TestPackagesKeepTheirDistance(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, pattern := range slices.Concat(r.of, r.except, r.may, r.never, r.unless) {
				if !packages.has(pattern) {
					t.Errorf("pattern %q matches no package", pattern)
				}
			}
			for _, p := range packages.list {
				if !matches(r.of, p.ImportPath) || matches(r.except, p.ImportPath) {
					continue
				}
				for _, offender := range r.offenders(p) {
					t.Errorf("%s must not import %s", p.ImportPath, offender)
				}
			}
		})
	}
}

// The pools file names time zones. It must not be good on one machine and bad, or another one, in an image that knows none.
func TestBinariesThatReadThePoolsFileKnowTimeZones(t *testing.T) {
	t.Parallel()
	readers := []string{"services/ingress/cmd/ingress", "services/worker/cmd/worker"}
	for _, p := range listPackages(t).list {
		if matches(readers, p.ImportPath) && !slices.Contains(p.Deps, "time/tzdata") {
			t.Errorf("%s must import time/tzdata", p.ImportPath)
		}
	}
}

// offenders returns those imports of p that r forbids.
func (r rule) offenders(p listedPackage) []string {
	imports := p.Imports
	if r.linked {
		imports = p.Deps
	}
	var found []string
	for _, path := range imports {
		outside := r.may != nil && !matches(r.may, path)
		forbidden := path != p.ImportPath && matches(r.never, path) && !matches(r.unless, path)
		if outside || forbidden {
			found = append(found, path)
		}
	}
	return found
}

func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, path) })
}

func match(pattern, path string) bool {
	first, _, _ := strings.Cut(path, "/")
	if pattern == "std" {
		return !strings.Contains(first, ".") && !strings.HasPrefix(path, ours)
	}
	if strings.HasPrefix(pattern, "proto/") || strings.HasPrefix(pattern, "services/") {
		pattern = ours + pattern
	}
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return path == pattern
}

// listedPackage is what the rules need of what `go list -json` prints.
type listedPackage struct {
	ImportPath   string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
}

type listedPackages struct {
	list []listedPackage
	seen map[string]bool // every path that the list names
}

func (l listedPackages) has(pattern string) bool {
	for path := range l.seen {
		if match(pattern, path) {
			return true
		}
	}
	return false
}

// listPackages lists the packages of all modules of the workspace.
func listPackages(t *testing.T) listedPackages {
	t.Helper()
	out := goTool(t, "list", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "work")
	packages := listedPackages{seen: map[string]bool{}}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("decode what go list printed: %v", err)
		}
		packages.list = append(packages.list, p)
		for _, path := range slices.Concat([]string{p.ImportPath}, p.Deps, p.TestImports, p.XTestImports) {
			packages.seen[path] = true
		}
	}
}

// goTool returns what the go command prints when it runs on the workspace, whatever GOWORK the test itself runs with.
func goTool(t *testing.T, args ...string) []byte {
	t.Helper()
	root := repositoryRoot(t)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK="+filepath.Join(root, "go.work"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// repositoryRoot returns the folder that holds go.work.
func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.work above the test's folder")
		}
		dir = parent
	}
}
