package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// The modules that have the schemas of what the chart makes.
const (
	kubernetesModule = "k8s.io/kubernetes@v1.37.2"
	gatewayModule    = "sigs.k8s.io/gateway-api@v1.6.3"
	kedaModule       = "github.com/kedacore/keda/v2@v2.21.0"
	prometheusModule = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// chartObjects are the kinds of objects that the chart makes, and where their schemas are.
var chartObjects = map[string]struct{ apiVersion, module, file string }{
	"ConfigMap":               {"v1", kubernetesModule, "api/openapi-spec/v3/api__v1_openapi.json"},
	"Service":                 {"v1", kubernetesModule, "api/openapi-spec/v3/api__v1_openapi.json"},
	"Deployment":              {"apps/v1", kubernetesModule, "api/openapi-spec/v3/apis__apps__v1_openapi.json"},
	"HorizontalPodAutoscaler": {"autoscaling/v2", kubernetesModule, "api/openapi-spec/v3/apis__autoscaling__v2_openapi.json"},
	"Ingress":                 {"networking.k8s.io/v1", kubernetesModule, "api/openapi-spec/v3/apis__networking.k8s.io__v1_openapi.json"},
	"NetworkPolicy":           {"networking.k8s.io/v1", kubernetesModule, "api/openapi-spec/v3/apis__networking.k8s.io__v1_openapi.json"},
	"PodDisruptionBudget":     {"policy/v1", kubernetesModule, "api/openapi-spec/v3/apis__policy__v1_openapi.json"},
	"HTTPRoute":               {"gateway.networking.k8s.io/v1", gatewayModule, "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
	"ScaledObject":            {"keda.sh/v1alpha1", kedaModule, "config/crd/bases/keda.sh_scaledobjects.yaml"},
	"PodMonitor": {
		"monitoring.coreos.com/v1", prometheusModule, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
	},
}

// The files are generated, from modules of some 30 MB: go test ./services/simulator/e2e -run TestTheSchemasOfTheChart -update.
func TestTheSchemasOfTheChartAreThoseOfTheModules(t *testing.T) {
	long(t)
	for kind, from := range chartObjects {
		t.Run(kind, func(t *testing.T) {
			source := readFile(t, filepath.Join(moduleFolder(t, from.module), from.file))
			var object schema
			if strings.HasSuffix(from.file, ".json") {
				object = ofOpenAPI(t, source, kind)
			} else {
				object = ofDefinition(t, source, from.apiVersion)
			}
			properties := object["properties"].(schema)
			properties["apiVersion"], properties["kind"] = schema{"const": from.apiVersion}, schema{"const": kind}
			want, err := json.MarshalIndent(object, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, '\n')
			file := filepath.Join(repositoryRoot(t), "deployments", "helm", "schemas", strings.ToLower(kind)+".json")
			if *update {
				if err := os.WriteFile(file, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := readFile(t, file); !bytes.Equal(want, got) {
				t.Errorf("%s is not what %s says:\n%s", file, from.module, cmp.Diff(string(want), string(got)))
			}
		})
	}
}

// moduleFolder is where the go command keeps a module, which it gets if need be.
func moduleFolder(t *testing.T, module string) string {
	t.Helper()
	var downloaded struct{ Dir string }
	decodeJSON(t, goTool(t, "mod", "download", "-json", module), &downloaded)
	return downloaded.Dir
}

// schema is a JSON schema, or a part of one.
type schema = map[string]any

// ofOpenAPI is the schema of a kind in what a Kubernetes API server says of itself, with all that it refers to.
func ofOpenAPI(t *testing.T, source []byte, kind string) schema {
	t.Helper()
	var document struct {
		Components struct{ Schemas map[string]schema }
	}
	decodeJSON(t, source, &document)
	all, used := document.Components.Schemas, schema{}
	var use func(name string)
	use = func(name string) {
		if used[name] != nil {
			return
		}
		used[name] = closed(all[name])
		text, err := json.Marshal(used[name])
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), `"$ref":"#/components/schemas/`)[1:] {
			referred, _, _ := strings.Cut(part, `"`)
			use(referred)
		}
	}
	for name, s := range all {
		if strings.HasSuffix(name, "."+kind) && s["x-kubernetes-group-version-kind"] != nil {
			use(name)
			object := used[name].(schema)
			delete(used, name)
			object["components"] = schema{"schemas": used}
			return object
		}
	}
	t.Fatalf("no schema of %s", kind)
	return nil
}

// ofDefinition is the schema in the definition of a custom resource.
func ofDefinition(t *testing.T, source []byte, apiVersion string) schema {
	t.Helper()
	var document any
	if err := yaml.Unmarshal(source, &document); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	decodeJSON(t, text, &definition)
	for _, version := range definition.Spec.Versions {
		if strings.HasSuffix(apiVersion, "/"+version.Name) {
			return closed(version.Schema.OpenAPIV3Schema)
		}
	}
	t.Fatalf("no schema of %s", apiVersion)
	return nil
}

// closed is the schema without prose and what only Kubernetes understands. Objects may have no other fields than those it names.
func closed(s schema) schema {
	kept := schema{}
	for key, value := range s {
		switch key {
		case "description", "default", "nullable", "format":
		case "properties":
			fields := schema{}
			for name, field := range value.(schema) {
				fields[name] = closed(field.(schema))
			}
			kept[key] = fields
			if s["x-kubernetes-preserve-unknown-fields"] == nil && s["additionalProperties"] == nil {
				kept["additionalProperties"] = false
			}
		case "items", "additionalProperties":
			kept[key] = value
			if of, ok := value.(schema); ok {
				kept[key] = closed(of)
			}
		default:
			if !strings.HasPrefix(key, "x-kubernetes-") {
				kept[key] = value
			}
		}
	}
	return kept
}
