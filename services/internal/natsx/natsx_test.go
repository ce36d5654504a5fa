package natsx_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/logtest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

func TestMain(m *testing.M) {
	// Of a cluster, nats-server 2.15.2 may leave these of a stream behind that a server had when it was stopped.
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(server+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(server+"/ats.Register.func1"))
}

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
	faultstest.Cover(t, "F32")
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
		"consumer outcomes: filter_subjects must be [jobs.waiting jobs.found.waiting jobs.started jobs.found.started jobs.finished jobs.found.finished] (got [jobs.waiting])",
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
	faultstest.Cover(t, "F31")
	const storage = 1 << 20
	js, _ := connect(t, natstest.Start(t, natstest.Storage(storage)).URL())
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
	faultstest.Cover(t, "F29")
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
	guard := newGuard(t, js, 1, &out)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { guard.Run(ctx) })

	verified := func(want string) bool {
		return testutil.GatherAndCompare(guard.Registry.(*prometheus.Registry), strings.NewReader(
			`# HELP nats_topology_verified Whether streams, consumers and buckets were as this service needs them (1) when it last looked, or not (0).
# TYPE nats_topology_verified gauge
nats_topology_verified `+want+"\n"), "nats_topology_verified") == nil
	}
	poll(t, func() bool { return out.contains("topology not verified") && guard.Check(ctx) != nil && verified("0") })
	server.Restart(t)
	poll(t, func() bool { return guard.Check(ctx) == nil && natsx.Connected(conn)(ctx) == nil && verified("1") })
	// The result is there before the line that tells of it.
	poll(t, func() bool { return out.contains("topology created") && out.contains("topology verified") })
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

func TestConfigRules(t *testing.T) {
	t.Parallel()
	write := func(content string) string {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	const jwt = "-----BEGIN NATS USER JWT-----\ne30.e30.e30\n------END NATS USER JWT------\n"
	creds := write(jwt + "\n-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n")
	noSeed, noPEM, nkey := write(jwt), write("canary"), write(string(seed))
	authority := httptest.NewTLSServer(http.NotFoundHandler())
	defer authority.Close()
	ca := write(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})))

	for name, test := range map[string]struct {
		environ []string
		want    string
	}{
		"nothing set":                 {nil, ""},
		"user and password":           {[]string{"NATS_USER=u", "NATS_PASSWORD=canary"}, ""},
		"user without password":       {[]string{"NATS_USER=u"}, `NATS_PASSWORD: is required with NATS_USER (or NATS_PASSWORD_FILE)`},
		"user with a blank password":  {[]string{"NATS_USER=u", "NATS_PASSWORD= "}, `NATS_PASSWORD: must not be blank`},
		"password without user":       {[]string{"NATS_PASSWORD=canary"}, `NATS_USER: is required with NATS_PASSWORD`},
		"user beside credentials":     {[]string{"NATS_USER=u", "NATS_PASSWORD=canary", "NATS_CREDS_FILE=" + creds}, `NATS_USER: must not be set together with NATS_CREDS_FILE (got "u")`},
		"credentials without user":    {[]string{"NATS_CREDS_FILE=" + creds}, ""},
		"credentials that are absent": {[]string{"NATS_CREDS_FILE=/nowhere"}, `NATS_CREDS_FILE: must name a file with a JWT and a seed: nats: open /nowhere: no such file or directory`},
		"credentials without a seed": {
			[]string{"NATS_CREDS_FILE=" + noSeed},
			`NATS_CREDS_FILE: must name a file with a JWT and a seed: unable to extract key pair from file "` + noSeed + `": nkeys: no nkey seed found`,
		},
		"an authority":                {[]string{"NATS_CA_FILE=" + ca}, ""},
		"an authority that is absent": {[]string{"NATS_CA_FILE=/nowhere"}, `NATS_CA_FILE: must name a PEM file with a certificate: nats: error loading or parsing rootCA file: open /nowhere: no such file or directory`},
		"an authority without a certificate": {
			[]string{"NATS_CA_FILE=" + noPEM},
			`NATS_CA_FILE: must name a PEM file with a certificate: nats: failed to parse root certificate from "` + noPEM + `"`,
		},
		"an nkey":                    {[]string{"NATS_NKEY_FILE=" + nkey}, ""},
		"an nkey beside credentials": {[]string{"NATS_NKEY_FILE=" + nkey, "NATS_CREDS_FILE=" + creds}, `NATS_NKEY_FILE: must not be set together with NATS_CREDS_FILE or NATS_USER (got "` + nkey + `")`},
		"an nkey without a seed": {
			[]string{"NATS_NKEY_FILE=" + noPEM},
			`NATS_NKEY_FILE: must name a file with the seed of a user: nkeys: no nkey seed found`,
		},
		"three replicas": {[]string{"NATS_REPLICAS=3"}, ""},
		"two replicas":   {[]string{"NATS_REPLICAS=2"}, `NATS_REPLICAS: must be 1, 3 or 5 (got "2")`},
		"many replicas":  {[]string{"NATS_REPLICAS=all"}, `NATS_REPLICAS: must be a whole number (got "all")`},
	} {
		got := ""
		if _, err := config.Load(test.environ, &natsx.Config{}); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// noNetwork refuses to dial.
type noNetwork struct{}

func (noNetwork) Dial(string, string) (net.Conn, error) { return nil, errors.New("no network") }

func TestWhatTheConfigurationAcceptsTheClientAccepts(t *testing.T) {
	t.Parallel()
	const schemes = `NATS_URL: must be all of nats and tls, or all of ws and wss (got `
	for value, test := range map[string]struct {
		refused string
		servers []string // of the client, without logins
	}{
		"nats://a,ws://b":             {refused: schemes + `"nats,ws")`},
		"wss://b, nats://u:canary@a":  {refused: schemes + `"wss,nats")`},
		"nats://a,tls://b:1":          {servers: []string{"nats://a:4222", "tls://b:1"}},
		"ws://a,wss://b":              {servers: []string{"ws://a:80", "wss://b:443"}},
		"nats://a:":                   {servers: []string{"nats://a:4222"}},
		"NATS://A":                    {servers: []string{"nats://A:4222"}},
		"nats://[::1]":                {servers: []string{"nats://[::1]:4222"}},
		"nats://[fe80::1%25eth0]:1":   {servers: []string{"nats://[fe80::1%eth0]:1"}},
		"nats://a/path":               {servers: []string{"nats://a:4222"}},
		"nats://canary@a":             {servers: []string{"nats://a:4222"}},
		"nats://u:p%2Ccanary@a":       {servers: []string{"nats://a:4222"}},
		"nats://%2Ccanary@a,nats://b": {servers: []string{"nats://a:4222", "nats://b:4222"}},
		"nats://u:%20%40%2F%0A@a":     {servers: []string{"nats://a:4222"}},
		"nats://:@a":                  {servers: []string{"nats://a:4222"}},
		"ws://a/x%2Cy":                {servers: []string{"ws://a:80"}},
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			var cfg natsx.Config
			refused := ""
			if _, err := config.Load([]string{"NATS_URL=" + value}, &cfg); err != nil {
				refused = err.Error()
			}
			if diff := cmp.Diff(test.refused, refused); diff != "" {
				t.Fatal(diff)
			}
			if refused != "" {
				return
			}
			conn, err := natsx.Connect(cfg, natsx.Options{
				Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Extra: []nats.Option{nats.SetCustomDialer(noNetwork{})},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got := conn.Servers()
			slices.Sort(got)
			if diff := cmp.Diff(test.servers, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAServerWithoutJetStreamIsToldThatItIsNeeded(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, func(o *server.Options) { o.JetStream = false })
	js, _ := connect(t, server.URL())
	_, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil))
	if !errors.Is(err, nats.ErrNoResponders) || !strings.HasPrefix(err.Error(), "ensure stream JOBS: JetStream must be enabled at the server and in the user's account: ") {
		t.Error(err)
	}
}

func TestWithoutAConnectionEveryRequestSaysSo(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	js, _ := connect(t, server.URL())
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), wire.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	want := "not connected to NATS at " + server.URL()
	server.Stop()
	poll(t, func() bool { return !js.Conn().IsConnected() })
	ctx := t.Context()
	for name, request := range map[string]func() error{
		"publish":  func() error { _, err := js.PublishMsg(ctx, nats.NewMsg(wire.SubjectWaiting)); return err },
		"stream":   func() error { _, err := js.Stream(ctx, wire.StreamJobs); return err },
		"consumer": func() error { _, err := js.Consumer(ctx, wire.StreamJobs, wire.ConsumerOutcomes); return err },
		"create consumer": func() error {
			_, err := js.CreateConsumer(ctx, wire.StreamJobs, jetstream.ConsumerConfig{})
			return err
		},
		"bucket":    func() error { _, err := js.KeyValue(ctx, wire.BucketRuns); return err },
		"get":       func() error { _, err := kv.Get(ctx, "a"); return err },
		"put":       func() error { _, err := kv.Put(ctx, "a", nil); return err },
		"create":    func() error { _, err := kv.Create(ctx, "a", nil); return err },
		"update":    func() error { _, err := kv.Update(ctx, "a", nil, 1); return err },
		"watch":     func() error { _, err := kv.Watch(ctx, "a"); return err },
		"readiness": func() error { return natsx.Connected(js.Conn())(ctx) },
	} {
		if err := request(); !errors.Is(err, natsx.ErrNotConnected) || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLogNamesNoTokenAndNoStopOfOurOwn(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, func(o *server.Options) { o.Authorization = "canary-token" })
	address, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.User("canary-token")
	var out lines
	told := make(chan struct{}) // The client calls its handlers one after the other, this one last.
	conn, err := natsx.Connect(natsx.Config{URL: []*url.URL{address}}, natsx.Options{
		Name: "test", Logger: slog.New(slog.NewTextHandler(&out, nil)), Registry: prometheus.NewRegistry(),
		Extra: []nats.Option{nats.ClosedHandler(func(*nats.Conn) { close(told) })},
	})
	if err != nil {
		t.Fatal(err)
	}
	poll(t, func() bool { return out.contains("nats connected") })
	server.Stop()
	poll(t, func() bool { return out.contains("nats disconnected") })
	if err := natsx.Connected(conn)(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("Connected() = %v", err)
	}
	server.Restart(t)
	poll(t, conn.IsConnected)
	if err := natsx.Drain(t.Context(), conn); err != nil {
		t.Error(err)
	}
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Fatal("the connection is not closed after 30 s")
	}
	if got := out.String(); strings.Contains(got, "canary") || strings.Count(got, "nats disconnected") != 1 {
		t.Errorf("log:\n%s", got)
	}
}

func TestUnreadableFilesAreAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	for _, cfg := range []natsx.Config{{CAFile: "/nowhere"}, {CredsFile: "/nowhere"}, {NKeyFile: "/nowhere"}} {
		cfg.URL = []*url.URL{{Scheme: "nats", Host: "127.0.0.1:1"}}
		conn, err := natsx.Connect(cfg, natsx.Options{Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
		if err == nil {
			conn.Close()
			t.Errorf("%+v: no error", cfg)
		}
	}
}

// newGuard has the right to add replicas, as a worker does.
func newGuard(t *testing.T, js jetstream.JetStream, replicas int, log io.Writer) *natsx.Guard {
	t.Helper()
	guard, err := natsx.NewGuard(natsx.GuardOptions{
		JS: js, Topology: func() wire.Topology { return wire.JobsTopology(nil) }, Replicas: replicas, AddReplicas: true,
		Log: slog.New(slog.NewTextHandler(log, nil)), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return guard
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
	js, err := natsx.JetStream(conn)
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

// lines is what is logged.
type lines struct{ logtest.Buffer }

func (l *lines) contains(s string) bool { return strings.Contains(l.String(), s) }
