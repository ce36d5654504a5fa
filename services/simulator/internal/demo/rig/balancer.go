package rig

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// balancer gives several ingresses the one address that GitHub knows, in turn.
type balancer struct {
	listener net.Listener
	server   *http.Server
	serving  sync.WaitGroup
}

func newBalancer(ctx context.Context, ingresses []*part) (*balancer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback)
	if err != nil {
		return nil, fmt.Errorf("listen for webhooks: %w", err)
	}
	var turn atomic.Uint64
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			n := turn.Add(1) % uint64(len(ingresses))
			r.SetURL(&url.URL{Scheme: "http", Host: ingresses[n].addr})
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }, // GitHub keeps it.
	}
	b := &balancer{listener: listener, server: &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}}
	b.serving.Go(func() { _ = b.server.Serve(listener) }) // ends with stop; a failure shows as webhooks that are not answered
	return b, nil
}

func (b *balancer) addr() string { return b.listener.Addr().String() }

func (b *balancer) stop() {
	_ = b.server.Close() // nobody sends webhooks any more
	b.serving.Wait()
}
