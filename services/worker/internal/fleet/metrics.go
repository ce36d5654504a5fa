package fleet

import (
	"context"
	"path"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/worker/internal/run"
)

// PausedHelp describes the metric worker_paused, of which this package knows one reason and the app another.
const PausedHelp = "Whether launches are held back (1) for this reason: no_image, those of this worker from an image that is lacking; " +
	"operator, some or all, on the worker that leads."

// Metrics counts the calls to Modal, and knows the runner in use and whether there is an image.
type Metrics struct {
	requests *prometheus.CounterVec
	release  *prometheus.GaugeVec
	paused   prometheus.Gauge
}

// NewMetrics registers the metrics of this package.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_modal_requests_total", Help: "Calls to Modal, by method and gRPC code; each try of the SDK counts.",
		}, []string{"method", "code"}),
		release: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_runner_release_timestamp_seconds", Help: "When the runner version in use was published.",
		}, []string{"version"}),
		// The reason is constant, so that whoever knows another one can have the same metric.
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "worker_paused", Help: PausedHelp,
			ConstLabels: prometheus.Labels{"reason": "no_image"},
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.release, m.paused} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// intercept counts one call. The methods are those that the SDK has.
func (m *Metrics) intercept(
	ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	err := see(ctx, method, func(ctx context.Context, more ...grpc.CallOption) error {
		return invoker(ctx, method, req, reply, conn, slices.Concat(opts, more)...)
	})
	m.requests.WithLabelValues(path.Base(method), status.Code(err).String()).Inc()
	return err
}

// runner records the release in use; only one is.
func (m *Metrics) runner(r run.RunnerRelease) {
	m.release.Reset()
	m.release.WithLabelValues(r.Version).Set(float64(r.PublishedAt.UnixNano()) / float64(time.Second))
}
