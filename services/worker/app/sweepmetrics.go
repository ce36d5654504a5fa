package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// sweepMetrics are those of the sweeps. Only the worker that leads has them, except for what counters hold; use
// `max without (instance)` on the gauges.
type sweepMetrics struct {
	success   *prometheus.GaugeVec
	findings  *prometheus.CounterVec
	runs      *prometheus.GaugeVec
	sandboxes *prometheus.GaugeVec
}

func newSweepMetrics() sweepMetrics {
	return sweepMetrics{
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_sweep_last_success_timestamp_seconds", Help: "When a sweep last ended without an error; only on the worker that leads.",
		}, []string{"loop"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_sweep_findings_total", Help: "What sweeps found and acted on, by loop and kind.",
		}, []string{"loop", "kind"}),
		runs: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_runs", Help: "Records of jobs, by state; only on the worker that leads.",
		}, []string{"state"}),
		sandboxes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_sandboxes", Help: "Sandboxes that Modal runs, by their runner's state, unknown without a record; only on the worker that leads.",
		}, []string{"state"}),
	}
}

func (m sweepMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.success, m.findings, m.runs, m.sandboxes}
}

// Swept implements sweep.Observer.
func (m sweepMetrics) Swept(loop string, r sweep.Report, err error) {
	if err == nil {
		m.success.WithLabelValues(loop).SetToCurrentTime()
	}
	for kind, n := range r.Found {
		m.findings.WithLabelValues(loop, string(kind)).Add(float64(n))
	}
	if r.Runs != nil {
		for _, state := range []run.State{run.OnHold, run.Waiting, run.Running, run.Done, run.Dead} {
			m.runs.WithLabelValues(string(state)).Set(float64(r.Runs[state]))
		}
	}
	if r.Sandboxes != nil {
		for _, state := range []run.RunnerState{run.Launching, run.Launched, run.Busy, run.Ended} {
			m.sandboxes.WithLabelValues(string(state)).Set(float64(r.Sandboxes[state]))
		}
		m.sandboxes.WithLabelValues("unknown").Set(float64(r.Sandboxes[run.Unknown]))
	}
}

// follow forgets what only the worker that leads knows.
func (m sweepMetrics) follow() {
	m.success.Reset()
	m.runs.Reset()
	m.sandboxes.Reset()
}
