package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/internal/obs"
)

// metrics implements the observers of the packages that know no Prometheus. The names are those that operators rely on.
type metrics struct {
	messages     *prometheus.CounterVec
	launches     *prometheus.CounterVec
	deadLetters  prometheus.Counter
	queueToGo    *prometheus.HistogramVec
	queueToStart *prometheus.HistogramVec
	steps        *prometheus.HistogramVec
	slots        *prometheus.GaugeVec
	slotsInUse   *prometheus.GaugeVec

	sweepMetrics
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		sweepMetrics: newSweepMetrics(),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_messages_total", Help: "Messages handled, by verdict: done, retry, scheduled, dead or held.",
		}, []string{"verdict"}),
		launches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_launches_total", Help: "Launches that ended, by pool and outcome.",
		}, []string{"pool", "outcome"}),
		deadLetters: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "worker_dead_letters_total", Help: "Jobs given up.",
		}),
		queueToGo: prometheus.NewHistogramVec(obs.SecondsHistogram("worker_queue_to_launch_seconds",
			"Time from the verified webhook to the created sandbox."), []string{"pool"}),
		queueToStart: prometheus.NewHistogramVec(obs.SecondsHistogram("worker_queue_to_start_seconds",
			"Time from the verified webhook to a runner's taking the job."), []string{"pool"}),
		steps: prometheus.NewHistogramVec(obs.SecondsHistogram("worker_step_seconds",
			"Time of one step of a launch: origin, intent, jit, create, record or ack."), []string{"step"}),
		slots: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_slots", Help: "Messages that this worker may have in hand, by consumer.",
		}, []string{"kind"}),
		slotsInUse: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_slots_in_use", Help: "Messages that this worker has in hand, by consumer.",
		}, []string{"kind"}),
	}
	for _, c := range append(m.collectors(),
		m.messages, m.launches, m.deadLetters, m.queueToGo, m.queueToStart, m.steps, m.slots, m.slotsInUse,
	) {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Message implements intake.Observer.
func (m *metrics) Message(verdict string) { m.messages.WithLabelValues(verdict).Inc() }

// Slots implements intake.Observer.
func (m *metrics) Slots(kind string, total, inUse int) {
	m.slots.WithLabelValues(kind).Set(float64(total))
	m.slotsInUse.WithLabelValues(kind).Set(float64(inUse))
}

// Step implements intake.Observer and launch.Observer.
func (m *metrics) Step(step string, d time.Duration) {
	m.steps.WithLabelValues(step).Observe(d.Seconds())
}

// Launched implements launch.Observer.
func (m *metrics) Launched(pool, outcome string) { m.launches.WithLabelValues(pool, outcome).Inc() }

// QueueToLaunch implements launch.Observer.
func (m *metrics) QueueToLaunch(pool string, d time.Duration) {
	m.queueToGo.WithLabelValues(pool).Observe(d.Seconds())
}

// QueueToStart implements launch.Observer.
func (m *metrics) QueueToStart(pool string, d time.Duration) {
	m.queueToStart.WithLabelValues(pool).Observe(d.Seconds())
}

// Buried implements launch.Observer.
func (m *metrics) Buried() { m.deadLetters.Inc() }
