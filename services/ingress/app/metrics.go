package app

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/ingress/internal/limit"
	"modal-github-runner/services/ingress/internal/publish"
	"modal-github-runner/services/ingress/internal/webhook"
	"modal-github-runner/services/internal/obs"
)

// metrics are those of ingress alone; their names are part of what operators rely on.
type metrics struct {
	deliveries   *prometheus.CounterVec
	delivery     prometheus.Histogram
	publish      *prometheus.HistogramVec
	unverified   prometheus.GaugeFunc
	inFlight     prometheus.GaugeFunc
	lastVerified prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer, bodies *limit.Bodies, inFlight *limit.InFlight) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_deliveries_total",
			Help: "Webhooks answered, by what they were and how they ended.",
		}, []string{"event", "action", "outcome"}),
		delivery: prometheus.NewHistogram(obs.SecondsHistogram(
			"ingress_delivery_seconds", "Time from a webhook's headers to its answer.")),
		publish: prometheus.NewHistogramVec(obs.SecondsHistogram(
			"ingress_publish_seconds", "Time until JetStream confirmed or refused an event."), []string{"outcome"}),
		unverified: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_unverified_bytes",
			Help: "Memory counted for requests whose signature has not been verified yet.",
		}, func() float64 { return float64(bodies.Held()) }),
		inFlight: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_inflight_requests",
			Help: "Verified webhooks at work now.",
		}, func() float64 { return float64(inFlight.Now()) }),
		lastVerified: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ingress_last_verified_delivery_timestamp_seconds",
			Help: "When the last webhook with a good signature came; 0 if none did since the start.",
		}),
	}
	for _, c := range []prometheus.Collector{m.deliveries, m.delivery, m.publish, m.unverified, m.inFlight, m.lastVerified} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observeDelivery(d webhook.Delivery) {
	m.deliveries.WithLabelValues(d.Event, d.Action, string(d.Outcome)).Inc()
	m.delivery.Observe(d.Duration.Seconds())
	if d.Verified {
		m.lastVerified.SetToCurrentTime()
	}
}

func (m *metrics) observePublish(result publish.Result, took time.Duration) {
	m.publish.WithLabelValues(string(result)).Observe(took.Seconds())
}
