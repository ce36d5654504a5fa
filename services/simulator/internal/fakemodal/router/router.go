// Package router is the simulated Modal's command router: output of sandboxes, and commands run in them.
package router

import (
	"context"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal/auth"
	"modal-github-runner/services/simulator/internal/fakemodal/catalog"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

// Router answers the calls of service TaskCommandRouter, for all sandboxes; Modal has one on each of its workers.
// Each handler checks the token itself, since only it knows the task.
type Router struct {
	pb.UnimplementedTaskCommandRouterServer

	Auth    *auth.Authority
	Store   *sandbox.Store
	Objects *catalog.Objects
}

// sandbox checks that the call may act on the task.
func (r *Router) sandbox(ctx context.Context, taskID string) (*sandbox.Sandbox, error) {
	if err := r.Auth.CheckTask(ctx, taskID); err != nil {
		return nil, err
	}
	s, err := r.Store.FindTask(taskID)
	return s, wire.Status(err)
}

func (r *Router) exec(ctx context.Context, taskID, execID string) (*sandbox.Exec, error) {
	s, err := r.sandbox(ctx, taskID)
	if err != nil {
		return nil, err
	}
	e, err := s.FindExec(execID)
	return e, wire.Status(err)
}

// SandboxStdioReadV2 streams one output of the entrypoint from the offset, or from the oldest byte that is kept.
func (r *Router) SandboxStdioReadV2(req *pb.SandboxStdioReadV2Request, stream grpc.ServerStreamingServer[pb.SandboxStdioReadV2Response]) error {
	s, err := r.sandbox(stream.Context(), req.GetTaskId())
	if err != nil {
		return err
	}
	from := sandbox.Stdout
	if req.GetFileDescriptor() == pb.SandboxStdioFileDescriptor_SANDBOX_STDIO_FILE_DESCRIPTOR_STDERR {
		from = sandbox.Stderr
	}
	return follow(stream.Context(), s.Output(), from, req.GetOffset(), func(data []byte, offset uint64) error {
		return stream.Send(pb.SandboxStdioReadV2Response_builder{Data: data, StartingOffset: offset}.Build())
	})
}

// TaskExecStart starts a command beside the entrypoint, once it runs.
func (r *Router) TaskExecStart(ctx context.Context, req *pb.TaskExecStartRequest) (*pb.TaskExecStartResponse, error) {
	s, err := r.sandbox(ctx, req.GetTaskId())
	if err != nil {
		return nil, err
	}
	if id := req.GetContainerId(); id != "" {
		return nil, status.Errorf(codes.NotFound, "container %q not found", id)
	}
	env, err := r.Objects.Variables(req.GetSecretSources())
	if err != nil {
		return nil, err
	}
	select {
	case <-s.Started():
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	_, err = s.Exec(req.GetExecId(), sandbox.ExecSpec{
		Args: req.GetCommandArgs(), Env: env, Dir: req.GetWorkdir(), Timeout: time.Duration(req.GetTimeoutSecs()) * time.Second,
		DiscardStdout: req.GetStdoutConfig() == pb.TaskExecStdoutConfig_TASK_EXEC_STDOUT_CONFIG_DEVNULL,
		DiscardStderr: req.GetStderrConfig() == pb.TaskExecStderrConfig_TASK_EXEC_STDERR_CONFIG_DEVNULL,
	})
	return &pb.TaskExecStartResponse{}, wire.Status(err)
}

// TaskExecWait answers when the command has ended.
func (r *Router) TaskExecWait(ctx context.Context, req *pb.TaskExecWaitRequest) (*pb.TaskExecWaitResponse, error) {
	e, err := r.exec(ctx, req.GetTaskId(), req.GetExecId())
	if err != nil {
		return nil, err
	}
	select {
	case <-e.Done():
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	code, signal := e.Result()
	if signal != 0 {
		number := int32(signal) //nolint:gosec // there are 64
		return pb.TaskExecWaitResponse_builder{Signal: &number}.Build(), nil
	}
	number := int32(code) //nolint:gosec // a wait status has 8 bits
	return pb.TaskExecWaitResponse_builder{Code: &number}.Build(), nil
}

// TaskExecStdioRead streams one output of a command from the offset, or from the oldest byte that is kept.
func (r *Router) TaskExecStdioRead(req *pb.TaskExecStdioReadRequest, stream grpc.ServerStreamingServer[pb.TaskExecStdioReadResponse]) error {
	e, err := r.exec(stream.Context(), req.GetTaskId(), req.GetExecId())
	if err != nil {
		return err
	}
	from := sandbox.Stdout
	if req.GetFileDescriptor() == pb.TaskExecStdioFileDescriptor_TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR {
		from = sandbox.Stderr
	}
	return follow(stream.Context(), e.Output(), from, req.GetOffset(), func(data []byte, _ uint64) error {
		return stream.Send(pb.TaskExecStdioReadResponse_builder{Data: data}.Build())
	})
}

// follow sends what the stream holds from the offset on, in pieces that are never empty, until the program has ended.
func follow(ctx context.Context, log *sandbox.Log, from sandbox.Stream, offset uint64, send func(data []byte, offset uint64) error) error {
	for seq := 0; ; {
		entries, changed := log.After(seq)
		for _, e := range entries {
			seq = e.Seq
			start := uint64(e.Offset) //nolint:gosec // never negative
			end := start + uint64(len(e.Data))
			if e.Stream != from || end <= offset {
				continue
			}
			first := max(start, offset)
			if err := send(e.Data[first-start:], first); err != nil {
				return err
			}
			offset = end
		}
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}
