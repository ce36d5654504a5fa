// Package natstest runs a real nats-server inside a test. Only tests may import it.
package natstest

import (
	"net"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// startTimeout is generous for a loaded machine; a server is ready within tens of milliseconds.
	startTimeout = 30 * time.Second
	// maxStore only has to exceed what the streams reserve; nothing is allocated.
	maxStore = 16 << 30
	// pollEvery is how often a server is asked whether it has a leader, which takes a second or two.
	pollEvery = 20 * time.Millisecond
)

// Server is a nats-server with JetStream that a test can stop and start again, with its port and its data kept.
type Server struct {
	options *server.Options
	running atomic.Pointer[server.Server] // stopped or not
}

// Storage bounds what a server can store, in bytes.
func Storage(most int64) func(*server.Options) {
	return func(o *server.Options) { o.JetStreamMaxStore = most }
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

// StartCluster runs so many servers that form a cluster, and waits until it has a leader. The changes are applied to the options of
// each.
func StartCluster(tb testing.TB, size int, changes ...func(*server.Options)) []*Server {
	tb.Helper()
	var routes []*url.URL
	var ports []int
	for range size {
		port := freePort(tb)
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	}
	var servers []*Server
	for n, port := range ports {
		s := &Server{options: &server.Options{
			ServerName: "nats-" + strconv.Itoa(n+1), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			JetStream: true, JetStreamMaxStore: maxStore, StoreDir: tb.TempDir(), NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port}, Routes: routes,
		}}
		for _, change := range changes {
			change(s.options)
		}
		s.start(tb)
		tb.Cleanup(s.Stop)
		servers = append(servers, s)
	}
	for _, s := range servers {
		s.awaitReady(tb)
	}
	return servers
}

// freePort is one that nobody has now: routes name ports before servers listen on them.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	return port
}

// Name is the server's in its cluster.
func (s *Server) Name() string { return s.running.Load().Name() }

// Stop ends the server; stopping twice is harmless.
func (s *Server) Stop() {
	running := s.running.Load()
	running.Shutdown()
	running.WaitForShutdown()
}

// Restart starts the server after Stop, on the port and with the data it had.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.start(tb)
	s.awaitReady(tb)
}

func (s *Server) start(tb testing.TB) {
	tb.Helper()
	running, err := server.NewServer(s.options.Clone())
	if err != nil {
		tb.Fatalf("make nats-server: %v", err)
	}
	running.Start()
	s.running.Store(running)
}

func (s *Server) awaitReady(tb testing.TB) {
	tb.Helper()
	running := s.running.Load()
	if !running.ReadyForConnections(startTimeout) {
		tb.Fatalf("nats-server is not ready after %s", startTimeout)
	}
	if addr, ok := running.Addr().(*net.TCPAddr); ok {
		s.options.Port = addr.Port
	}
	timeout := time.After(startTimeout)
	for s.options.Cluster.Name != "" && !running.JetStreamIsCurrent() {
		select {
		case <-timeout:
			tb.Fatalf("nats-server %s has no cluster after %s", running.Name(), startTimeout)
		case <-time.After(pollEvery):
		}
	}
}

// URL is where clients connect.
func (s *Server) URL() string { return s.running.Load().ClientURL() }

// InProcessConn implements [nats.InProcessConnProvider]. It is refused while the server is stopped.
func (s *Server) InProcessConn() (net.Conn, error) { return s.running.Load().InProcessConn() }

// JetStream is that of a connection of its own, which ends with the test.
func (s *Server) JetStream(tb testing.TB, options ...nats.Option) jetstream.JetStream {
	tb.Helper()
	conn, err := nats.Connect(s.URL(), options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}
