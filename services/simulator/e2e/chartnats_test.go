package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v4"
)

// The chart of NATS makes its configuration of these values: JSON, but for what stands between << and >>.
func TestNATSInKubernetesIsConfiguredAsInCompose(t *testing.T) {
	t.Setenv("NATS_INGRESS_PASSWORD", "i")
	t.Setenv("NATS_WORKER_PASSWORD", "w")
	deployments := filepath.Join(repositoryRoot(t), "deployments")
	var values struct {
		Config struct {
			Jetstream struct{ Merge map[string]any }
			Merge     map[string]any
		}
	}
	if err := yaml.Unmarshal(readFile(t, filepath.Join(deployments, "helm", "nats-values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	config := values.Config.Merge
	config["jetstream"] = values.Config.Jetstream.Merge
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(config); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	raw := regexp.MustCompile(`"<< (.*?) >>"`).ReplaceAll(text.Bytes(), []byte("$1"))
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	want, err := server.ProcessConfigFile(filepath.Join(deployments, "nats", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !got.SyncAlways || got.MaxPayload != want.MaxPayload || got.SystemAccount != want.SystemAccount {
		t.Errorf("synced: %t, largest payload: %d, the system's account: %q", got.SyncAlways, got.MaxPayload, got.SystemAccount)
	}
	if diff := cmp.Diff(accountNames(want), accountNames(got)); diff != "" {
		t.Error(diff)
	}
	if len(got.Users) != len(want.Users) {
		t.Fatalf("%d users, want %d", len(got.Users), len(want.Users))
	}
	for n, user := range want.Users {
		if diff := cmp.Diff([]any{user.Username, user.Password, user.Permissions}, []any{got.Users[n].Username, got.Users[n].Password, got.Users[n].Permissions}); diff != "" {
			t.Error(diff)
		}
	}
}

func accountNames(o *server.Options) map[string]bool {
	names := map[string]bool{}
	for _, a := range o.Accounts {
		names[a.Name] = true
	}
	return names
}
