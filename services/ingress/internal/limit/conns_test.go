package limit_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modal-github-runner/services/ingress/internal/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// guarded is a server on loopback that keeps to a limit of connections. A request to /hold is answered once the test ends.
type guarded struct {
	*limit.Conns

	addr    string
	holding chan struct{} // gets one for each request that is held
	release context.CancelFunc
}

func guard(t *testing.T, maximum int) *guarded {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	released, release := context.WithCancel(context.Background())
	g := &guarded{limit.NewConns(maximum), listener.Addr().String(), make(chan struct{}, 10), release}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			g.holding <- struct{}{}
			<-released.Done()
		}
	})}
	g.Guard(server)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		release()
		if err := errors.Join(server.Close(), <-ended); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		g.expectOpen(t, 0)
	})
	return g
}

// connect opens a connection, on which nothing is sent yet.
func (g *guarded) connect(t *testing.T) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func (g *guarded) expectOpen(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); g.Open() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections open, want %d", g.Open(), want)
		}
	}
}

// answered sends a request and reports whether there is an answer.
func answered(t *testing.T, conn net.Conn, path string) bool {
	t.Helper()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return false
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return err == nil && answer.Body.Close() == nil
}

// expectDropped waits until the server has ended the connection.
func expectDropped(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection still there: %v", err)
	}
}

func TestANewConnectionTakesThePlaceOfTheOneThatWaitsLongest(t *testing.T) {
	t.Parallel()
	g := guard(t, 2)
	first := g.connect(t)
	g.expectOpen(t, 1)
	second := g.connect(t)
	g.expectOpen(t, 2)
	if !answered(t, first, "/") {
		t.Fatal("no answer although there is room")
	}
	third := g.connect(t)
	expectDropped(t, second)
	if !answered(t, third, "/") || !answered(t, first, "/") {
		t.Error("one was dropped that has waited less")
	}
	if g.Open() != 2 || g.Dropped() != 1 {
		t.Errorf("%d open, %d dropped", g.Open(), g.Dropped())
	}
}

func TestAConnectionWithARequestInHandIsNotDropped(t *testing.T) {
	t.Parallel()
	g := guard(t, 1)
	held, late := g.connect(t), make(chan bool, 1)
	go func() { late <- answered(t, held, "/hold") }()
	<-g.holding
	expectDropped(t, g.connect(t)) // The only one that waits is the new one itself.
	g.release()
	if !<-late {
		t.Error("no answer")
	}
	g.expectOpen(t, 1)
	next := g.connect(t)
	if expectDropped(t, held); !answered(t, next, "/") {
		t.Error("no room although what was there only waited")
	}
}

func TestConnectionsThatAreClosedLeaveTheirPlace(t *testing.T) {
	t.Parallel()
	g := guard(t, 1)
	for range 3 {
		conn := g.connect(t)
		g.expectOpen(t, 1)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		g.expectOpen(t, 0)
	}
	if g.Dropped() != 0 {
		t.Errorf("%d dropped", g.Dropped())
	}
}
