package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// query is a line of a panel: what Prometheus is asked, and what the line is called.
type query struct{ expr, legend string }

// panel is a graph of a dashboard. Unit is Grafana's word for what its axis counts.
type panel struct {
	title, unit, about string
	queries            []query
}

// dashboards are what operators look at, from the left to the right and down: what it is like for users comes first.
func dashboards() map[string]struct {
	title  string
	panels []panel
} {
	type board = struct {
		title  string
		panels []panel
	}
	quantile := func(q, metric string) string {
		return "histogram_quantile(" + q + ", sum by (le) (rate(" + metric + "_bucket[$__rate_interval])))"
	}
	return map[string]board{
		"service": {"Modal GitHub Runner: service", []panel{
			{"Webhooks answered", "reqps", "By how they ended; queue_unavailable and throttled are sent again by GitHub's hook or found by a sweep.", []query{
				{"sum by (outcome) (rate(ingress_deliveries_total[$__rate_interval]))", "{{outcome}}"},
			}},
			{"Queued to sandbox", "s", "From the webhook to the sandbox. 99% within a minute is promised.", []query{
				{quantile("0.5", "worker_queue_to_launch_seconds"), "half"}, {quantile("0.99", "worker_queue_to_launch_seconds"), "99%"},
			}},
			{"Launches", "ops", "By how they ended.", []query{{"sum by (outcome) (rate(worker_launches_total[$__rate_interval]))", "{{outcome}}"}}},
			{"Steps of a launch", "s", "99% of each.", []query{
				{"histogram_quantile(0.99, sum by (le, step) (rate(worker_step_seconds_bucket[$__rate_interval])))", "{{step}}"},
			}},
			{"Jobs that stand in line", "short", "By what they wait for.", []query{{"max by (pool, reason) (worker_jobs_held_back)", "{{pool}}: {{reason}}"}}},
			{"Waits, and not in line", "s", "The oldest job that no limit holds back, since it was queued or its place or turn came.", []query{
				{"time() - min by (pool) (worker_oldest_waiting_job_timestamp_seconds)", "{{pool}}"},
			}},
			{"Messages in hand", "short", "Of all workers, and how many there may be.", []query{
				{"sum by (kind) (worker_slots_in_use)", "{{kind}}"}, {"sum by (kind) (worker_slots)", "{{kind}}, at most"},
			}},
			{"GitHub: requests", "reqps", "By status.", []query{{"sum by (code) (rate(worker_github_requests_total[$__rate_interval]))", "{{code}}"}}},
			{"GitHub: what is left", "short", "Of the limit of the hour, and what was not sent for want of it.", []query{
				{"min by (resource) (worker_github_rate_limit_remaining)", "{{resource}} left"},
				{"sum by (reason) (rate(worker_github_held_back_total[$__rate_interval]))", "held back: {{reason}}"},
			}},
			{"Modal: calls", "reqps", "By code.", []query{{"sum by (code) (rate(worker_modal_requests_total[$__rate_interval]))", "{{code}}"}}},
			{"NATS: connected", "short", "1 is connected.", []query{{`nats_connected{job=~"modal-github-runner-(ingress|worker)"}`, "{{job}} {{instance}}"}}},
			{"NATS: how full", "percentunit", "Of what the fullest server, the account and a stream may store.", []query{
				{`max by (of) (nats_storage_used_ratio{job=~"modal-github-runner-(ingress|worker)"})`, "{{of}}"},
			}},
			{"Answers to GitHub", "s", "GitHub gives up after 10 seconds.", []query{
				{quantile("0.5", "ingress_delivery_seconds"), "half"}, {quantile("0.99", "ingress_delivery_seconds"), "99%"},
			}},
			{"Since the last webhook", "s", "With a good signature, of any ingress.", []query{
				{"time() - max(ingress_last_verified_delivery_timestamp_seconds > 0)", "silent for"},
			}},
			{"Builds", "short", "Replicas by version: where it changes, something was deployed.", []query{
				{"count by (version) (ingress_build_info)", "ingress {{version}}"}, {"count by (version) (worker_build_info)", "worker {{version}}"},
			}},
		}},
		"runs": {"Modal GitHub Runner: jobs and sandboxes", []panel{
			{"Queued to started", "s", "As GitHub reports it.", []query{
				{quantile("0.5", "worker_queue_to_start_seconds"), "half"}, {quantile("0.99", "worker_queue_to_start_seconds"), "99%"},
			}},
			{"Jobs", "short", "On record, by state.", []query{{`max by (state) (worker_runs{state!="done"})`, "{{state}}"}}},
			{"Sandboxes", "short", "At Modal, by the state of their runner; unknown has no record.", []query{{"max by (state) (worker_sandboxes)", "{{state}}"}}},
			{"Places", "short", "Held by runners or promised to jobs, by pool.", []query{{"max by (pool, state) (worker_places)", "{{pool}}: {{state}}"}}},
			{"Warm", "short", "Sandboxes that wait for a runner, by pool.", []query{{"max by (pool) (worker_warm_sandboxes)", "{{pool}}"}}},
			{"Cost of today", "currencyUSD", "Since midnight UTC, by the prices of the pools file.", []query{{"max by (pool) (worker_cost_today_usd)", "{{pool}}"}}},
			{"Breakers", "short", "0 closed, 1 on trial, 2 open.", []query{{"max by (pool) (worker_breaker_state)", "{{pool}}"}}},
			{"Dead letters", "short", "Jobs given up in the last hour.", []query{{"sum(increase(worker_dead_letters_total[1h]))", "given up"}}},
			{"What sweeps found", "ops", "By loop and kind: what no event told.", []query{
				{"sum by (loop, kind) (rate(worker_sweep_findings_total[$__rate_interval]))", "{{loop}}: {{kind}}"},
			}},
			{"Since the last sweep", "s", "By loop.", []query{{"time() - max by (loop) (worker_sweep_last_success_timestamp_seconds)", "{{loop}}"}}},
			{"Age of the runner", "s", "GitHub refuses those older than about a month.", []query{
				{"time() - max by (version) (worker_runner_release_timestamp_seconds > 0)", "{{version}}"},
			}},
		}},
	}
}

// rendered is the dashboard as Grafana reads it: two panels in a row.
func rendered(uid, title string, panels []panel) map[string]any {
	const width, height = 12, 8
	source := map[string]any{"type": "prometheus", "uid": "${datasource}"}
	var shown []any
	for i, p := range panels {
		var targets []any
		for n, q := range p.queries {
			targets = append(targets, map[string]any{"refId": string(rune('A' + n)), "expr": q.expr, "legendFormat": q.legend, "datasource": source})
		}
		shown = append(shown, map[string]any{
			"id": i + 1, "type": "timeseries", "title": p.title, "description": p.about, "datasource": source, "targets": targets,
			"gridPos":     map[string]any{"x": i % 2 * width, "y": i / 2 * height, "w": width, "h": height},
			"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit, "min": 0}, "overrides": []any{}},
		})
	}
	return map[string]any{
		"uid": "modal-github-runner-" + uid, "title": title, "tags": []string{"modal-github-runner"}, "schemaVersion": 41, "editable": false,
		"time": map[string]any{"from": "now-6h", "to": "now"}, "refresh": "30s", "panels": shown,
		"templating": map[string]any{"list": []any{map[string]any{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}}},
	}
}

// The files are generated: go test ./services/simulator/e2e -run TestDashboards -update.
func TestDashboardsAreAsTheyAreWrittenHere(t *testing.T) {
	t.Parallel()
	names := exported(t)
	for uid, board := range dashboards() {
		var got bytes.Buffer
		encoder := json.NewEncoder(&got)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(rendered(uid, board.title, board.panels)); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(repositoryRoot(t), "deployments", "grafana", "dashboards", uid+".json")
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(read(t, "deployments", "grafana", "dashboards", uid+".json"), got.String()); diff != "" {
			t.Error(diff)
		}
		for _, p := range board.panels {
			for _, q := range p.queries {
				for _, name := range metricName.FindAllString(q.expr, -1) {
					if !names[name] && !names[ofBuckets.ReplaceAllString(name, "")] {
						t.Errorf("%s: %s: no service exports %s", uid, p.title, name)
					}
				}
			}
		}
	}
}
