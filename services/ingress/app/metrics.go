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
	throttled    *prometheus.CounterVec
	delivery     prometheus.Histogram
	publish      *prometheus.HistogramVec
	lastVerified prometheus.Gauge
}

// limits are what bounds the memory of the process, and what metrics show of it.
type limits struct {
	conns    *limit.Conns
	bodies   *limit.Bodies
	inFlight *limit.InFlight
}

func newMetrics(registry prometheus.Registerer, l limits) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_deliveries_total",
			Help: "Webhooks answered, by what they were and how they ended.",
		}, []string{"event", "action", "outcome"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_throttled_total",
			Help: "Webhooks answered 503 to shed load, by the limit that was reached.",
		}, []string{"limit"}),
		delivery: prometheus.NewHistogram(obs.SecondsHistogram(
			"ingress_delivery_seconds", "Time from a webhook's headers to its answer.")),
		publish: prometheus.NewHistogramVec(obs.SecondsHistogram(
			"ingress_publish_seconds", "Time until JetStream confirmed or refused an event."), []string{"outcome"}),
		lastVerified: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ingress_last_verified_delivery_timestamp_seconds",
			Help: "When the last webhook with a good signature came; 0 if none did since the start.",
		}),
	}
	for _, by := range webhook.Limits() {
		m.throttled.WithLabelValues(string(by)) // At 0 before the first time, so that a rate sees it.
	}
	own := []prometheus.Collector{m.deliveries, m.throttled, m.delivery, m.publish, m.lastVerified}
	for _, c := range append(own, l.collectors()...) {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (l limits) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_connections",
			Help: "Connections to the public listener now.",
		}, func() float64 { return float64(l.conns.Open()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "ingress_connections_dropped_total",
			Help: "Connections that were ended because newer ones had no room.",
		}, func() float64 { return float64(l.conns.Dropped()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_unverified_bytes",
			Help: "Memory counted for requests that have not been verified and decided about yet.",
		}, func() float64 { return float64(l.bodies.Held()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_inflight_requests",
			Help: "Verified webhooks at work now.",
		}, func() float64 { return float64(l.inFlight.Now()) }),
	}
}

func (m *metrics) observeDelivery(d webhook.Delivery) {
	m.deliveries.WithLabelValues(d.Event, d.Action, string(d.Outcome)).Inc()
	if d.Limit != "" {
		m.throttled.WithLabelValues(string(d.Limit)).Inc()
	}
	m.delivery.Observe(d.Duration.Seconds())
	if d.Verified {
		m.lastVerified.SetToCurrentTime()
	}
}

func (m *metrics) observePublish(result publish.Result, took time.Duration) {
	m.publish.WithLabelValues(string(result)).Observe(took.Seconds())
}
