package e2e_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/internal/obs"
)

// exported are the names of the metrics that the services have, as their own tests hold them; those of natsx and Prometheus besides.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{
		"up": true, "nats_connected": true, "nats_reconnects_total": true, "nats_at_risk": true, "nats_topology_verified": true,
		"nats_storage_used_ratio": true, "worker_build_info": true, "ingress_build_info": true,
	}
	for _, service := range []string{"ingress", "worker"} {
		for line := range strings.Lines(read(t, "services", service, "app", "testdata", "metrics.txt")) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			names[name] = true
		}
	}
	return names
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{repositoryRoot(t)}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func alertRules(t *testing.T) string {
	t.Helper()
	return read(t, "deployments", "prometheus", "rules", "slo.yml") + read(t, "deployments", "prometheus", "rules", "symptoms.yml")
}

var (
	metricName = regexp.MustCompile(`\b(?:up|nats_[a-z_]+|(?:ingress|worker)_[a-z_]+)\b`)
	ofBuckets  = regexp.MustCompile(`_(bucket|count|sum)$`)
	alertName  = regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`)
	shared     = regexp.MustCompile(`\b(up|nats_[a-z_]+)\b(?:\{([^}]*)\})?`)
	bucket     = regexp.MustCompile(`\ble(=~?)"([^"]+)"`)
)

// An exposition writes the same bucket as 60 or 60.0, depending on its format.
func TestRulesNameBucketsAsPrometheusScrapesThem(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewHistogram(obs.SecondsHistogram("some_seconds", "Some.")))
	handler := obs.NewAdmin(obs.AdminOptions{Registry: registry, Logger: slog.New(slog.DiscardHandler)}).Handler()
	named := bucket.FindAllStringSubmatch(alertRules(t), -1)
	if len(named) == 0 {
		t.Fatal("no bucket was found")
	}
	for _, accept := range []string{"text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		scraped := bucket.FindAllStringSubmatch(answer.Body.String(), -1)
		for _, rule := range named {
			wanted := regexp.MustCompile(`^(?:` + rule[2] + `)$`)
			if rule[1] == "=" {
				wanted = regexp.MustCompile(`^` + regexp.QuoteMeta(rule[2]) + `$`)
			}
			if !slices.ContainsFunc(scraped, func(b []string) bool { return wanted.MatchString(b[2]) }) {
				t.Errorf("%s: the services export no bucket %s", accept, rule[0])
			}
		}
	}
}

func TestRulesAndRunbookNameMetricsThatTheServicesExport(t *testing.T) {
	t.Parallel()
	names := exported(t)
	for file, content := range map[string]string{"rules": alertRules(t), "RUNBOOK.md": read(t, "deployments", "RUNBOOK.md")} {
		found := metricName.FindAllString(content, -1)
		if len(found) < 10 {
			t.Errorf("%s: only %d metrics were found", file, len(found))
		}
		for _, name := range found {
			if !names[name] && !names[ofBuckets.ReplaceAllString(name, "")] {
				t.Errorf("%s: no service exports %s", file, name)
			}
		}
	}
}

// In a Prometheus that others use, too, these names may be theirs as well. The chart's PodMonitors are held against the same names.
func TestWhatOthersMayHaveIsAskedOfOurOwnJobs(t *testing.T) {
	t.Parallel()
	jobs := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)- job_name: (\S+)$`).FindAllStringSubmatch(read(t, "deployments", "prometheus", "prometheus.yml"), -1) {
		jobs[match[1]] = true
	}
	if diff := cmp.Diff(map[string]bool{"modal-github-runner-ingress": true, "modal-github-runner-worker": true}, jobs); diff != "" {
		t.Fatal(diff)
	}
	var queries string
	for line := range strings.Lines(alertRules(t)) {
		if !strings.Contains(line, "summary: ") { // In words "up" is none.
			queries += line
		}
	}
	for _, board := range dashboards() {
		for _, p := range board.panels {
			for _, q := range p.queries {
				queries += "\n" + q.expr
			}
		}
	}
	asked := shared.FindAllStringSubmatch(queries, -1)
	for _, of := range asked {
		switch selector := of[2]; {
		case selector == `job=~"modal-github-runner-(ingress|worker)"`:
		case strings.HasPrefix(selector, `job="`) && jobs[strings.Trim(selector[len("job="):], `"`)]:
		default:
			t.Errorf("%s is asked for of whatever has that name: %s", of[1], of[0])
		}
	}
	if len(asked) < 10 {
		t.Errorf("only %d were found", len(asked))
	}
}

func TestEachAlertHasATestThatFiresItAndASectionOfTheRunbook(t *testing.T) {
	t.Parallel()
	rules, runbook, tests := alertRules(t), read(t, "deployments", "RUNBOOK.md"), read(t, "deployments", "prometheus", "rules_test.yml")
	var alerts []string
	for _, match := range alertName.FindAllStringSubmatch(rules, -1) {
		alerts = append(alerts, match[1])
	}
	slices.Sort(alerts)
	for _, alert := range slices.Compact(alerts) {
		if !strings.Contains(runbook, "\n### "+alert+"\n") {
			t.Errorf("RUNBOOK.md has no section %s", alert)
		}
		if !strings.Contains(tests, `ALERTS{alertname="`+alert+`", alertstate="firing"`) {
			t.Errorf("rules_test.yml fires no %s", alert)
		}
		if !strings.Contains(rules, "RUNBOOK.md#"+strings.ToLower(alert)+"\n") {
			t.Errorf("%s names no section of the runbook", alert)
		}
	}
	if len(alerts) < 20 {
		t.Errorf("only %d alerts were found", len(alerts))
	}
	for line := range strings.SplitSeq(runbook, "\n") {
		if name, ok := strings.CutPrefix(line, "### "); ok && !slices.Contains(alerts, name) {
			t.Errorf("RUNBOOK.md has a section of no alert: %s", name)
		}
	}
}
