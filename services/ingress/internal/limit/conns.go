package limit

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// Conns bounds the connections of a server, which cost memory before their first request and between two. At the maximum
// a new one takes the place of the one that has gone longest without a request in the handler's hands, so that strangers
// who only connect can't keep others out. It is safe for concurrent use.
type Conns struct {
	maximum int

	mu      sync.Mutex
	open    map[net.Conn]*list.Element // nil while the handler has a request of it
	waiting list.List                  // of net.Conn, the longest without a request in front
	dropped int64
}

// connKey is where the context of a request has its connection.
type connKey struct{}

// NewConns returns a limit of maximum connections, at least 1.
func NewConns(maximum int) *Conns {
	return &Conns{maximum: maximum, open: map[net.Conn]*list.Element{}}
}

// Guard makes a server that has not started yet keep to the limit. It takes over the server's ConnContext and ConnState.
func (c *Conns) Guard(server *http.Server) {
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			c.enter(conn)
		case http.StateClosed, http.StateHijacked:
			c.leave(conn)
		case http.StateActive, http.StateIdle: // A request has begun to come, or was answered: the handler has none.
		}
	}
	handler := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(net.Conn)
		c.busy(conn)
		// What net/http does after the answer, such as to read the rest of a body, may take a stranger as long as he likes.
		defer c.idle(conn)
		handler.ServeHTTP(w, r)
	})
}

// Open is how many connections there are now.
func (c *Conns) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// Dropped is how many had to give way so far.
func (c *Conns) Dropped() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

func (c *Conns) enter(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = c.waiting.PushBack(conn)
	if len(c.open) > c.maximum {
		c.drop(c.waiting.Front().Value.(net.Conn)) //nolint:forcetypeassert // the list holds nothing else
	}
}

// drop ends a connection that waits.
func (c *Conns) drop(conn net.Conn) {
	c.waiting.Remove(c.open[conn])
	delete(c.open, conn)
	c.dropped++
	_ = conn.Close() // It is given up either way; net/http notices and lets go of it.
}

func (c *Conns) busy(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if place := c.open[conn]; place != nil {
		c.waiting.Remove(place)
		c.open[conn] = nil
	}
}

func (c *Conns) idle(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if place, open := c.open[conn]; open && place == nil {
		c.open[conn] = c.waiting.PushBack(conn)
	}
}

func (c *Conns) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if place := c.open[conn]; place != nil {
		c.waiting.Remove(place)
	}
	delete(c.open, conn)
}
