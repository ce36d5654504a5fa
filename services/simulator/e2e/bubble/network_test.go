package bubble_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

// bufferSize is what a connection holds before its writer waits, in bytes.
const bufferSize = 16 << 10

var (
	errRefused = errors.New("connection refused")
	errCut     = errors.New("network is unreachable")
)

// network is where the parts of a universe listen.
type network struct {
	mu   sync.Mutex
	open map[string]*bufconn.Listener
}

func newNetwork() *network { return &network{open: map[string]*bufconn.Listener{}} }

// listener frees its address when it is closed.
type listener struct {
	*bufconn.Listener
	network *network
	addr    string
}

func (n *network) listen(_ context.Context, addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open[addr] != nil {
		return nil, fmt.Errorf("listen on %s: address already in use", addr)
	}
	n.open[addr] = bufconn.Listen(bufferSize)
	return &listener{Listener: n.open[addr], network: n, addr: addr}, nil
}

func (l *listener) Close() error {
	l.network.mu.Lock()
	if l.network.open[l.addr] == l.Listener {
		delete(l.network.open, l.addr)
	}
	l.network.mu.Unlock()
	return l.Listener.Close()
}

func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.open[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, errRefused)
	}
	return l.DialContext(ctx)
}

// link is what one part has of the network. It works unless it is cut.
type link struct {
	mu    sync.Mutex
	dead  bool // for good
	cut   bool
	deaf  bool
	conns map[*linked]struct{}
}

func newLink() *link { return &link{conns: map[*linked]struct{}{}} }

// linked is a connection through a link.
type linked struct {
	net.Conn
	link *link
}

// over makes a connection one of the link, if the link works.
func (l *link) over(open func() (net.Conn, error)) (net.Conn, error) {
	l.mu.Lock()
	cut := l.cut || l.dead
	l.mu.Unlock()
	if cut {
		return nil, errCut
	}
	conn, err := open()
	if err != nil {
		return nil, err
	}
	c := &linked{Conn: conn, link: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.dead {
		return nil, errors.Join(errCut, conn.Close())
	}
	l.conns[c] = struct{}{}
	return c, nil
}

func (c *linked) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

// Read loses what comes while the link is deaf. It does not stop reading: whoever writes would wait, with its locks held, and
// for one who waits for a lock a bubble's clock stands still.
func (c *linked) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		c.link.mu.Lock()
		deaf := c.link.deaf
		c.link.mu.Unlock()
		if err != nil || !deaf {
			return n, err
		}
	}
}

// sever breaks all connections, and refuses new ones until mend.
func (l *link) sever() {
	l.mu.Lock()
	l.cut = true
	l.mu.Unlock()
	l.drop()
}

// kill breaks all connections, and there is nothing to mend.
func (l *link) kill() {
	l.mu.Lock()
	l.dead = true
	l.mu.Unlock()
	l.drop()
}

// drop breaks all connections. New ones can be made at once.
func (l *link) drop() {
	l.mu.Lock()
	conns := l.conns
	l.conns = map[*linked]struct{}{}
	l.mu.Unlock()
	for c := range conns {
		_ = c.Close() // of an end that is in memory
	}
}

// deafen lets what is sent arrive, and loses what is answered, until mend.
func (l *link) deafen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = true
}

// mend lets the link work again. What was deaf is broken first: it has lost its place in the stream.
func (l *link) mend() {
	l.mu.Lock()
	deaf := l.deaf
	l.mu.Unlock()
	if deaf {
		l.drop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.deaf = false, false
}
