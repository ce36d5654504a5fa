package controlplane

import (
	"context"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

// SandboxCreateV2 creates a sandbox without a GPU.
func (c *ControlPlane) SandboxCreateV2(ctx context.Context, req *pb.SandboxCreateV2Request) (*pb.SandboxCreateV2Response, error) {
	if gpu := req.GetDefinition().GetResources().GetGpuConfig().GetGpuType(); gpu != "" {
		return nil, status.Errorf(codes.InvalidArgument, "definition.resources.gpu_config: must be empty on this backend (got %q)", gpu)
	}
	sources, err := sourcesOf(req)
	if err != nil {
		return nil, err
	}
	s, err := c.create(ctx, sandbox.Spec{
		Backend: sandbox.V2, AppID: req.GetAppId(), Definition: req.GetDefinition(), Tags: wire.FromTags(req.GetTags()),
	}, sources)
	if err != nil {
		return nil, err
	}
	return pb.SandboxCreateV2Response_builder{SandboxId: s.ID(), TaskId: s.TaskID(), Metadata: wire.Handle(s.Record())}.Build(), nil
}

// SandboxWaitV2 waits for a sandbox's end.
func (c *ControlPlane) SandboxWaitV2(ctx context.Context, req *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	return c.wait(ctx, sandbox.V2, req)
}

// SandboxListV2 lists the sandboxes of both backends.
func (c *ControlPlane) SandboxListV2(_ context.Context, req *pb.SandboxListRequest) (*pb.SandboxListResponse, error) {
	return c.list(req, sandbox.V1, sandbox.V2)
}

// SandboxTerminateV2 ends a sandbox.
func (c *ControlPlane) SandboxTerminateV2(_ context.Context, req *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	return c.terminate(sandbox.V2, req)
}

// SandboxGetFromNameV2 finds a sandbox by its name.
func (c *ControlPlane) SandboxGetFromNameV2(_ context.Context, req *pb.SandboxGetFromNameRequest) (*pb.SandboxGetFromNameResponse, error) {
	return c.byName(sandbox.V2, req)
}

// SandboxTagsSetV2 replaces all tags.
func (c *ControlPlane) SandboxTagsSetV2(_ context.Context, req *pb.SandboxTagsSetRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, c.setTags(sandbox.V2, req)
}

// SandboxTagsGetV2 returns all tags.
func (c *ControlPlane) SandboxTagsGetV2(_ context.Context, req *pb.SandboxTagsGetRequest) (*pb.SandboxTagsGetResponse, error) {
	return c.tags(sandbox.V2, req)
}

// SandboxGetTaskIdV2 returns the sandbox's task.
//
//nolint:revive // the generated interface spells it so
func (c *ControlPlane) SandboxGetTaskIdV2(_ context.Context, req *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	return c.taskID(sandbox.V2, req)
}
