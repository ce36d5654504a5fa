package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nkeys"

	ingress "modal-github-runner/services/ingress/app"
	"modal-github-runner/services/internal/config"
	worker "modal-github-runner/services/worker/app"
)

// chartSecrets are good values for the files that pods mount, by what they are called there.
func chartSecrets(t *testing.T) map[string][]byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	authority := httptest.NewTLSServer(http.NotFoundHandler())
	defer authority.Close()
	return map[string][]byte{
		"webhook_secret": []byte("present"), "webhook_secret_previous": []byte("before"),
		"github_token": []byte("token"), "modal_token_id": []byte("id"), "modal_token_secret": []byte("secret"),
		"github_app_private_key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"nats_creds": []byte("-----BEGIN NATS USER JWT-----\ne30.e30.e30\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" +
			string(seed) + "\n------END USER NKEY SEED------\n"),
		"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}),
	}
}

// environ is the environment of the pod's container, with its files in a folder of the test: what is mounted, and nothing else.
func (o objects) environ(t *testing.T, p pod, secrets map[string][]byte) []string {
	t.Helper()
	root, c := t.TempDir(), p.Containers[0]
	for _, volume := range p.Volumes {
		at := slices.IndexFunc(c.VolumeMounts, func(m volumeMount) bool { return m.Name == volume.Name })
		if at < 0 {
			t.Fatalf("%s is mounted nowhere", volume.Name)
		}
		folder := filepath.Join(root, c.VolumeMounts[at].MountPath)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		items := volume.Secret.Items
		if volume.ConfigMap != nil {
			items = volume.ConfigMap.Items
		}
		for _, item := range items {
			content := secrets[item.Path]
			if volume.ConfigMap != nil {
				content = o.configFile(t, volume.ConfigMap.Name, item.Key)
			}
			if err := os.WriteFile(filepath.Join(folder, item.Path), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var environ []string
	for _, variable := range c.Env {
		value := variable.Value
		if strings.HasSuffix(variable.Name, "_FILE") {
			value = filepath.Join(root, value)
		}
		environ = append(environ, variable.Name+"="+value)
	}
	return environ
}

// configFile is a file of a ConfigMap, or the example of a pools file if the ConfigMap is not the chart's.
func (o objects) configFile(t *testing.T, name, key string) []byte {
	t.Helper()
	for _, m := range o.of("ConfigMap") {
		if m.Metadata.Name == name {
			return []byte(m.Data[key])
		}
	}
	return readFile(t, filepath.Join(repositoryRoot(t), "proto", "pools", "pools.example.yaml"))
}

// ofGo are variables of the runtime and the standard library that pods may have.
var ofGo = []string{"GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSL_CERT_FILE"}

// What `ingress check` and `worker check` do.
func TestTheServicesTakeTheConfigurationThatTheChartGivesThem(t *testing.T) {
	t.Parallel()
	secrets := chartSecrets(t)
	secrets["nats_password"] = []byte("password")
	load := map[string]func([]string) (config.Effective, error){
		"ingress": func(environ []string) (config.Effective, error) {
			_, effective, err := ingress.LoadConfig(environ)
			return effective, err
		},
		"worker": func(environ []string) (config.Effective, error) {
			_, effective, err := worker.LoadConfig(environ)
			return effective, err
		},
	}
	for _, name := range chartCases {
		all := chartObjectsOf(t, name)
		for service, d := range all.deployments(t) {
			t.Run(name+" "+service, func(t *testing.T) {
				t.Parallel()
				effective, err := load[service](all.environ(t, d.Template.Spec, secrets))
				if err != nil {
					t.Error(err)
				}
				known := slices.Clone(ofGo)
				for _, setting := range effective {
					known = append(known, setting.Name, setting.Name+"_FILE")
				}
				for _, variable := range d.Template.Spec.Containers[0].Env {
					if !slices.Contains(known, variable.Name) {
						t.Errorf("%s is no variable of %s", variable.Name, service)
					}
				}
			})
		}
	}
}

// Each variable that the chart does not set may be added, by its name; no secret by its value, since values are no place for one.
func TestTheChartLetsEachOtherVariableBeSetAndNoSecret(t *testing.T) {
	t.Parallel()
	chart := filepath.Join(repositoryRoot(t), "deployments", "helm", "modal-github-runner")
	var values struct {
		Properties map[string]struct {
			Properties struct {
				Env struct{ Properties map[string]any }
			}
		}
	}
	decodeJSON(t, readFile(t, filepath.Join(chart, "values.schema.json")), &values)
	for service, table := range map[string]string{"ingress": config.Markdown(new(ingress.Config)), "worker": config.Markdown(new(worker.Config))} {
		templates := string(readFile(t, filepath.Join(chart, "templates", service+".yaml"))) + string(readFile(t, filepath.Join(chart, "templates", "_helpers.tpl")))
		want := slices.Clone(ofGo)
		for line := range strings.Lines(table) {
			names := regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(strings.Join(strings.Split(line, "|")[:2], ""), -1)
			for n, name := range names {
				secretItself := len(names) == 2 && n == 0
				if !secretItself && !strings.Contains(templates, "name: "+name[1]+",") {
					want = append(want, name[1])
				}
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(values.Properties[service].Properties.Env.Properties))); diff != "" {
			t.Errorf("%s.env in values.schema.json: %s", service, diff)
		}
	}
}

func TestTheChartKnowsHowManyProxiesAreBeforeIngress(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"token": "0", "app": "1", "gateway": "2"} {
		if got := chartObjectsOf(t, name).deployments(t)["ingress"].Template.Spec.Containers[0].env("INGRESS_TRUSTED_PROXIES"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What a stop takes beside the time that is configured: services/ingress/app and services/worker/app.
const (
	ingressStop = 25 * time.Second
	workerStop  = 15 * time.Second
)

func TestTheChartGivesEachPodTheTimeThatItsStopTakes(t *testing.T) {
	t.Parallel()
	for _, name := range chartCases {
		deployments := chartObjectsOf(t, name).deployments(t)
		for service, stop := range map[string]struct {
			variable string
			rest     time.Duration
		}{"ingress": {"INGRESS_DRAIN_DELAY", ingressStop}, "worker": {"WORKER_SOFT_STOP", workerStop}} {
			p := deployments[service].Template.Spec
			configured, err := time.ParseDuration(p.Containers[0].env(stop.variable))
			if err != nil {
				t.Fatal(err)
			}
			if grace := time.Duration(p.TerminationGracePeriodSeconds) * time.Second; grace < configured+stop.rest+5*time.Second {
				t.Errorf("%s %s: %s is too short for %s and %s and some to spare", name, service, grace, configured, stop.rest)
			}
		}
	}
}
