package budget

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

func TestMain(m *testing.M) {
	// The server's clock of access times waits on a channel of the package, which would hold the bubbles' time.
	ats.Register()
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// broker is a real nats-server without a network. Its data stay while it is down.
type broker struct {
	options server.Options

	mu      sync.Mutex
	running *server.Server // nil while it is down
}

// inBubble runs f in a bubble with a broker, and a connection to it as the worker's. There, no slow machine makes a call to
// NATS time out: time stands still while anybody works.
func inBubble(t *testing.T, f func(t *testing.T, js jetstream.JetStream, nats *broker)) {
	t.Helper()
	natstest.DropTimers()
	synctest.Test(t, func(t *testing.T) {
		b := &broker{options: server.Options{
			JetStream: true, JetStreamMaxStore: 16 << 30, StoreDir: t.TempDir(), DontListen: true, NoSigs: true, NoLog: true,
		}}
		b.start(t)
		t.Cleanup(b.stop)
		f(t, b.connect(t), b)
	})
}

func (b *broker) connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	conn, err := natsx.Connect(natsx.Config{}, natsx.Options{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Extra: []nats.Option{nats.InProcessServer(b)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := natsx.JetStream(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	return js
}

// InProcessConn implements nats.InProcessConnProvider.
func (b *broker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		return nil, errors.New("connection refused")
	}
	return b.running.InProcessConn()
}

func (b *broker) start(t *testing.T) {
	t.Helper()
	s, err := server.NewServer(b.options.Clone())
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("nats-server is not ready")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = s
}

func (b *broker) stop() {
	b.mu.Lock()
	s := b.running
	b.running = nil
	b.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}
