package fakemodal

import (
	"context"
	"path"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	needsToken := info.FullMethod != pb.ModalClient_AuthTokenGet_FullMethodName
	if err := s.check(ctx, info.FullMethod, needsToken); err != nil {
		return nil, err
	}
	var answer any
	err := s.strike(ctx, info.FullMethod, func() (err error) {
		answer, err = handler(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := s.check(stream.Context(), info.FullMethod, false); err != nil {
		return err
	}
	return s.strike(stream.Context(), info.FullMethod, func() error { return handler(srv, stream) })
}

// check leaves the calls of the command router to their handlers, which know the task.
func (s *Server) check(ctx context.Context, method string, needsToken bool) error {
	if strings.HasPrefix(method, "/"+pb.TaskCommandRouter_ServiceDesc.ServiceName+"/") {
		return nil
	}
	return s.auth.CheckClient(ctx, needsToken)
}

// strike calls act unless a fault prevents it, and replaces or delays its answer as the fault says. A delay comes
// after the effect: a client that gives up meanwhile may have created a sandbox.
func (s *Server) strike(ctx context.Context, method string, act func() error) error {
	out := s.faults.Next("modal." + path.Base(method))
	var err error
	if out.Error == "" || out.After {
		err = act()
	}
	if sleepErr := sleep(ctx, out.Latency); sleepErr != nil {
		return sleepErr
	}
	if out.Error != "" {
		return injected(out.Error)
	}
	return err
}

func injected(name string) error {
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil || code == codes.OK {
		return status.Errorf(codes.Internal, "fault rule: error must be the name of a gRPC error code (got %q)", name)
	}
	return status.Error(code, "injected by a fault rule")
}

// sleep returns early, with a gRPC status, when the call is cancelled.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
