package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natsx"
)

// accountsServer is nats-server as deployments/nats/nats.conf has it, on a port of its own.
func accountsServer(t *testing.T, changes ...func(*server.Options)) *server.Server {
	t.Helper()
	t.Setenv("NATS_INGRESS_PASSWORD", `"i"`)
	t.Setenv("NATS_WORKER_PASSWORD", `"w"`)
	options, err := server.ProcessConfigFile(filepath.Join(repositoryRoot(t), "deployments", "nats", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !options.SyncAlways {
		t.Error("what is acknowledged must be on disk: sync_interval must be always")
	}
	options.Host, options.Port, options.HTTPPort, options.StoreDir, options.NoSigs, options.NoLog = "127.0.0.1", server.RANDOM_PORT, 0, t.TempDir(), true, true
	for _, change := range changes {
		change(options)
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("nats-server does not start")
	}
	return s
}

func connectAs(t *testing.T, s *server.Server, user, password string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX_"+user),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // They are read from the connection.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func TestEachServiceMayDoItsOwnAtNATSAndNothingElse(t *testing.T) {
	s := accountsServer(t)
	publish := func(conn *nats.Conn, subject string) error { return conn.Publish(subject, nil) }
	subscribe := func(conn *nats.Conn, subject string) error {
		_, err := conn.SubscribeSync(subject)
		return err
	}
	tests := []struct {
		name, user string
		do         func(*nats.Conn, string) error
		subject    string
		allowed    bool
	}{
		{"ingress tells of a job that waits", "ingress", publish, wire.QueuedSubject("default"), true},
		{"ingress tells of a job that ended", "ingress", publish, wire.SubjectFinished, true},
		{"ingress hears the answers to its requests", "ingress", subscribe, "_INBOX_ingress.x", true},
		{"ingress writes no record", "ingress", publish, "$KV.runs.job.1", false},
		{"ingress asks for no record", "ingress", publish, "$JS.API.DIRECT.GET.KV_runs.$KV.runs.job.1", false},
		{"ingress does not look at the ledger", "ingress", publish, "$JS.API.STREAM.INFO.KV_runs", false},
		{"ingress hears no answer to a worker", "ingress", subscribe, "_INBOX_worker.>", false},
		{"ingress does not listen to the ledger", "ingress", subscribe, "$KV.>", false},
		{"ingress takes no job", "ingress", publish, "$JS.API.CONSUMER.MSG.NEXT.JOBS.queued-default", false},
		{"ingress does not listen to jobs", "ingress", subscribe, "jobs.>", false},
		{"ingress buries nothing", "ingress", publish, "dead.jobs.1", false},
		{"ingress deletes no stream", "ingress", publish, "$JS.API.STREAM.DELETE.JOBS", false},
		{"ingress changes no stream", "ingress", publish, "$JS.API.STREAM.UPDATE.JOBS", false},
		{"ingress asks servers for nothing but how they write", "ingress", publish, "$SYS.REQ.SERVER.PING.CONNZ", false},
		{"ingress puts nothing off", "ingress", publish, "jobs.later.1.1", false},
		{"ingress finds nothing out", "ingress", publish, "jobs.found.queued.default", false},
		{"a worker takes a job", "worker", publish, "$JS.API.CONSUMER.MSG.NEXT.JOBS.queued-default", true},
		{"a worker writes a record", "worker", publish, "$KV.runs.job.1", true},
		{"a worker buries", "worker", publish, "dead.jobs.1", true},
		{"a worker says what it found out", "worker", publish, "jobs.found.queued.default", true},
		{"a worker puts a stream on more servers", "worker", publish, "$JS.API.STREAM.UPDATE.JOBS", true},
		{"a worker is not GitHub", "worker", publish, wire.QueuedSubject("default"), false},
		{"a worker tells of no end as if GitHub had", "worker", publish, wire.SubjectFinished, false},
		{"a worker does not listen to all that is said", "worker", subscribe, ">", false},
		{"a worker hears no answer to ingress", "worker", subscribe, "_INBOX_ingress.>", false},
		{"a worker deletes no stream", "worker", publish, "$JS.API.STREAM.DELETE.JOBS", false},
		{"a worker takes no copy of a stream", "worker", publish, "$JS.API.STREAM.SNAPSHOT.KV_runs", false},
		{"a worker empties no stream of jobs", "worker", publish, "$JS.API.STREAM.PURGE.JOBS", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := connectAs(t, s, tt.user, tt.user[:1])
			if err := tt.do(conn, tt.subject); err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			if refused := errors.Is(conn.LastError(), nats.ErrPermissionViolation); refused == tt.allowed {
				t.Errorf("%s: refused is %v: %v", tt.subject, refused, conn.LastError())
			}
		})
	}
}

func TestNobodyReachesNATSWithoutAPassword(t *testing.T) {
	s := accountsServer(t)
	for _, option := range []nats.Option{nats.UserInfo("", ""), nats.UserInfo("worker", "i"), nats.UserInfo("admin", "admin")} {
		if conn, err := nats.Connect(s.ClientURL(), option); err == nil {
			conn.Close()
			t.Error("connected")
		}
	}
}

// What ingress publishes reaches workers by the stream, and it learns that it is stored there.
func TestAJobPassesFromOneAccountsRightsToTheOthers(t *testing.T) {
	s := accountsServer(t)
	worker, err := jetstream.New(connectAs(t, s, "worker", "w"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := worker.CreateStream(t.Context(), jetstream.StreamConfig{Name: wire.StreamJobs, Subjects: []string{"jobs.>"}}); err != nil {
		t.Fatal(err)
	}
	consumer, err := worker.CreateConsumer(t.Context(), wire.StreamJobs, jetstream.ConsumerConfig{Durable: wire.QueuedConsumer("default"), AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	ingress, err := jetstream.New(connectAs(t, s, "ingress", "i"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ingress.Publish(t.Context(), wire.QueuedSubject("default"), []byte("job")); err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.DoubleAck(t.Context()); err != nil || string(msg.Data()) != "job" {
		t.Errorf("got %q, %v", msg.Data(), err)
	}
}

func TestBothServicesWarnOfAServerThatWritesAfterItHasAcknowledged(t *testing.T) {
	for _, always := range []bool{true, false} {
		s := accountsServer(t, func(o *server.Options) { o.SyncAlways = always })
		for _, user := range []string{"worker", "ingress"} { // The worker first: only it may make all that there is to be.
			t.Run(fmt.Sprintf("%s, always %v", user, always), func(t *testing.T) {
				js, err := jetstream.New(connectAs(t, s, user, user[:1]))
				if err != nil {
					t.Fatal(err)
				}
				topology, registry := wire.IngestTopology, prometheus.NewRegistry()
				if user == "worker" {
					topology = func() wire.Topology { return wire.JobsTopology([]string{wire.DefaultPool}) }
				}
				var log bytes.Buffer
				guard, err := natsx.NewGuard(natsx.GuardOptions{
					JS: js, Topology: topology, Replicas: 1, AddReplicas: user == "worker", Log: slog.New(slog.NewTextHandler(&log, nil)), Registry: registry,
				})
				if err != nil {
					t.Fatal(err)
				}
				guard.Recheck(t.Context())
				if err := guard.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				if warned := strings.Contains(log.String(), "sync_interval must be always on nats"); warned == always {
					t.Errorf("the log is:\n%s", &log)
				}
				want := `nats_at_risk{cause="sync_interval"} 1`
				if always {
					want = `nats_at_risk{cause="sync_interval"} 0`
				}
				if got := exposed(t, registry); !strings.Contains(got, want) {
					t.Errorf("no %s in:\n%s", want, got)
				}
			})
		}
	}
}

// exposed is what Prometheus reads of the registry.
func exposed(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

func TestTheClusterConfigurationKeepsEachMessageOnThreeServers(t *testing.T) {
	t.Setenv("NATS_INGRESS_PASSWORD", `"i"`)
	t.Setenv("NATS_WORKER_PASSWORD", `"w"`)
	t.Setenv("NATS_ROUTE_PASSWORD", `"r"`)
	var ports []int
	for n, host := range []string{"nats", "nats-2", "nats-3"} {
		t.Setenv(fmt.Sprintf("NATS_ROUTE_%d", n+1), "nats://route:r@"+host+":6222")
		ports = append(ports, freePort(t))
	}
	var servers []*server.Server
	for n := range ports {
		t.Setenv("NATS_SERVER_NAME", fmt.Sprintf("nats-%d", n+1))
		options, err := server.ProcessConfigFile(filepath.Join(repositoryRoot(t), "deployments", "nats", "cluster.conf"))
		if err != nil {
			t.Fatal(err)
		}
		if !options.SyncAlways || len(options.Routes) != len(ports) {
			t.Fatalf("sync always is %v, routes are %v", options.SyncAlways, options.Routes)
		}
		for to, route := range options.Routes { // The password is that of the file, the place this machine.
			route.Host = fmt.Sprintf("127.0.0.1:%d", ports[to])
		}
		options.Host, options.Port, options.HTTPPort, options.StoreDir, options.NoSigs, options.NoLog = "127.0.0.1", server.RANDOM_PORT, 0, t.TempDir(), true, true
		options.Cluster.Host, options.Cluster.Port = "127.0.0.1", ports[n]
		s, err := server.NewServer(options)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(time.Minute) {
			t.Fatal("nats-server does not start")
		}
	}
	eventually(t, "they are a cluster", func(context.Context) bool {
		return !slices.ContainsFunc(servers, func(s *server.Server) bool { return !s.JetStreamIsCurrent() })
	})
	js, err := jetstream.New(connectAs(t, servers[0], "worker", "w"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	guard, err := natsx.NewGuard(natsx.GuardOptions{
		JS: js, Topology: func() wire.Topology { return wire.JobsTopology([]string{wire.DefaultPool}) }, Replicas: 3, AddReplicas: true,
		Log: slog.New(slog.NewTextHandler(&log, nil)), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topology is there", func(ctx context.Context) bool {
		guard.Recheck(ctx)
		return guard.Check(ctx) == nil
	})
	if strings.Contains(log.String(), "what is acknowledged could be lost") {
		t.Errorf("the log is:\n%s", &log)
	}
	for _, name := range []string{wire.StreamJobs, wire.StreamDead, "KV_" + wire.BucketRuns, "KV_" + wire.BucketControl} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if info := stream.CachedInfo(); info.Config.Replicas != 3 || len(info.Cluster.Replicas) != 2 {
			t.Errorf("%s lies on %d servers", name, 1+len(info.Cluster.Replicas))
		}
	}
}

// freePort is one that nobody has now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
