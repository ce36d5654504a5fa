package rollout

import "github.com/prometheus/client_golang/prometheus"

// Metrics shows the release that is not in use, though GitHub has it.
type Metrics struct {
	trial *prometheus.GaugeVec
}

// NewMetrics registers the metrics of this package.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{trial: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "worker_runner_trial",
		Help: "1 for a newer runner version that is not in use yet: it is to be tried by one sandbox (waiting), is tried (trying), or was refused since " +
			"the runners of three took no job (refused).",
	}, []string{"version", "state"})}
	return m, r.Register(m.trial)
}

func (m *Metrics) show(s State) {
	m.trial.Reset()
	switch {
	case s.Refused.Version != "":
		m.trial.WithLabelValues(s.Refused.Version, "refused").Set(1)
	case s.Candidate.Version == "":
	case s.Trying:
		m.trial.WithLabelValues(s.Candidate.Version, "trying").Set(1)
	default:
		m.trial.WithLabelValues(s.Candidate.Version, "waiting").Set(1)
	}
}
