package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry returns a registry with the collectors of the Go runtime and the process, and the metric
// SERVICE_build_info, which is always 1.
func NewRegistry(svc Service) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	buildInfo := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: svc.Name + "_build_info",
		Help: "Which build runs; always 1.",
		ConstLabels: prometheus.Labels{
			"version": svc.Build.Version, "revision": svc.Build.Revision, "goversion": svc.Build.Go,
		},
	})
	buildInfo.Set(1)
	registry.MustRegister(
		buildInfo,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// SecondsHistogram describes a histogram of durations: native with a resolution of 10%, as Prometheus advises, and with
// twelve classic buckets from 1 ms to 5 min for servers that do not scrape native ones.
func SecondsHistogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name:                            name,
		Help:                            help,
		Buckets:                         []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}
