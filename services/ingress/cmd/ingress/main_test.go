package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/cli/clitest"
	"modal-github-runner/services/internal/natstest"
)

func TestMain(m *testing.M) {
	if os.Getenv(clitest.AsCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestExitCodesAndOutput(t *testing.T) {
	t.Parallel()
	good := []string{"WEBHOOK_SECRET=canary"}
	for name, test := range map[string]clitest.Case{
		"version":                             {Args: []string{"version"}, Stdout: `^ingress \S+ \(\S+, go1\.\S+\)\n$`, Stderr: `^$`},
		"--version":                           {Args: []string{"--version"}, Stdout: `^ingress \S+ \(\S+, go1\.\S+\)\n$`, Stderr: `^$`},
		"check of a good configuration":       {Args: []string{"check"}, Environ: good, Stdout: `(?m)^WEBHOOK_SECRET +\[redacted\] +env$`, Stderr: `^$`},
		"check of a bad configuration":        {Args: []string{"check"}, Environ: []string{"INGRESS_MAX_BODY=0"}, Code: 2, Stdout: `(?m)^INGRESS_MAX_BODY +0 +env \(invalid\)$`, Stderr: `WEBHOOK_SECRET: is required`},
		"a bad configuration":                 {Environ: []string{"INGRESS_ADDR=:99999"}, Code: 2, Stdout: `^$`, Stderr: `^bad configuration:\nWEBHOOK_SECRET: .*\nINGRESS_ADDR: .*\n$`},
		"help":                                {Args: []string{"--help"}, Stdout: `healthcheck`, Stderr: `^$`},
		"an unknown command":                  {Args: []string{"walk"}, Environ: good, Code: 2, Stdout: `^$`, Stderr: `walk`},
		"healthcheck of nobody":               {Args: []string{"healthcheck"}, Environ: append(good, "INGRESS_ADMIN_ADDR=127.0.0.1:1"), Code: 1, Stdout: `^$`, Stderr: `refused`},
		"an address that can't be ours":       {Environ: append(good, "INGRESS_ADDR=192.0.2.1:1"), Code: 1, Stdout: `^$`, Stderr: `^INGRESS_ADDR: listen tcp 192\.0\.2\.1:1: bind`},
		"an admin address that can't be ours": {Environ: append(good, "INGRESS_ADDR=127.0.0.1:0", "INGRESS_ADMIN_ADDR=192.0.2.1:1"), Code: 1, Stdout: `^$`, Stderr: `^INGRESS_ADMIN_ADDR: listen tcp`},
		"a header that can't be sent": {
			Environ: append(good, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS=canary"),
			Code:    2, Stdout: `^$`, Stderr: `^bad configuration:\nOTEL_EXPORTER_OTLP_HEADERS: must be name=value pairs`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.Run(t)
		})
	}
}

func TestTheProcessServesUntilSIGTERMAndEndsCleanly(t *testing.T) {
	t.Parallel()
	admin := clitest.FreeAddr(t)
	clitest.ServesUntilSIGTERM(t, []string{
		"WEBHOOK_SECRET=canary", "INGRESS_ADDR=127.0.0.1:0", "INGRESS_ADMIN_ADDR=" + admin, "NATS_URL=" + natstest.Start(t).URL(),
		"INGRESS_PORT=tcp://10.0.0.1:8080", "INGRESS_SERVICE_HOST=10.0.0.1", // As Kubernetes tells of a service of that name.
	}, admin)
}

// Whatever is linked into the public process is read before it gets here.
func TestOnlyTheseModulesAreLinked(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	list.Env = append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{}
	for path := range strings.FieldsSeq(string(out)) {
		linked[path] = true
	}
	allowed := map[string]bool{}
	for path := range strings.FieldsSeq(allowedModules) {
		allowed[path] = true
	}
	if diff := cmp.Diff(allowed, linked); diff != "" {
		t.Error(diff)
	}
}

const allowedModules = `
github.com/alecthomas/kong
github.com/beorn7/perks
github.com/cenkalti/backoff/v5
github.com/cespare/xxhash/v2
github.com/go-logr/logr
github.com/go-logr/stdr
github.com/google/uuid
github.com/grpc-ecosystem/grpc-gateway/v2
github.com/klauspost/compress
github.com/munnerz/goautoneg
github.com/nats-io/nats.go
github.com/nats-io/nkeys
github.com/nats-io/nuid
github.com/prometheus/client_golang
github.com/prometheus/client_model
github.com/prometheus/common
github.com/prometheus/procfs
go.opentelemetry.io/auto/sdk
go.opentelemetry.io/otel
go.opentelemetry.io/otel/exporters/otlp/otlptrace
go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp
go.opentelemetry.io/otel/log
go.opentelemetry.io/otel/metric
go.opentelemetry.io/otel/sdk
go.opentelemetry.io/otel/trace
go.opentelemetry.io/proto/otlp
go.yaml.in/yaml/v4
golang.org/x/crypto
golang.org/x/net
golang.org/x/sys
golang.org/x/text
golang.org/x/time
google.golang.org/genproto/googleapis/api
google.golang.org/genproto/googleapis/rpc
google.golang.org/grpc
google.golang.org/protobuf
modal-github-runner/proto
modal-github-runner/services/ingress
modal-github-runner/services/internal
`
