package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v4"
)

// The chart of NATS makes its configuration of these values: JSON, but for what stands between << and >>, and files to be included.
func TestNATSInKubernetesIsConfiguredAsInCompose(t *testing.T) {
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
	raw := regexp.MustCompile(`"[^"]*\$include":"([^"]*)",?`).ReplaceAll(text.Bytes(), []byte("include $1;"))
	raw = regexp.MustCompile(`"<< (.*?) >>"`).ReplaceAll(raw, []byte("$1"))
	etc := t.TempDir()
	for name, content := range map[string]string{"nats-config/nats.conf": string(raw), "nats-passwords/passwords.conf": passwordsConf(t)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(etc, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := server.ProcessConfigFile(filepath.Join(etc, "nats-config", "nats.conf"))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	t.Setenv("NATS_INGRESS_PASSWORD", `"1"`)
	t.Setenv("NATS_WORKER_PASSWORD", `"2"`)
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

// passwordsConf is that file, by the commands of deployments/DEPLOY.md for the Secret of an older version, whose passwords are 1 and 2: digits
// that must not become numbers. Those for a new Secret make the file in the same way.
func passwordsConf(t *testing.T) string {
	t.Helper()
	const first = "mkdir -pm 700 .secrets"
	document := read(t, "deployments", "DEPLOY.md")
	_, rest, begun := strings.Cut(document, "```sh\n"+first)
	commands, _, ended := strings.Cut(rest, "\n```")
	made := regexp.MustCompile(`(?m)^printf .*>passwords.conf$`).FindAllString(document, -1)
	if !begun || !ended || len(made) != 2 || made[0] != made[1] {
		t.Fatalf("DEPLOY.md makes no passwords.conf for an older version, or another one: %q", made)
	}
	dir := t.TempDir()
	kubectl := `#!/bin/sh
case "$*" in
"get secret nats-passwords --output jsonpath={.data.nats_ingress_password}") echo MQ== ;;
"get secret nats-passwords --output jsonpath={.data.nats_worker_password}") echo Mg== ;;
"create secret generic nats-passwords --from-file=passwords.conf --from-file=nats_ingress_password --from-file=nats_worker_password "*) echo new ;;
"replace --filename -") grep -q new ;;
*) exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(kubectl), 0o700); err != nil {
		t.Fatal(err)
	}
	sh := exec.CommandContext(t.Context(), "sh", "-euc", first+commands)
	sh.Dir, sh.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(readFile(t, filepath.Join(dir, ".secrets", "passwords.conf")))
}

func accountNames(o *server.Options) map[string]bool {
	names := map[string]bool{}
	for _, a := range o.Accounts {
		names[a.Name] = true
	}
	return names
}
