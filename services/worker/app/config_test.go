package app_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/logtest"
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
		{"no credentials for GitHub", modal, `GITHUB_APP_ID: one of GITHUB_APP_ID (with GITHUB_APP_PRIVATE_KEY) or GITHUB_TOKEN is required`},
		{"an App without its key", slices.Concat(modal, []string{"GITHUB_APP_ID=5"}), `GITHUB_APP_PRIVATE_KEY: is required with GITHUB_APP_ID (or GITHUB_APP_PRIVATE_KEY_FILE)`},
		{"a key without its App", slices.Concat(modal, []string{"GITHUB_APP_PRIVATE_KEY=" + appKey(t)}), `GITHUB_APP_ID: is required with GITHUB_APP_PRIVATE_KEY`},
		{
			"a key that is none, without its App and beside a token", good("GITHUB_APP_PRIVATE_KEY=canary"),
			"GITHUB_APP_PRIVATE_KEY: must be the PEM file that GitHub made for the App\n" +
				"GITHUB_TOKEN: must not be set together with GITHUB_APP_PRIVATE_KEY",
		},
		{
			"an App without its key beside a token", good("GITHUB_APP_ID=5"),
			"GITHUB_TOKEN: must not be set together with GITHUB_APP_ID",
		},
		{
			"an App whose key is in no file beside a token", good("GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY_FILE=/nowhere"),
			"GITHUB_APP_PRIVATE_KEY_FILE: must name a readable secret file: open secret file: open /nowhere: no such file or directory\n" +
				"GITHUB_TOKEN: must not be set together with GITHUB_APP_ID",
		},
		{
			"a key that is none", slices.Concat(modal, []string{"GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY=canary"}),
			`GITHUB_APP_PRIVATE_KEY: must be the PEM file that GitHub made for the App`,
		},
		{"an App and a token", good("GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY="+appKey(t)), `GITHUB_TOKEN: must not be set together with GITHUB_APP_ID`},
		{"an App that is no number", good("GITHUB_APP_ID=mine"), `GITHUB_APP_ID: must be a whole number (got "mine")`},
		{"an App that is nothing", slices.Concat(modal, []string{"GITHUB_APP_ID=0", "GITHUB_APP_PRIVATE_KEY=" + appKey(t)}), `GITHUB_APP_ID: must be ids of Apps, each once (got "0")`},
		{"an App that is named twice", slices.Concat(modal, []string{"GITHUB_APP_ID=5,5", "GITHUB_APP_PRIVATE_KEY=" + appKey(t) + appKey(t)}), `GITHUB_APP_ID: must be ids of Apps, each once (got "5")`},
		{"two Apps with one key", slices.Concat(modal, []string{"GITHUB_APP_ID=5,6", "GITHUB_APP_PRIVATE_KEY=" + appKey(t)}), `GITHUB_APP_PRIVATE_KEY: must have one key for each id in GITHUB_APP_ID: 2, not 1`},
		{"two Apps, one with a key of another kind", slices.Concat(modal, []string{"GITHUB_APP_ID=5,6", "GITHUB_APP_PRIVATE_KEY=" + appKey(t) + otherKey(t)}), `GITHUB_APP_PRIVATE_KEY: must be the PEM file that GitHub made for the App`},
		{"an App that is no number, with its key", slices.Concat(modal, []string{"GITHUB_APP_ID=mine", "GITHUB_APP_PRIVATE_KEY=" + appKey(t)}), `GITHUB_APP_ID: must be a whole number (got "mine")`},
		{"an App whose key is in no file", slices.Concat(modal, []string{"GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY_FILE=/nowhere"}), `GITHUB_APP_PRIVATE_KEY_FILE: must name a readable secret file: open secret file: open /nowhere: no such file or directory`},
		{"a key of another kind", slices.Concat(modal, []string{"GITHUB_APP_ID=5", "GITHUB_APP_PRIVATE_KEY=" + otherKey(t)}), `GITHUB_APP_PRIVATE_KEY: must be the PEM file that GitHub made for the App`},
		{"a blank token", slices.Concat(modal, []string{"GITHUB_TOKEN= "}), `GITHUB_TOKEN: must not be blank`},
		{"a token with a line break", slices.Concat(modal, []string{"GITHUB_TOKEN=canary\nX-Evil: 1"}), `GITHUB_TOKEN: must be printable ASCII without white space`},
		{"a token that begins with a blank", slices.Concat(modal, []string{"GITHUB_TOKEN= canary"}), `GITHUB_TOKEN: must be printable ASCII without white space`},
		{
			"credentials for Modal that gRPC can't carry",
			[]string{"GITHUB_TOKEN=x", "MODAL_TOKEN_ID=canary\x7f", "MODAL_TOKEN_SECRET=canaryé"},
			"MODAL_TOKEN_ID: must be printable ASCII without white space\nMODAL_TOKEN_SECRET: must be printable ASCII without white space",
		},
		{"a token in the server's URL", good("GITHUB_API_URL=https://canary@host"), `GITHUB_API_URL: must have no user name, password or token before the host (not shown, it may hold a password)`},
		{"an address that is none", good("WORKER_ADMIN_ADDR=9091"), `WORKER_ADMIN_ADDR: must be host:port or :port (got "9091")`},
		{"credentials for NATS in no file", good("NATS_CREDS_FILE=/nowhere"), `NATS_CREDS_FILE: must name a file with a JWT and a seed: nats: open /nowhere: no such file or directory`},
		{"an unknown sampler", good("OTEL_TRACES_SAMPLER=bogus"), `OTEL_TRACES_SAMPLER: must be always_on, always_off or traceidratio, with or without parentbased_ before it (got "bogus")`},
		{"a secret in two places", good("MODAL_TOKEN_ID_FILE=/dev/null"), `MODAL_TOKEN_ID: must not be set together with MODAL_TOKEN_ID_FILE`},
		{"a server that is no URL", good("GITHUB_API_URL=github.com"), `GITHUB_API_URL: must be an absolute URL with a host (got "github.com")`},
		{"a server of another scheme", good("GITHUB_API_URL=ftp://host"), `GITHUB_API_URL: must be a URL of scheme https, http (got "ftp://host")`},
		{"GitHub in the clear", good("GITHUB_API_URL=http://host"), `GITHUB_API_URL: must be https:// unless INSECURE_DEV=1 (got "http://host")`},
		{"Modal in the clear", good("MODAL_SERVER_URL=http://host"), `MODAL_SERVER_URL: must be https:// unless INSECURE_DEV=1 (got "http://host")`},
		{"Modal with a path", good("MODAL_SERVER_URL=https://host/"), `MODAL_SERVER_URL: must have no path and no trailing slash (got "https://host/")`},
		{"GitHub's pages", good("GITHUB_API_URL=https://github.com"), `GITHUB_API_URL: must be of the API, https://api.github.com, not of the pages (got "https://github.com")`},
		{"a company's pages", good("GITHUB_API_URL=https://Octo.ghe.com/"), `GITHUB_API_URL: must be of the API, https://api.octo.ghe.com, not of the pages (got "https://Octo.ghe.com/")`},
		{"a domain that is none", good("GITHUB_ENTERPRISE_DOMAIN=https://host"), `GITHUB_ENTERPRISE_DOMAIN: must be a host name (got "https://host")`},
		{"a domain with a login", good("GITHUB_ENTERPRISE_DOMAIN=u:canary@host"), `GITHUB_ENTERPRISE_DOMAIN: must be a host name (not shown, it may hold a password)`},
		{"a domain with a port that is none", good("GITHUB_ENTERPRISE_DOMAIN=host:99999"), `GITHUB_ENTERPRISE_DOMAIN: must have a port from 1 to 65535, if any (got "host:99999")`},
		{"a domain with the port 0", good("GITHUB_ENTERPRISE_DOMAIN=host:0"), `GITHUB_ENTERPRISE_DOMAIN: must have a port from 1 to 65535, if any (got "host:0")`},
		{"a domain that ends with a colon", good("GITHUB_ENTERPRISE_DOMAIN=host:"), `GITHUB_ENTERPRISE_DOMAIN: must be a host name (got "host:")`},
		{"a domain that begins with a dash", good("GITHUB_ENTERPRISE_DOMAIN=-host"), `GITHUB_ENTERPRISE_DOMAIN: must be a host name (got "-host")`},
		{"two servers", good("GITHUB_ENTERPRISE_DOMAIN=host", "GITHUB_API_URL=https://host"), `GITHUB_ENTERPRISE_DOMAIN: must not be set together with GITHUB_API_URL (got "host")`},
		{"a scope that is none", good("RUNNER_SCOPE=team"), `RUNNER_SCOPE: must be repo, org or enterprise (got "team")`},
		{"an enterprise of no name", good("RUNNER_SCOPE=enterprise"), `RUNNER_ENTERPRISE: is required with RUNNER_SCOPE=enterprise`},
		{"an enterprise for runners of repositories", good("RUNNER_ENTERPRISE=corp"), `RUNNER_ENTERPRISE: must not be set without RUNNER_SCOPE=enterprise (got "corp")`},
		{
			"an enterprise by its URL", good("RUNNER_SCOPE=enterprise", "RUNNER_ENTERPRISE=enterprises/corp"),
			`RUNNER_ENTERPRISE: must be the enterprise's name in URLs: letters, digits, dashes and underscores (got "enterprises/corp")`,
		},
		{
			"an enterprise's runners by an App", slices.Concat(modal, []string{"RUNNER_SCOPE=enterprise", "RUNNER_ENTERPRISE=corp", "GITHUB_APP_ID=1", "GITHUB_APP_PRIVATE_KEY=" + appKey(t)}),
			`GITHUB_APP_ID: must not be set with RUNNER_SCOPE=enterprise: GitHub lets no App register runners of enterprises, a GITHUB_TOKEN must`,
		},
		{"a group that is none", good("RUNNER_GROUP_ID=0"), `RUNNER_GROUP_ID: must be at least 1 (got "0")`},
		{"a group of a repository", good("RUNNER_GROUP=gpu"), `RUNNER_GROUP: must not be set without RUNNER_SCOPE=org or enterprise (got "gpu")`},
		{"a group by name and by id", good("RUNNER_SCOPE=org", "RUNNER_GROUP=gpu", "RUNNER_GROUP_ID=1"), `RUNNER_GROUP: must not be set together with RUNNER_GROUP_ID (got "gpu")`},
		{"a group in a scope that is none", good("RUNNER_SCOPE=team", "RUNNER_GROUP=gpu"), `RUNNER_SCOPE: must be repo, org or enterprise (got "team")`},
		{"a version that is none", good("RUNNER_VERSION=v2.330.0"), `RUNNER_VERSION: must be "latest" or a version such as 2.330.0 (got "v2.330.0")`},
		{"an App of Modal's that can't be", good("MODAL_APP=a b"), `MODAL_APP: must be 1 to 64 letters, digits, dots, dashes and underscores (got "a b")`},
		{"an App of Modal's that is too long", good("MODAL_APP=" + strings.Repeat("a", 65)), `MODAL_APP: must be 1 to 64 letters, digits, dots, dashes and underscores (got "` + strings.Repeat("a", 65) + `")`},
		{"an environment of Modal's that can't be", good("MODAL_ENVIRONMENT=a b"), `MODAL_ENVIRONMENT: must be 1 to 64 letters, digits, dots, dashes and underscores (got "a b")`},
		{"no launches at once", good("WORKER_LAUNCHES=0"), `WORKER_LAUNCHES: must be between 1 and 256 (got "0")`},
		{"too many launches at once", good("WORKER_LAUNCHES=257"), `WORKER_LAUNCHES: must be between 1 and 256 (got "257")`},
		{"a stop without an end", good("WORKER_SOFT_STOP=11m"), `WORKER_SOFT_STOP: must be between 0s and 10m (got "11m")`},
		{"a repository that is none", good("ALLOWED_REPOS=octo"), `ALLOWED_REPOS: must be owner/repo or owner/* (got "octo")`},
		{
			"a switch that is none, which what depends on it is not blamed for",
			good("INSECURE_DEV=maybe", "GITHUB_API_URL=http://host", "MODAL_SERVER_URL=http://host"),
			`INSECURE_DEV: must be true or false (or 1 or 0) (got "maybe")`,
		},
		{"NATS by two protocols", good("NATS_URL=nats://u:canary@a,ws://b"), `NATS_URL: must be all of nats and tls, or all of ws and wss (got "nats,ws")`},
		{"a pools file that is not there", good("POOLS_FILE=/nowhere"), `POOLS_FILE: /nowhere: look at pools file: stat /nowhere: no such file or directory`},
		{
			"a pools file with mistakes", good("POOLS_FILE=testdata/mistakes.yaml"),
			`POOLS_FILE: testdata/mistakes.yaml: line 4: pools.big.cpu: must be between 0.125 and 128 (got "1000")
POOLS_FILE: testdata/mistakes.yaml: line 5: pools.big.disk: is not known, must be one of labels, cpu, cpu_limit, memory, memory_limit, gpu, timeout, idle_limit, max_sandboxes, daily_budget_usd, create_rate, image, allow, untrusted, distrust_public, max, warm, regions, cloud, runtime, docker, env, secrets, oidc, volumes, cache, network`,
		},
		{"a typo", good("WORKER_SOFTSTOP=1s"), `WORKER_SOFTSTOP: is not a known variable, did you mean WORKER_SOFT_STOP?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := app.LoadConfig(tt.environ)
			if !errors.Is(err, cli.ErrConfig) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff("bad configuration:\n"+tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Error("a secret is shown")
			}
		})
	}
}

func TestAllBadVariablesAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F56")
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
		`GITHUB_APP_ID: one of GITHUB_APP_ID (with GITHUB_APP_PRIVATE_KEY) or GITHUB_TOKEN is required`,
		`MODAL_APP: must be 1 to 64 letters, digits, dots, dashes and underscores (got "a b")`,
		`MODAL_SERVER_URL: must be https:// unless INSECURE_DEV=1 (got "http://b/c")`,
		`MODAL_SERVER_URL: must have no path and no trailing slash (got "http://b/c")`,
		`MODAL_TOKEN_ID: is required (or MODAL_TOKEN_ID_FILE)`,
		`MODAL_TOKEN_SECRET: is required (or MODAL_TOKEN_SECRET_FILE)`,
		`RUNNER_SCOPE: must be repo, org or enterprise (got "team")`,
		`RUNNER_VERSION: must be "latest" or a version such as 2.330.0 (got "new")`,
		`WORKER_LAUNCHES: must be a whole number (got "many")`,
		`WORKER_X: is not a known variable`,
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

// otherKey is a key that can't sign for an App.
func otherKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
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
		"two Apps":                             {"GITHUB_APP_ID=5,6", "GITHUB_APP_PRIVATE_KEY=" + appKey(t) + appKey(t), "MODAL_TOKEN_ID=x", "MODAL_TOKEN_SECRET=y"},
		"GitHub Enterprise Server":             good("GITHUB_ENTERPRISE_DOMAIN=host.example:8443"),
		"GitHub Enterprise Server, by its URL": good("GITHUB_API_URL=https://host.example/api/v3/"),
		"the simulator":                        good("INSECURE_DEV=1", "GITHUB_API_URL=http://127.0.0.1:1", "MODAL_SERVER_URL=http://127.0.0.1:2"),
		"runners of an organization":           good("RUNNER_SCOPE=org", "RUNNER_GROUP_ID=7", "RUNNER_VERSION=2.330.0"),
		"runners of an enterprise":             good("RUNNER_SCOPE=enterprise", "RUNNER_ENTERPRISE=octo-corp", "RUNNER_GROUP=gpu"),
		"runners of a group by its name":       good("RUNNER_SCOPE=org", "RUNNER_GROUP=gpu machines", "RUNNER_GROUP_ID="),
		"what the Modal app had": {
			"GITHUB_TOKEN=ghp_x", "WEBHOOK_SECRET=s", "ALLOWED_REPOS=octo/app, octo/web", "RUNNER_VERSION=2.311.0", "RUNNER_GROUP_ID=1", "GITHUB_ENTERPRISE_DOMAIN=",
			"MODAL_TOKEN_ID=x", "MODAL_TOKEN_SECRET=y",
		},
		"no soft stop": good("WORKER_SOFT_STOP=0s"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := app.LoadConfig(environ); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASecretThatRotatesToNoneThatCanBeUsedIsKeptAndLoggedByName(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	write := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("canary-token\n")
	cfg, _, err := app.LoadConfig([]string{
		"GITHUB_TOKEN_FILE=" + file, "MODAL_TOKEN_ID=x", "MODAL_TOKEN_SECRET=y", "WORKER_ADMIN_ADDR=127.0.0.1:0",
		"NATS_URL=nats://" + nobody, "GITHUB_API_URL=http://" + nobody, "INSECURE_DEV=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	var log logtest.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: cfg, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	write("canary\nX-Evil: 1")
	want := `msg="secret file not usable, keeping the last good value" variable=GITHUB_TOKEN err="secret file ` + file + `: must be printable`
	poll(t, func() bool {
		if got := cfg.GitHubToken.Get().Reveal(); got != "canary-token" {
			t.Fatalf("in force: %q", got)
		}
		return strings.Contains(log.String(), want)
	})
	if strings.Contains(log.String(), "canary") {
		t.Errorf("a secret is logged: %s", &log)
	}
}

func TestCheckShowsWhatIsInEffectButNoSecret(t *testing.T) {
	t.Parallel()
	out := printed(t, 0, good("RUNNER_SCOPE=org"), "check")
	rows := map[string]string{}
	for line := range strings.Lines(out) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rows[name] = strings.Join(strings.Fields(rest), " ")
	}
	for name, want := range map[string]string{
		"GITHUB_TOKEN": "[redacted] env", "MODAL_TOKEN_ID": "[redacted] env", "MODAL_TOKEN_SECRET": "[redacted] env",
		"GITHUB_APP_PRIVATE_KEY": "- default", "GITHUB_APP_ID": "- default", "LOG_LEVEL": "info default", "RUNNER_SCOPE": "org env", "RUNNER_GROUP_ID": "- default", "RUNNER_GROUP": "- default", "WORKER_SOFT_STOP": "30s default",
	} {
		if rows[name] != want {
			t.Errorf("%s: %q, want %q", name, rows[name], want)
		}
	}
	if strings.Contains(out, "canary") {
		t.Errorf("a secret is shown: %s", out)
	}
}

func TestCheckOfABadConfigurationShowsWhatIsBadButNoSecret(t *testing.T) {
	t.Parallel()
	out := printed(t, 2, good("RUNNER_SCOPE=team", "GITHUB_ENTERPRISE_DOMAIN=u:canary@host", "NATS_URL=nats://u:canary@a,ws://b"), "check")
	for _, want := range []string{
		`RUNNER_SCOPE +team +env \(invalid\)`, `GITHUB_ENTERPRISE_DOMAIN +\[redacted\] +env \(invalid\)`,
		`NATS_URL +nats://\[redacted\]@a,ws://b +env \(invalid\)`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(out) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "canary") {
		t.Errorf("a secret is shown: %s", out)
	}
}

// printed is what a command writes to standard output.
func printed(t *testing.T, code int, environ []string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := app.Main(args, environ, &stdout, &stderr, nil); got != code {
		t.Errorf("exit code %d, want %d; stderr: %s", got, code, &stderr)
	}
	return stdout.String()
}

// README is made of this table.
func TestEveryVariableIsDocumented(t *testing.T) {
	t.Parallel()
	out := printed(t, 0, nil, "check", "--markdown")
	for line := range strings.Lines(out) {
		if cells := strings.Split(line, "|"); len(cells) != 5 || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("row without a meaning: %s", line)
		}
	}
	for _, want := range []string{
		"| `WORKER_ADMIN_ADDR` | `127.0.0.1:9091` |", "| `MODAL_TOKEN_SECRET`, `MODAL_TOKEN_SECRET_FILE` | required |", "| `RUNNER_VERSION` | `latest` |",
		"| `GITHUB_APP_PRIVATE_KEY`, `GITHUB_APP_PRIVATE_KEY_FILE` | none |", "| `NATS_URL` | `nats://127.0.0.1:4222` |", "| `MODAL_APP` | `github-runners` |", "| `GITHUB_APP_ID` | none |",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
}
