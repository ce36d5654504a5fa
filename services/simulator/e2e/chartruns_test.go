package e2e_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"modal-github-runner/proto/pools"
	"modal-github-runner/proto/wire"
	ingress "modal-github-runner/services/ingress/app"
	worker "modal-github-runner/services/worker/app"
)

// chartPod is a service as a pod of the case app has it, against nats-server as deployments/nats/nats.conf has it. Its ports are
// what it wants to listen on; there it is found at other addresses.
type chartPod struct {
	container

	addresses map[string]string // by port
}

func (p *chartPod) listen(ctx context.Context, addr string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err == nil {
		p.addresses[addr] = listener.Addr().String()
	}
	return listener, err
}

// status is that of the answer to a request at a named port of the pod, 0 if there is none.
func (p *chartPod) status(ctx context.Context, method, port, path string) int {
	url := "http://" + p.addresses[":"+strconv.Itoa(p.port(port))] + path
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return 0
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// run runs a service until the test ends.
func run(t *testing.T, serve func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatTheChartAsksOfItsPodsIsAnsweredAndWhatKedaAsksOfNATSIsThere(t *testing.T) {
	nats := accountsServer(t)
	all := chartObjectsOf(t, "app")
	deployments, secrets, log := all.deployments(t), chartSecrets(t), slog.New(slog.DiscardHandler)
	at := func(service, password string) (*chartPod, []string) {
		secrets["nats_password"] = []byte(password)
		p := deployments[service].Template.Spec
		// Nothing here speaks to GitHub, Modal or a collector, or TLS to NATS. The first of two variables counts.
		environ := slices.DeleteFunc(all.environ(t, p, secrets), func(v string) bool {
			return strings.HasPrefix(v, "OTEL_") || strings.HasPrefix(v, "NATS_CA_FILE=")
		})
		elsewhere := []string{
			"NATS_URL=" + nats.ClientURL(), "GITHUB_API_URL=http://127.0.0.1:1", "MODAL_SERVER_URL=http://127.0.0.1:1", "INSECURE_DEV=1",
			"INGRESS_DRAIN_DELAY=0s",
		}
		return &chartPod{p.Containers[0], map[string]string{}}, append(elsewhere, environ...)
	}

	public, environ := at("ingress", "i")
	ingressConfig, _, err := ingress.LoadConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	i, err := ingress.New(t.Context(), ingress.Options{Config: ingressConfig, Logger: log, Listen: public.listen})
	if err != nil {
		t.Fatal(err)
	}
	run(t, i.Run)
	private, environ := at("worker", "w")
	workerConfig, _, err := worker.LoadConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(t.Context(), worker.Options{Config: workerConfig, Logger: log, Listen: private.listen, DialGitHub: nobodyThere})
	if err != nil {
		t.Fatal(err)
	}
	run(t, w.Run)

	for service, p := range map[string]*chartPod{"ingress": public, "worker": private} {
		for what, asked := range map[string]probe{"startup": p.StartupProbe, "liveness": p.LivenessProbe, "readiness": p.ReadinessProbe} {
			eventually(t, service+" answers the probe of its "+what, func(ctx context.Context) bool {
				return p.status(ctx, http.MethodGet, asked.HTTPGet.Port, asked.HTTPGet.Path) == http.StatusOK
			})
		}
	}
	for _, m := range all.of("PodMonitor") {
		s := spec[struct {
			Selector            selector
			PodMetricsEndpoints []struct {
				Port, Path  string
				Relabelings []struct{ TargetLabel, Replacement string }
			}
		}](t, m)
		service, p := "ingress", public
		if s.Selector.selects(deployments["worker"]) {
			service, p = "worker", private
		}
		if status := p.status(t.Context(), http.MethodGet, s.PodMetricsEndpoints[0].Port, s.PodMetricsEndpoints[0].Path); status != http.StatusOK {
			t.Errorf("metrics of %s: status %d", service, status)
		}
		if r := s.PodMetricsEndpoints[0].Relabelings; len(r) != 1 || r[0].TargetLabel != "job" || r[0].Replacement != "modal-github-runner-"+service {
			t.Errorf("the rules know the job modal-github-runner-%s, not %+v", service, r)
		}
	}
	for _, path := range webhookPaths(t) {
		// Unsigned, but the right way: others are not found.
		if status := public.status(t.Context(), http.MethodPost, "http", path); status != http.StatusUnauthorized && status != http.StatusUnsupportedMediaType {
			t.Errorf("%s: status %d", path, status)
		}
	}
	keda(t, all, nats)
}

func nobodyThere(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nobody is there")
}

// webhookPaths are those that the Ingress and the HTTPRoute let through.
func webhookPaths(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, m := range chartObjectsOf(t, "app").of("Ingress") {
		paths = append(paths, spec[struct {
			Rules []struct {
				HTTP struct{ Paths []struct{ Path string } }
			}
		}](t, m).Rules[0].HTTP.Paths[0].Path)
	}
	for _, m := range chartObjectsOf(t, "gateway").of("HTTPRoute") {
		paths = append(paths, spec[struct {
			Rules []struct {
				Matches []struct{ Path struct{ Value string } }
			}
		}](t, m).Rules[0].Matches[0].Path.Value)
	}
	if len(paths) != 2 {
		t.Fatalf("want a path of the Ingress and one of the HTTPRoute, got %v", paths)
	}
	return paths
}

// keda checks that each trigger names an account, a stream and a consumer that the server tells of, and that no pool is left out.
func keda(t *testing.T, all objects, nats *server.Server) {
	t.Helper()
	s := spec[struct {
		MinReplicaCount int
		Triggers        []struct{ Metadata map[string]string }
	}](t, all.of("ScaledObject")[0])
	if s.MinReplicaCount < 1 {
		t.Errorf("sweeps need a worker, not %d", s.MinReplicaCount)
	}
	file, err := pools.Parse(all.configFile(t, all.of("ConfigMap")[0].Metadata.Name, "pools.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, pool := range file.Names() {
		want = append(want, wire.QueuedConsumer(pool))
	}
	launches := all.deployments(t)["worker"].Template.Spec.Containers[0].env("WORKER_LAUNCHES")
	for _, trigger := range s.Triggers {
		m := trigger.Metadata
		got = append(got, m["consumer"])
		if host, _, _ := net.SplitHostPort(m["natsServerMonitoringEndpoint"]); !strings.Contains(host, ".") {
			t.Errorf("KEDA, which is in another namespace, finds no %q", host)
		}
		if m["lagThreshold"] != launches {
			t.Errorf("a worker takes %s jobs of a pool, the threshold is %s", launches, m["lagThreshold"])
		}
		eventually(t, "NATS has "+m["account"]+" "+m["stream"]+" "+m["consumer"], func(context.Context) bool {
			seen, err := nats.Jsz(&server.JSzOptions{Account: m["account"], Streams: true, Consumer: true})
			return err == nil && slices.ContainsFunc(seen.AccountDetails, func(a *server.AccountDetail) bool {
				return slices.ContainsFunc(a.Streams, func(s server.StreamDetail) bool {
					return s.Name == m["stream"] && slices.ContainsFunc(s.Consumer, func(c *server.ConsumerInfo) bool { return c.Name == m["consumer"] })
				})
			})
		})
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("consumers of the pools, and those that KEDA looks at: %s", diff)
	}
}
