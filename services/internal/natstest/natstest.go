// Package natstest runs a real nats-server inside a test. Only tests may import it.
package natstest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// startTimeout is generous for a loaded machine; a server is ready within tens of milliseconds.
	startTimeout = 30 * time.Second
	// maxStore only has to exceed what the streams reserve; nothing is allocated.
	maxStore = 16 << 30
)

// Server is a nats-server with JetStream that a test can stop and start again, with its port and its data kept.
type Server struct {
	options *server.Options
	running *server.Server
}

// Start runs a server on a free port of the loopback interface until the test ends. The changes are applied to its options.
func Start(tb testing.TB, changes ...func(*server.Options)) *Server {
	tb.Helper()
	s := &Server{options: &server.Options{
		Host:              "127.0.0.1",
		Port:              server.RANDOM_PORT,
		JetStream:         true,
		JetStreamMaxStore: maxStore,
		StoreDir:          tb.TempDir(),
		NoSigs:            true,
		NoLog:             true,
	}}
	for _, change := range changes {
		change(s.options)
	}
	s.Restart(tb)
	tb.Cleanup(s.Stop)
	return s
}

// Stop ends the server; stopping twice is harmless.
func (s *Server) Stop() {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

// Restart starts the server after Stop, on the port and with the data it had.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	running, err := server.NewServer(s.options.Clone())
	if err != nil {
		tb.Fatalf("make nats-server: %v", err)
	}
	running.Start()
	if !running.ReadyForConnections(startTimeout) {
		tb.Fatalf("nats-server is not ready after %s", startTimeout)
	}
	s.running = running
	if addr, ok := running.Addr().(*net.TCPAddr); ok {
		s.options.Port = addr.Port
	}
}

// URL is where clients connect.
func (s *Server) URL() string { return s.running.ClientURL() }
