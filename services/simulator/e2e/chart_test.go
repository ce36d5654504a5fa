package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// chartCases are the files in deployments/helm/cases, each with the objects that the chart makes of it in renders.
var chartCases = []string{"app", "gateway", "token"}

// manifest is an object for Kubernetes. What Spec has depends on the kind. The fields of this and what follows are called as
// Kubernetes calls them.
type manifest struct {
	APIVersion, Kind string
	Metadata         struct {
		Name   string
		Labels map[string]string
	}
	Data map[string]string
	Spec json.RawMessage
}

func spec[T any](t *testing.T, m manifest) (out T) {
	t.Helper()
	decodeJSON(t, m.Spec, &out)
	return out
}

// deployment is what the tests need of a Deployment.
type deployment struct {
	Replicas *int
	Strategy struct{ RollingUpdate map[string]int }
	Selector selector
	Template struct {
		Metadata struct{ Labels map[string]string }
		Spec     pod
	}
}

type selector struct{ MatchLabels map[string]string }

// selects reports whether a pod has all labels that are asked for.
func (s selector) selects(d deployment) bool {
	for name, value := range s.MatchLabels {
		if d.Template.Metadata.Labels[name] != value {
			return false
		}
	}
	return len(s.MatchLabels) > 0
}

type pod struct {
	AutomountServiceAccountToken *bool
	EnableServiceLinks           *bool

	TerminationGracePeriodSeconds int

	SecurityContext map[string]any
	Containers      []container
	Volumes         []struct {
		Name      string
		Secret    fileSource
		ConfigMap *fileSource
	}
}

type fileSource struct {
	Name  string
	Items []struct{ Key, Path string }
}

type container struct {
	Env             []struct{ Name, Value string }
	SecurityContext map[string]any
	Resources       map[string]map[string]string
	VolumeMounts    []volumeMount
	Ports           []struct {
		Name          string
		ContainerPort int
	}
	StartupProbe, LivenessProbe, ReadinessProbe probe
}

type volumeMount struct {
	Name, MountPath, SubPath string
	ReadOnly                 bool
}

type probe struct{ HTTPGet struct{ Path, Port string } }

func (c container) env(name string) string {
	for _, variable := range c.Env {
		if variable.Name == name {
			return variable.Value
		}
	}
	return ""
}

func (c container) port(name string) int {
	for _, port := range c.Ports {
		if port.Name == name {
			return port.ContainerPort
		}
	}
	return 0
}

// rendered objects of one case.
type objects []manifest

func chartObjectsOf(t *testing.T, name string) objects {
	t.Helper()
	var all objects
	decoder := yaml.NewDecoder(bytes.NewReader(readFile(t, filepath.Join(repositoryRoot(t), "deployments", "helm", "renders", name+".yaml"))))
	for {
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var m manifest
		decodeJSON(t, text, &m)
		if m.Kind != "" {
			all = append(all, m)
		}
	}
}

func (o objects) of(kind string) (found objects) {
	for _, m := range o {
		if m.Kind == kind {
			found = append(found, m)
		}
	}
	return found
}

// deployments are those of ingress and worker, by these names.
func (o objects) deployments(t *testing.T) map[string]deployment {
	t.Helper()
	found := map[string]deployment{}
	for _, m := range o.of("Deployment") {
		found[m.Metadata.Labels["app.kubernetes.io/component"]] = spec[deployment](t, m)
	}
	if len(found) != 2 || len(found["ingress"].Template.Spec.Containers) != 1 || len(found["worker"].Template.Spec.Containers) != 1 {
		t.Fatalf("want a deployment of ingress and one of worker with a container each, got %v", found)
	}
	return found
}

// What the chart makes is generated, by make helm, and Helm takes too long to build for each run of the tests.
func TestTheChartIsAsItWasWhenItWasRendered(t *testing.T) {
	t.Parallel()
	root := filepath.Join(repositoryRoot(t), "deployments", "helm")
	noted, found := map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(readFile(t, filepath.Join(root, "SHA256SUMS")))) {
		sum, file, _ := strings.Cut(strings.TrimSpace(line), "  ")
		noted[file] = sum
	}
	for _, dir := range []string{"modal-github-runner", "cases", "renders"} {
		err := fs.WalkDir(os.DirFS(root), dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				sum := sha256.Sum256(readFile(t, filepath.Join(root, path)))
				found[path] = hex.EncodeToString(sum[:])
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(noted, found); diff != "" {
		t.Errorf("the chart, a case or what was made of it is another than it was: run make helm\n%s", diff)
	}
	var cases []string
	for file := range found {
		if name, ok := strings.CutPrefix(file, "cases/"); ok {
			cases = append(cases, strings.TrimSuffix(name, ".yaml"))
		}
	}
	slices.Sort(cases)
	if diff := cmp.Diff(chartCases, cases); diff != "" {
		t.Errorf("cases that are tested, and those that are there: %s", diff)
	}
}

func TestTheChartsPodsMayDoNextToNothing(t *testing.T) {
	t.Parallel()
	no := false
	for _, name := range chartCases {
		for service, d := range chartObjectsOf(t, name).deployments(t) {
			t.Run(name+" "+service, func(t *testing.T) {
				t.Parallel()
				p := d.Template.Spec
				c := p.Containers[0]
				same := func(what string, want, got any) {
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s: %s", what, diff)
					}
				}
				same("the pod", map[string]any{
					"runAsNonRoot": true, "runAsUser": 65532.0, "runAsGroup": 65532.0, "fsGroup": 65532.0,
					"seccompProfile": map[string]any{"type": "RuntimeDefault"},
				}, p.SecurityContext)
				same("the container", map[string]any{
					"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
					"capabilities": map[string]any{"drop": []any{"ALL"}},
				}, c.SecurityContext)
				same("the token of the service account", &no, p.AutomountServiceAccountToken)
				same("service links", &no, p.EnableServiceLinks)
				same("a rollout", map[string]int{"maxUnavailable": 0, "maxSurge": 1}, d.Strategy.RollingUpdate)
				same("the selector selects its pods", true, d.Selector.selects(d))
				for _, kind := range []string{"requests", "limits"} {
					if c.Resources[kind]["cpu"] == "" || c.Resources[kind]["memory"] == "" {
						t.Errorf("%s: %v", kind, c.Resources[kind])
					}
				}
				for _, m := range c.VolumeMounts {
					if !m.ReadOnly || m.SubPath != "" {
						t.Errorf("%s must be read-only and whole, since what is mounted by subPath is never renewed: %+v", m.Name, m)
					}
				}
			})
		}
	}
}
