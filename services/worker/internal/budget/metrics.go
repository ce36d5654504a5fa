package budget

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a request was not sent, the values of the label of that name.
const (
	reasonMinute   = "minute"
	reasonHour     = "hour"
	reasonStopped  = "stopped"
	reasonInFlight = "in_flight"
)

// Metrics tells what is taken from the budgets.
type Metrics struct {
	points  *prometheus.CounterVec
	held    *prometheus.CounterVec
	stopped prometheus.Gauge
	alone   prometheus.Gauge
}

// NewMetrics registers the metrics of this package.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		points: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_github_points_total", Help: "Points of GitHub's secondary limit that this worker's requests cost, by lane.",
		}, []string{"lane"}),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_github_held_back_total",
			Help: "Requests to GitHub that were not sent, by lane and reason: minute, hour, stopped or in_flight.",
		}, []string{"lane", "reason"}),
		stopped: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "worker_github_stopped_until_timestamp_seconds",
			Help: "Until when GitHub last told this worker to stop; every worker stops, not only the one that was told.",
		}),
		alone: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "worker_github_budget_alone", Help: "1 while NATS is away and this worker keeps to its share of GitHub's budget.",
		}),
	}
	for _, c := range []prometheus.Collector{m.points, m.held, m.stopped, m.alone} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) took(lane Lane, points int) {
	m.points.WithLabelValues(string(lane)).Add(float64(points))
}

func (m *Metrics) heldBack(lane Lane, reason string) {
	m.held.WithLabelValues(string(lane), reason).Inc()
}

func (m *Metrics) stop(until time.Time) { m.stopped.Set(float64(until.Unix())) }

func (m *Metrics) isAlone(alone bool) {
	m.alone.Set(0)
	if alone {
		m.alone.Set(1)
	}
}
