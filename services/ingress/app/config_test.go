package app_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/ingress/app"
	"modal-github-runner/services/internal/cli"
	"modal-github-runner/services/internal/faultstest"
)

func TestABadConfigurationListsEveryError(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F56")
	good := func(more ...string) []string { return append(more, "WEBHOOK_SECRET=canary") }
	for name, test := range map[string]struct {
		environ []string
		want    string
	}{
		"many at once": {
			[]string{
				"INGRESS_ADDR=8080", "INGRESS_MAX_BODY=0", "INGRESS_DRAIN_DELAY=soon", "INGRESS_ADMIN_ADR=x", "ALLOWED_REPOS=acme", "NATS_URL=http://x",
				"LOG_FORMAT=xml", "NATS_USER=u", "NATS_CA_FILE=/nowhere", "OTEL_EXPORTER_OTLP_ENDPOINT=foo:4318", "OTEL_TRACES_SAMPLER=bogus",
			},
			`WEBHOOK_SECRET: is required (or WEBHOOK_SECRET_FILE)
ALLOWED_REPOS: must be owner/repo or owner/* (got "acme")
INGRESS_MAX_BODY: must be between 1KiB and 25MiB (got "0")
INGRESS_DRAIN_DELAY: must be a duration such as 500ms, 30s or 2h (got "soon")
NATS_URL: must be a URL of scheme nats, tls, ws, wss (got "http://x")
LOG_FORMAT: must be auto, json or text (got "xml")
OTEL_EXPORTER_OTLP_ENDPOINT: must be an absolute URL with a host (got "foo:4318")
INGRESS_ADMIN_ADR: is not a known variable, did you mean INGRESS_ADMIN_ADDR?
INGRESS_ADDR: must be host:port or :port (got "8080")
NATS_PASSWORD: is required with NATS_USER (or NATS_PASSWORD_FILE)
NATS_CA_FILE: must name a PEM file with a certificate: nats: error loading or parsing rootCA file: open /nowhere: no such file or directory
OTEL_TRACES_SAMPLER: must be always_on, always_off or traceidratio, with or without parentbased_ before it (got "bogus")`,
		},
		"an address out of range":       {good("INGRESS_ADDR=127.0.0.1:99999"), `INGRESS_ADDR: must have a port from 0 to 65535, or a service's name, at its end (got "127.0.0.1:99999")`},
		"an admin address out of range": {good("INGRESS_ADMIN_ADDR=:99999"), `INGRESS_ADMIN_ADDR: must have a port from 0 to 65535, or a service's name, at its end (got ":99999")`},
		"one address for both":          {good("INGRESS_ADMIN_ADDR=127.0.0.1:8080"), `INGRESS_ADMIN_ADDR: must not take the address of INGRESS_ADDR (got "127.0.0.1:8080")`},
		"a pools file with mistakes": {
			good("POOLS_FILE=testdata/mistakes.yaml"),
			`POOLS_FILE: testdata/mistakes.yaml: line 4: pools.big.cpu: must be between 0.125 and 128 (got "1000")
POOLS_FILE: testdata/mistakes.yaml: line 5: pools.big.disk: is not known, must be one of labels, cpu, cpu_limit, memory, memory_limit, gpu, timeout, idle_limit, max_sandboxes, daily_budget_usd, create_rate, image, allow, untrusted, distrust_public, max, warm, regions, cloud, runtime, docker, env, secrets, oidc, volumes, cache, network`,
		},
		"a blank secret": {[]string{"WEBHOOK_SECRET= "}, `WEBHOOK_SECRET: must not be blank`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := app.LoadConfig(test.environ)
			if !errors.Is(err, cli.ErrConfig) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff("bad configuration:\n"+test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigurationsThatCanWork(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"the least":                 nil,
		"any free ports":            {"INGRESS_ADDR=127.0.0.1:0", "INGRESS_ADMIN_ADDR=127.0.0.1:0"},
		"a port by a name":          {"INGRESS_ADDR=:http"},
		"a token for NATS":          {"NATS_URL=nats://canary@127.0.0.1:4222"},
		"a service in Kubernetes":   {"INGRESS_PORT=tcp://10.0.0.1:8080", "INGRESS_PORT_8080_TCP_ADDR=10.0.0.1", "INGRESS_SERVICE_PORT_HTTP=8080"},
		"a collector with a header": {"OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example", "OTEL_EXPORTER_OTLP_HEADERS=api-key=canary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := app.LoadConfig(slices.Concat(environ, []string{"WEBHOOK_SECRET=canary"})); err != nil {
				t.Error(err)
			}
		})
	}
}
