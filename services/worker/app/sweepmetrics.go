package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/worker/internal/fleet"
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
	neglected *prometheus.GaugeVec
	places    *prometheus.GaugeVec
	waiting   *prometheus.GaugeVec
	breakers  *prometheus.GaugeVec
	cost      *prometheus.GaugeVec
	warm      *prometheus.GaugeVec
	paused    prometheus.Gauge
}

func newSweepMetrics() sweepMetrics {
	return sweepMetrics{
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_sweep_last_success_timestamp_seconds",
			Help: "When a sweep last ended without an error, or else when this worker began to lead; only on the worker that leads.",
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
		neglected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_oldest_waiting_job_timestamp_seconds",
			Help: "Since when the job waits that has waited longest though no limit holds it back, by pool: since it was queued, or since its place or its " +
				"turn at GitHub came; absent if there is none; only on the worker that leads.",
		}, []string{"pool"}),
		places: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_places", Help: "Places by pool, held by runners or promised to jobs; only on the worker that leads.",
		}, []string{"pool", "state"}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_jobs_held_back", Help: "Jobs that stand in line for a place, by pool and by what they wait for; only on the worker that leads.",
		}, []string{"pool", "reason"}),
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_breaker_state", Help: "A pool's breaker: 0 closed, 1 on trial, 2 open; only on the worker that leads.",
		}, []string{"pool"}),
		cost: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_cost_today_usd",
			Help: "What sandboxes cost since midnight UTC, by the prices of the pools file, by pool; only on the worker that leads.",
		}, []string{"pool"}),
		warm: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_warm_sandboxes", Help: "Sandboxes that wait for a runner, ready to be given one, by pool; only on the worker that leads.",
		}, []string{"pool"}),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "worker_paused", Help: fleet.PausedHelp, ConstLabels: prometheus.Labels{"reason": "operator"},
		}),
	}
}

func (m sweepMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.success, m.findings, m.runs, m.sandboxes, m.neglected, m.places, m.waiting, m.breakers, m.cost, m.warm, m.paused}
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
	if r.Neglected != nil {
		m.neglected.Reset()
		for pool, since := range r.Neglected {
			m.neglected.WithLabelValues(pool).Set(float64(since.Unix()))
		}
	}
	if r.Warm != nil {
		m.warm.Reset()
		for pool, n := range r.Warm {
			m.warm.WithLabelValues(pool).Set(float64(n))
		}
	}
	if r.Room != nil {
		m.room(*r.Room)
	}
}

func (m sweepMetrics) room(r sweep.Room) {
	m.places.Reset()
	m.waiting.Reset()
	m.breakers.Reset()
	m.cost.Reset()
	m.paused.Set(float64(min(1, r.Paused)))
	for pool, n := range r.Held {
		m.places.WithLabelValues(pool, "held").Set(float64(n))
	}
	for pool, n := range r.Promised {
		m.places.WithLabelValues(pool, "promised").Set(float64(n))
	}
	for key, n := range r.Waiting {
		m.waiting.WithLabelValues(key.Pool, string(key.Kind)).Set(float64(n))
	}
	for pool, usd := range r.Cost {
		m.cost.WithLabelValues(pool).Set(usd)
	}
	for pool, state := range r.Breakers {
		m.breakers.WithLabelValues(pool).Set(float64(state))
	}
}

// lead has each sweep be overdue if it does not succeed from now on: of one that never did there would be nothing to see.
func (m sweepMetrics) lead(loops []sweep.Loop) {
	for _, l := range loops {
		m.success.WithLabelValues(l.Name).SetToCurrentTime()
	}
}

// follow forgets what only the worker that leads knows.
func (m sweepMetrics) follow() {
	m.success.Reset()
	m.runs.Reset()
	m.sandboxes.Reset()
	m.neglected.Reset()
	m.warm.Reset()
	m.room(sweep.Room{})
}
