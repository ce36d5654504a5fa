package natsx_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnsureCreatesOnceAndThenVerifies(t *testing.T) {
	t.Parallel()
	js, _ := connect(t, natstest.Start(t).URL())
	topology := wire.JobsTopology([]string{"default", "gpu"})
	created, err := natsx.Ensure(t.Context(), js, topology)
	if err != nil || len(created) != 7 {
		t.Fatalf("first: created %v, %v", created, err)
	}
	created, err = natsx.Ensure(t.Context(), js, topology)
	if err != nil || len(created) != 0 {
		t.Fatalf("second: created %v, %v", created, err)
	}
}

func TestEnsureRefusesDriftAndNamesEveryDifference(t *testing.T) {
	t.Parallel()
	js, _ := connect(t, natstest.Start(t).URL())
	ctx := t.Context()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: wire.StreamJobs, Subjects: []string{"jobs.>"}, Retention: jetstream.WorkQueuePolicy, MaxAge: time.Hour, Storage: jetstream.MemoryStorage,
		Duplicates: 2 * time.Minute, AllowMsgSchedules: true,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(ctx, wire.StreamJobs, jetstream.ConsumerConfig{
		Durable: wire.ConsumerOutcomes, FilterSubject: "jobs.waiting", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: wire.BucketRuns, History: 5}); err != nil {
		t.Fatal(err)
	}
	_, err := natsx.Ensure(ctx, js, wire.JobsTopology(nil))
	if !errors.Is(err, natsx.ErrDrift) {
		t.Fatalf("Ensure() = %v", err)
	}
	for _, want := range []string{
		"stream JOBS: retention must be Limits (got WorkQueue)",
		"stream JOBS: storage must be File (got Memory)",
		"stream JOBS: max_age must be 48h0m0s (got 1h0m0s)",
		"consumer outcomes: filter_subjects must be [jobs.waiting jobs.started jobs.finished] (got [jobs.waiting])",
		"consumer outcomes: max_deliver must be -1 (got 5)",
		"bucket runs: history must be 1 (got 5)",
		"bucket runs: ttl must be 168h0m0s (got 0s)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if lines := strings.Count(err.Error(), "must be"); lines != 7 {
		t.Errorf("%d differences in:\n%v", lines, err)
	}
}

func TestFullStorageRefusesInsteadOfDroppingTheOldest(t *testing.T) {
	t.Parallel()
	const storage = 1 << 20
	js, _ := connect(t, natstest.Start(t, func(o *server.Options) { o.JetStreamMaxStore = storage }).URL())
	jobs := wire.JobsTopology(nil).Streams[:1]
	if _, err := natsx.Ensure(t.Context(), js, wire.Topology{Streams: jobs}); err != nil {
		t.Fatal(err)
	}
	var stored uint64
	var refused error
	for range 2 * storage / (100 << 10) {
		if _, refused = js.Publish(t.Context(), wire.SubjectWaiting, make([]byte, 100<<10)); refused != nil {
			break
		}
		stored++
	}
	stream, err := js.Stream(t.Context(), wire.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	if state := stream.CachedInfo().State; refused == nil || stored == 0 || state.Msgs != stored || state.FirstSeq != 1 {
		t.Errorf("stored %d, then %v; state %+v", stored, refused, state)
	}
}

func TestConnectionAndGuardRecoverByThemselves(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	address := server.URL()
	server.Stop()
	js, registry := connect(t, address)
	conn := js.Conn()
	if err := natsx.Connected(conn)(t.Context()); !errors.Is(err, natsx.ErrNotConnected) {
		t.Errorf("Connected() = %v", err)
	}
	if err := conn.Publish("x", nil); err == nil {
		t.Error("a message is kept while there is no connection")
	}
	var out lines
	guard := natsx.NewGuard(js, wire.JobsTopology(nil), slog.New(slog.NewTextHandler(&out, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { guard.Run(ctx) })

	poll(t, func() bool { return out.contains("topology not verified") && guard.Check(ctx) != nil })
	server.Restart(t)
	poll(t, func() bool { return guard.Check(ctx) == nil && natsx.Connected(conn)(ctx) == nil })
	if !out.contains("topology created") || !out.contains("topology verified") {
		t.Errorf("log:\n%s", out.String())
	}
	server.Stop()
	poll(t, func() bool { return !conn.IsConnected() })
	server.Restart(t)
	poll(t, conn.IsConnected)
	want := `# HELP nats_connected Whether the connection to NATS is up (1) or not (0).
# TYPE nats_connected gauge
nats_connected 1
# HELP nats_reconnects_total How often the connection to NATS came up after it was lost or could not be made.
# TYPE nats_reconnects_total counter
nats_reconnects_total 2
`
	poll(t, func() bool { return testutil.GatherAndCompare(registry, strings.NewReader(want)) == nil })
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestConfigRulesAcrossFields(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config natsx.Config
		valid  bool
	}{
		"nothing set":              {natsx.Config{}, true},
		"user and password":        {natsx.Config{User: "u", Password: config.StaticSecret("p")}, true},
		"user without password":    {natsx.Config{User: "u"}, false},
		"password without user":    {natsx.Config{Password: config.StaticSecret("p")}, false},
		"user beside credentials":  {natsx.Config{User: "u", Password: config.StaticSecret("p"), CredsFile: "f"}, false},
		"credentials without user": {natsx.Config{CredsFile: "f"}, true},
	} {
		if err := test.config.Validate(); (err == nil) != test.valid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnreadableFilesAreAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	for _, cfg := range []natsx.Config{{CAFile: "/nowhere"}, {CredsFile: "/nowhere"}} {
		cfg.URL = []*url.URL{{Scheme: "nats", Host: "127.0.0.1:1"}}
		conn, err := natsx.Connect(cfg, natsx.Options{Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
		if err == nil {
			conn.Close()
			t.Errorf("%+v: no error", cfg)
		}
	}
}

func connect(t *testing.T, address string) (jetstream.JetStream, *prometheus.Registry) {
	t.Helper()
	server, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	conn, err := natsx.Connect(natsx.Config{URL: []*url.URL{server}}, natsx.Options{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: registry, Extra: []nats.Option{nats.ReconnectWait(50 * time.Millisecond)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := natsx.Drain(context.Background(), conn); err != nil || !conn.IsClosed() {
			t.Errorf("Drain() = %v, closed: %t", err, conn.IsClosed())
		}
	})
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js, registry
}

func poll(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 30 s")
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func (l *lines) contains(s string) bool { return strings.Contains(l.String(), s) }
