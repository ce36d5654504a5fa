package bubble_test

import (
	"context"
	"net"
	"sync/atomic"
	_ "unsafe" // for go:linkname

	"google.golang.org/grpc"
)

// Modal's SDK dials by itself, in two places, and takes no dialer: one that was given a connection leaves out its own
// authentication and retries, and could not reach a sandbox. grpc-go lets packages of its own set options for every
// connection of the process. A bubble needs that: connections of the machine would hold its time.
//
//go:linkname addGlobalDialOptions google.golang.org/grpc/internal.AddGlobalDialOptions
var addGlobalDialOptions any // func(opt ...grpc.DialOption)

// current is the network of the universe that is being played.
var current atomic.Pointer[network]

// dialInMemory makes every gRPC connection of this process one of the current network.
func dialInMemory() {
	add, ok := addGlobalDialOptions.(func(...grpc.DialOption))
	if !ok {
		panic("grpc-go has no AddGlobalDialOptions any more")
	}
	add(grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		n := current.Load()
		if n == nil {
			return nil, errRefused
		}
		return n.dial(ctx, addr)
	}))
}
