package fleet

import (
	"context"
	"sync"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// asked is what became of the calls by which one [Fleet.Create] asked Modal for a sandbox, each try of the SDK's seen by itself: what
// the SDK returns is the last answer, and an earlier try may have made one.
type asked struct {
	mu sync.Mutex
	// made counts the sandboxes that Modal says to have made; ended, those of them that were ended again; failures, the answers that
	// something went wrong; lost, the answers that did not come.
	made, ended, failures, lost int
}

type askedKey struct{}

// endTimeout bounds the call by which the SDK ends a sandbox that got no machine. run.LaunchTimeout leaves room for it.
const endTimeout = 5 * time.Second

// watch is ctx for calls that are to be seen.
func (a *asked) watch(ctx context.Context) context.Context {
	return context.WithValue(ctx, askedKey{}, a)
}

// see makes the call, and notes what became of it if it is watched.
func see(ctx context.Context, method string, call func(context.Context, ...grpc.CallOption) error) error {
	a, watched := ctx.Value(askedKey{}).(*asked)
	if !watched {
		return call(ctx)
	}
	switch method {
	case pb.ModalClient_SandboxCreate_FullMethodName, pb.ModalClient_SandboxCreateV2_FullMethodName:
		var to peer.Peer
		var head, tail metadata.MD
		err := call(ctx, grpc.Peer(&to), grpc.Header(&head), grpc.Trailer(&tail))
		a.note(err, to.Addr != nil, head.Len()+tail.Len() > 0)
		return err
	case pb.ModalClient_SandboxTerminate_FullMethodName, pb.ModalClient_SandboxTerminateV2_FullMethodName:
		// The SDK ends what gets no machine, and has no bound for that.
		ctx, cancel := context.WithTimeout(ctx, endTimeout)
		defer cancel()
		err := call(ctx)
		if err == nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.ended++
		}
		return err
	default:
		return call(ctx)
	}
}

// note keeps what became of one try: whether it was sent at all, and answered by Modal itself rather than by what lies between.
func (a *asked) note(err error, sent, answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch code := status.Code(err); {
	case err == nil:
		a.made++
	case !sent, throttles(err):
	case !answered || code == codes.DeadlineExceeded || code == codes.Canceled:
		a.lost++
	case code == codes.Unavailable || code == codes.Internal || code == codes.Unknown || code == codes.Aborted || code == codes.DataLoss:
		a.failures++
	}
}

// maybe reports whether there may be a sandbox, by what was answered.
func (a *asked) maybe() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.lost > 0 || a.made > a.ended }

// failed reports whether something went wrong at Modal, which may have been after the sandbox was made.
func (a *asked) failed() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.failures > 0 }

// unplaced reports whether Modal made a sandbox for which it then had no machine.
func (a *asked) unplaced() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.made > 0 && a.made == a.ended
}
