package bubble_test

import (
	"net"

	"github.com/nats-io/nats.go"

	"modal-github-runner/services/internal/natstest"
)

// via is the option by which a client reaches the broker over its link.
func via(l *link, broker *natstest.Server) nats.Option { return nats.InProcessServer(port{l, broker}) }

type port struct {
	link   *link
	broker *natstest.Server
}

// InProcessConn implements nats.InProcessConnProvider.
func (p port) InProcessConn() (net.Conn, error) { return p.link.over(p.broker.InProcessConn) }
