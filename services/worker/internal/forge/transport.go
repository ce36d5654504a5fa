package forge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// resourceCore is what GitHub calls the limit that all requests here count against.
const resourceCore = "core"

// authTransport authenticates requests.
type authTransport struct {
	// authorize is the header by which GitHub knows who asks.
	authorize func(context.Context) (string, error)
	next      http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t authTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	header, err := t.authorize(req.Context())
	if err != nil {
		return nil, unsent(req, err)
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", header)
	return t.next.RoundTrip(req)
}

// unsent is why a request was not sent, once its body is closed.
func unsent(req *http.Request, why error) error {
	if req.Body == nil {
		return why
	}
	return errors.Join(why, req.Body.Close())
}

// Metrics counts the calls to GitHub.
type Metrics struct {
	requests  *prometheus.CounterVec
	remaining *prometheus.GaugeVec
	reset     *prometheus.GaugeVec
	notices   *prometheus.CounterVec
}

// NewMetrics registers the metrics of this package.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_github_requests_total", Help: "Requests to GitHub, by endpoint and status; code is error if no answer came.",
		}, []string{"endpoint", "code"}),
		remaining: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_github_rate_limit_remaining", Help: "Requests left in GitHub's primary limit, as its last answer said.",
		}, []string{"resource"}),
		reset: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "worker_github_rate_limit_reset_timestamp_seconds", Help: "When GitHub's primary limit starts anew, as its last answer said.",
		}, []string{"resource"}),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_notices_total",
			Help: "Tries to tell a job's author that it was given up, or that it was not after all: told, withdrawn, limited, refused or error.",
		}, []string{"outcome"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.remaining, m.reset, m.notices} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// meteredTransport counts requests by endpoint.
type meteredTransport struct {
	metrics *Metrics
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t meteredTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	code := "error"
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
		if req.Header.Get("Authorization") != "" { // Who is nobody has 60 an hour, which would look as if ours were nearly used up.
			t.metrics.limits(resp.Header)
		}
	}
	t.metrics.requests.WithLabelValues(endpointOf(req), code).Inc()
	return resp, err
}

// limits records what GitHub says of its primary limit. Resources are a short list of GitHub's own; those that matter
// here are kept by name.
func (m *Metrics) limits(h http.Header) {
	resource := h.Get("X-Ratelimit-Resource")
	if resource == "" {
		return
	}
	if resource != resourceCore && resource != "actions_runner_registration" {
		resource = "other"
	}
	if v, err := strconv.ParseFloat(h.Get("X-Ratelimit-Remaining"), 64); err == nil {
		m.remaining.WithLabelValues(resource).Set(v)
	}
	if v, err := strconv.ParseFloat(h.Get("X-Ratelimit-Reset"), 64); err == nil {
		m.reset.WithLabelValues(resource).Set(v)
	}
}

// endpointOf names the endpoint of a request; the values are few and fixed.
func endpointOf(req *http.Request) string {
	switch path := req.URL.Path; {
	case strings.HasSuffix(path, "/access_tokens"):
		return "access_tokens"
	case strings.HasSuffix(path, "/generate-jitconfig"):
		return "generate_jitconfig"
	case strings.HasSuffix(path, "/actions/runners"):
		return "list_runners"
	case strings.HasSuffix(path, "/actions/runner-groups"):
		return "list_runner_groups"
	case strings.Contains(path, "/actions/runners/") && req.Method == http.MethodDelete:
		return "delete_runner"
	case strings.HasSuffix(path, "/check-runs") || strings.Contains(path, "/check-runs/"):
		return "check_runs"
	case strings.HasSuffix(path, "/installation"):
		return "installation"
	case strings.Contains(path, "/releases/"):
		return "release"
	}
	return "other"
}
