package obs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// checkTimeout bounds all readiness checks together, below the 5 s after which most probes give up.
	checkTimeout = 2 * time.Second
	// maxScrapes and scrapeTimeout keep slow or many scrapers from costing more than they tell.
	maxScrapes    = 3
	scrapeTimeout = 10 * time.Second

	adminReadTimeout  = 10 * time.Second
	adminIdleTimeout  = 2 * time.Minute
	adminHeaderBytes  = 16 << 10
	adminWriteTimeout = 2 * time.Minute // a CPU profile takes 30 s by default
)

// Check is one reason why a service might not be able to work now. Run returns nil, or what is missing; it must not
// take longer than its context.
type Check struct {
	Name string
	Run  func(context.Context) error
}

// AdminOptions is what an [Admin] shows.
type AdminOptions struct {
	Registry *prometheus.Registry
	Logger   *slog.Logger
	Checks   []Check
	Pprof    bool // serve /debug/pprof
}

// Admin serves /healthz (the process answers; nothing remote is asked), /readyz (it could do its work now; a JSON object
// of named checks, 503 if one fails or after [Admin.Drain]), /metrics, and /-/healthy and /-/ready as Prometheus spells
// them. It belongs on an address that the public can't reach.
type Admin struct {
	options  AdminOptions
	mux      *http.ServeMux
	server   *http.Server
	draining atomic.Bool
	done     chan struct{}
}

// NewAdmin returns an Admin that does not listen yet.
func NewAdmin(o AdminOptions) *Admin {
	a := &Admin{options: o, mux: http.NewServeMux(), done: make(chan struct{})}
	for _, path := range []string{"GET /healthz", "GET /-/healthy"} {
		a.mux.HandleFunc(path, a.healthz)
	}
	for _, path := range []string{"GET /readyz", "GET /-/ready"} {
		a.mux.HandleFunc(path, a.readyz)
	}
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{
		Registry:            o.Registry,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
		EnableOpenMetrics:   true,
		ErrorLog:            slog.NewLogLogger(o.Logger.Handler(), slog.LevelError),
	}))
	if o.Pprof {
		a.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		a.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		a.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		a.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		a.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	a.server = &http.Server{
		Handler:           a.mux,
		ReadHeaderTimeout: adminReadTimeout,
		ReadTimeout:       adminReadTimeout,
		WriteTimeout:      adminWriteTimeout,
		IdleTimeout:       adminIdleTimeout,
		MaxHeaderBytes:    adminHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	return a
}

// Handle adds a handler under a pattern of [http.ServeMux]. It is called before Serve.
func (a *Admin) Handle(pattern string, handler http.Handler) { a.mux.Handle(pattern, handler) }

// Handler is what the listener serves.
func (a *Admin) Handler() http.Handler { return a.mux }

// Drain makes the service not ready for good. It is called first when the process is asked to stop.
func (a *Admin) Drain() { a.draining.Store(true) }

// Serve answers on listener, in a goroutine that [Admin.Shutdown] waits for.
func (a *Admin) Serve(listener net.Listener) {
	go func() {
		defer close(a.done)
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.options.Logger.Error("admin listener failed", slog.Any("err", err))
		}
	}()
}

// Shutdown ends the listener after Serve; requests still running when ctx ends are cut.
func (a *Admin) Shutdown(ctx context.Context) error {
	err := a.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("shut down admin listener: %w", err), a.server.Close())
	}
	<-a.done
	return err
}

func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, readiness{Status: "ok"})
}

// readiness is the body of /readyz.
type readiness struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
}

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	status, answer := http.StatusOK, readiness{Status: "ready", Checks: map[string]string{}}
	for _, check := range a.options.Checks {
		answer.Checks[check.Name] = "ok"
		if err := check.Run(ctx); err != nil {
			status, answer.Status = http.StatusServiceUnavailable, "not ready"
			answer.Checks[check.Name] = err.Error()
		}
	}
	if a.draining.Load() {
		status, answer.Status = http.StatusServiceUnavailable, "draining"
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the client has gone; there is no one left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
