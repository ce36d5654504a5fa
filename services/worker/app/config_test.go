package app_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/app"
)

// good is a configuration that can work; more is added to it.
func good(more ...string) []string {
	return slices.Concat(more, []string{"GITHUB_TOKEN=canary-token", "MODAL_TOKEN_ID=canary-id", "MODAL_TOKEN_SECRET=canary-secret"})
}

func TestABadVariableIsNamedWithItsRuleAndValue(t *testing.T) {
	t.Parallel()
	modal := []string{"MODAL_TOKEN_ID=x", "MODAL_TOKEN_SECRET=y"}
	tests := []struct {
		name    string
		environ []string
		want    string
	}{
		{"no credentials for GitHub", modal, `GITHUB_APP_ID: must be set with GITHUB_APP_PRIVATE_KEY, or GITHUB_TOKEN must be (got "")`},
		{"an App without its key", slices.Concat(modal, []string{"GITHUB_APP_ID=5"}), `GITHUB_APP_ID: must be set together with GITHUB_APP_PRIVATE_KEY (got "5")`},
		{"a key without its App", good("GITHUB_APP_PRIVATE_KEY=" + appKey(t)), `GITHUB_APP_ID: must be set together with GITHUB_APP_PRIVATE_KEY (got "0")`},
		{
			"a key that is none", slices.Concat(modal, []string{"GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY=canary"}),
			`GITHUB_APP_PRIVATE_KEY: must be the PEM file that GitHub made for the App (got "[redacted]")`,
		},
		{"an App and a token", good("GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY="+appKey(t)), `GITHUB_TOKEN: must not be set together with GITHUB_APP_ID (got "[redacted]")`},
		{"an App that is no number", good("GITHUB_APP_ID=mine"), `GITHUB_APP_ID: must be a whole number (got "mine")`},
		{"a secret in two places", good("MODAL_TOKEN_ID_FILE=/dev/null"), `MODAL_TOKEN_ID: must not be set together with MODAL_TOKEN_ID_FILE`},
		{"a server that is no URL", good("GITHUB_API_URL=github.com"), `GITHUB_API_URL: must be an absolute URL with a host (got "github.com")`},
		{"a server of another scheme", good("GITHUB_API_URL=ftp://host"), `GITHUB_API_URL: must be a URL of scheme https, http (got "ftp://host")`},
		{"GitHub in the clear", good("GITHUB_API_URL=http://host"), `GITHUB_API_URL: must be https:// unless INSECURE_DEV=1 (got "http://host")`},
		{"Modal in the clear", good("MODAL_SERVER_URL=http://host"), `MODAL_SERVER_URL: must be https:// unless INSECURE_DEV=1 (got "http://host")`},
		{"Modal with a path", good("MODAL_SERVER_URL=https://host/"), `MODAL_SERVER_URL: must have no path and no trailing slash (got "https://host/")`},
		{"a domain that is none", good("GITHUB_ENTERPRISE_DOMAIN=https://host"), `GITHUB_ENTERPRISE_DOMAIN: must be a host name (got "https://host")`},
		{"two servers", good("GITHUB_ENTERPRISE_DOMAIN=host", "GITHUB_API_URL=https://host"), `GITHUB_ENTERPRISE_DOMAIN: must not be set together with GITHUB_API_URL (got "host")`},
		{"a scope that is none", good("RUNNER_SCOPE=team"), `RUNNER_SCOPE: must be repo or org (got "team")`},
		{"a group that is none", good("RUNNER_GROUP_ID=0"), `RUNNER_GROUP_ID: must be at least 1 (got "0")`},
		{"a version that is none", good("RUNNER_VERSION=v2.330.0"), `RUNNER_VERSION: must be "latest" or a version such as 2.330.0 (got "v2.330.0")`},
		{"an App of Modal's that can't be", good("MODAL_APP=a b"), `MODAL_APP: must be 1 to 64 letters, digits, dots, dashes and underscores (got "a b")`},
		{"an App of Modal's that is too long", good("MODAL_APP=" + strings.Repeat("a", 65)), `MODAL_APP: must be 1 to 64 letters, digits, dots, dashes and underscores (got "` + strings.Repeat("a", 65) + `")`},
		{"no launches at once", good("WORKER_LAUNCHES=0"), `WORKER_LAUNCHES: must be between 1 and 256 (got "0")`},
		{"too many launches at once", good("WORKER_LAUNCHES=257"), `WORKER_LAUNCHES: must be between 1 and 256 (got "257")`},
		{"a stop without an end", good("WORKER_SOFT_STOP=11m"), `WORKER_SOFT_STOP: must be between 0s and 10m (got "11m")`},
		{"a repository that is none", good("ALLOWED_REPOS=octo"), `ALLOWED_REPOS: must be owner/repo or owner/* (got "octo")`},
		{"a switch that is none", good("INSECURE_DEV=maybe"), `INSECURE_DEV: must be true or false (or 1 or 0) (got "maybe")`},
		{"a typo", good("WORKER_SOFTSTOP=1s"), `WORKER_SOFTSTOP: is not a known variable, did you mean WORKER_SOFT_STOP?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := app.LoadConfig(tt.environ)
			if !errors.Is(err, app.ErrConfig) || app.ExitCode(err) != 2 {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff("bad configuration:\n"+tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllBadVariablesAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := app.LoadConfig([]string{
		"MODAL_APP=a b", "RUNNER_VERSION=new", "RUNNER_SCOPE=team", "WORKER_LAUNCHES=many", "WORKER_X=1", "GITHUB_API_URL=http://a", "MODAL_SERVER_URL=http://b/c",
	})
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(err.Error(), "\n")[1:]
	slices.Sort(got)
	want := []string{
		`GITHUB_API_URL: must be https:// unless INSECURE_DEV=1 (got "http://a")`,
		`GITHUB_APP_ID: must be set with GITHUB_APP_PRIVATE_KEY, or GITHUB_TOKEN must be (got "")`,
		`MODAL_APP: must be 1 to 64 letters, digits, dots, dashes and underscores (got "a b")`,
		`MODAL_SERVER_URL: must be https:// unless INSECURE_DEV=1 (got "http://b/c")`,
		`MODAL_SERVER_URL: must have no path and no trailing slash (got "http://b/c")`,
		`MODAL_TOKEN_ID: is required (or MODAL_TOKEN_ID_FILE)`,
		`MODAL_TOKEN_SECRET: is required (or MODAL_TOKEN_SECRET_FILE)`,
		`RUNNER_SCOPE: must be repo or org (got "team")`,
		`RUNNER_VERSION: must be "latest" or a version such as 2.330.0 (got "new")`,
		`WORKER_LAUNCHES: must be a whole number (got "many")`,
		`WORKER_X: is not a known variable, did you mean WORKER_PPROF?`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// appKey is a key such as GitHub makes for an App.
func appKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func TestConfigurationsThatCanWork(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(appKey(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, environ := range map[string][]string{
		"a token": good(),
		"an App whose key is in a file": {
			"GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY_FILE=" + key, "MODAL_TOKEN_ID=x", "MODAL_TOKEN_SECRET=y",
		},
		"GitHub Enterprise Server":             good("GITHUB_ENTERPRISE_DOMAIN=host.example:8443"),
		"GitHub Enterprise Server, by its URL": good("GITHUB_API_URL=https://host.example/api/v3/"),
		"the simulator":                        good("INSECURE_DEV=1", "GITHUB_API_URL=http://127.0.0.1:1", "MODAL_SERVER_URL=http://127.0.0.1:2"),
		"runners of an organization":           good("RUNNER_SCOPE=org", "RUNNER_GROUP_ID=7", "RUNNER_VERSION=2.330.0"),
		"no soft stop":                         good("WORKER_SOFT_STOP=0s"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := app.LoadConfig(environ); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckShowsWhatIsInEffectButNoSecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := app.Check(good("RUNNER_SCOPE=org"), &out); err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(out.String()) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rows[name] = strings.Join(strings.Fields(rest), " ")
	}
	for name, want := range map[string]string{
		"GITHUB_TOKEN": "[redacted] env", "MODAL_TOKEN_ID": "[redacted] env", "MODAL_TOKEN_SECRET": "[redacted] env",
		"GITHUB_APP_PRIVATE_KEY": "- default", "RUNNER_SCOPE": "org env", "RUNNER_GROUP_ID": "1 default", "WORKER_SOFT_STOP": "30s default",
	} {
		if rows[name] != want {
			t.Errorf("%s: %q, want %q", name, rows[name], want)
		}
	}
	if strings.Contains(out.String(), "canary") {
		t.Errorf("a secret is shown: %s", &out)
	}
}

func TestCheckOfABadConfigurationShowsWhatIsInEffectToo(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := app.Check(good("RUNNER_SCOPE=team"), &out); !errors.Is(err, app.ErrConfig) || !strings.Contains(out.String(), "RUNNER_SCOPE") {
		t.Errorf("got %v, and %s", err, &out)
	}
}

// README is made of this table.
func TestEveryVariableIsDocumented(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := app.CheckMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if cells := strings.Split(line, "|"); len(cells) != 5 || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("row without a meaning: %s", line)
		}
	}
	for _, want := range []string{
		"| `WORKER_ADMIN_ADDR` | `127.0.0.1:9091` |", "| `MODAL_TOKEN_SECRET`, `MODAL_TOKEN_SECRET_FILE` | required |", "| `RUNNER_VERSION` | `latest` |",
		"| `GITHUB_APP_PRIVATE_KEY`, `GITHUB_APP_PRIVATE_KEY_FILE` | none |", "| `NATS_URL` | `nats://127.0.0.1:4222` |", "| `MODAL_APP` | `github-runners` |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in:\n%s", want, &out)
		}
	}
}
