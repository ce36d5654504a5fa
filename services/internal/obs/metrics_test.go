package obs_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"modal-github-runner/services/internal/obs"
)

// A Prometheus that scrapes native histograms asks for protobuf; one that does not reads the classic buckets.
func TestHistogramsAreNativeAndHaveClassicBuckets(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	histogram := prometheus.NewHistogram(obs.SecondsHistogram("x_seconds", "Some time."))
	registry.MustRegister(histogram)
	for _, seconds := range []float64{.002, .07, 40} {
		histogram.Observe(seconds)
	}
	admin := obs.NewAdmin(obs.AdminOptions{Registry: registry, Logger: slog.New(slog.DiscardHandler)})
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
	req.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	answer := httptest.NewRecorder()
	admin.Handler().ServeHTTP(answer, req)
	var found *dto.Histogram
	for decoder := expfmt.NewDecoder(answer.Body, expfmt.ResponseFormat(answer.Header())); ; {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if family.GetName() == "x_seconds" {
			found = family.GetMetric()[0].GetHistogram()
		}
	}
	const resolution = 3 // 2^(2^-3) is the factor from a bucket to the next, 9%, which is the first below 10%.
	if found.GetSchema() != resolution || len(found.GetPositiveSpan()) == 0 || found.GetSampleCount() != 3 {
		t.Errorf("no native histogram of three values: %v", found)
	}
	classic := map[float64]uint64{}
	for _, bucket := range found.GetBucket() {
		classic[bucket.GetUpperBound()] = bucket.GetCumulativeCount()
	}
	if len(classic) < 12 || classic[.005] != 1 || classic[.1] != 2 || classic[60] != 3 {
		t.Errorf("classic buckets are %v", classic)
	}
}
