package app

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/ingress/internal/limit"
	"modal-github-runner/services/ingress/internal/publish"
	"modal-github-runner/services/ingress/internal/webhook"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/obs"
)

func someLimits() limits {
	return limits{limit.NewConns(1), limit.NewBodies(limit.EntryCost), limit.NewInFlight(1)}
}

var update = flag.Bool("update", false, "write the names of the metrics")

// wantMetrics holds the names and labels against the file that dashboards and alerts are held against, too.
func wantMetrics(t *testing.T, got []string) {
	t.Helper()
	const golden = "testdata/metrics.txt"
	content := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), content); diff != "" {
		t.Error(diff)
	}
}

// Operators build on these names: a change here breaks their dashboards and alerts.
func TestMetricNamesAreAsPromised(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry, someLimits())
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Register(obs.NewConfigInfo(serviceName, func() (string, error) { return "default", nil })); err != nil {
		t.Fatal(err)
	}
	m.observeDelivery(webhook.Delivery{Event: "ping", Action: "other", Outcome: webhook.Published, Verified: true})
	m.observePublish(publish.Stored, time.Second)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		labels := []string{family.GetName()}
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, label.GetName())
		}
		got = append(got, strings.Join(labels, " "))
	}
	wantMetrics(t, got)
	if seen := testutil.ToFloat64(m.lastVerified); seen < float64(time.Now().Add(-time.Hour).Unix()) {
		t.Errorf("last verified delivery at %f", seen)
	}
}

func TestOnlyVerifiedDeliveriesCountAsSeen(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(prometheus.NewRegistry(), someLimits())
	if err != nil {
		t.Fatal(err)
	}
	m.observeDelivery(webhook.Delivery{Event: "unverified", Action: "unverified", Outcome: webhook.BadSignature})
	if seen := testutil.ToFloat64(m.lastVerified); seen != 0 {
		t.Errorf("last verified delivery at %f", seen)
	}
}

// README is made of this table.
func TestEveryVariableIsDocumented(t *testing.T) {
	t.Parallel()
	table := config.Markdown(&Config{})
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) != 5 || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("row without a meaning: %s", line)
		}
	}
	for _, want := range []string{
		"| `INGRESS_ADDR` | `:8080` |", "| `INGRESS_ADMIN_ADDR` | `127.0.0.1:9090` |",
		"| `WEBHOOK_SECRET`, `WEBHOOK_SECRET_FILE` | required |", "| `INGRESS_MAX_BODY` | `1MiB` |",
		"| `NATS_URL` | `nats://127.0.0.1:4222` |", "| `ALLOWED_REPOS` | none |", "| `LOG_LEVEL` | `info` |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %s in:\n%s", want, table)
		}
	}
}
