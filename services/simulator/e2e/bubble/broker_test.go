package bubble_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// startLimit is how long a broker may take to be ready, in the bubble's time.
	startLimit = time.Minute
	// maxStore only has to exceed what the streams reserve.
	maxStore = 16 << 30
)

// broker is a nats-server that can be down. Its data stay.
type broker struct {
	t       *testing.T
	options *server.Options

	mu      sync.Mutex
	running *server.Server // nil while it is down
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{t: t, options: &server.Options{
		JetStream: true, JetStreamMaxStore: maxStore, StoreDir: t.TempDir(), DontListen: true, NoSigs: true, NoLog: true,
	}}
	b.start()
	return b
}

func (b *broker) start() {
	b.t.Helper()
	s, err := server.NewServer(b.options.Clone())
	if err != nil {
		b.t.Fatalf("make nats-server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(startLimit) {
		b.t.Fatalf("nats-server is not ready after %v", startLimit)
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

// via is the option by which a client reaches the broker over its link.
func (b *broker) via(l *link) nats.Option { return nats.InProcessServer(port{b, l}) }

type port struct {
	broker *broker
	link   *link
}

// InProcessConn implements nats.InProcessConnProvider.
func (p port) InProcessConn() (net.Conn, error) {
	return p.link.over(func() (net.Conn, error) {
		p.broker.mu.Lock()
		defer p.broker.mu.Unlock()
		if p.broker.running == nil {
			return nil, errRefused
		}
		return p.broker.running.InProcessConn()
	})
}
