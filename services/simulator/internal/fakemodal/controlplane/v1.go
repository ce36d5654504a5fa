package controlplane

import (
	"context"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

// SandboxCreate creates a sandbox, with or without a GPU.
func (c *ControlPlane) SandboxCreate(ctx context.Context, req *pb.SandboxCreateRequest) (*pb.SandboxCreateResponse, error) {
	s, err := c.create(ctx, sandbox.Spec{
		Backend: sandbox.V1, AppID: req.GetAppId(), Definition: req.GetDefinition(), Tags: wire.FromTags(req.GetTags()),
	}, secretIDs(req.GetDefinition().GetSecretIds()))
	if err != nil {
		return nil, err
	}
	return pb.SandboxCreateResponse_builder{SandboxId: s.ID(), Metadata: wire.Handle(s.Record())}.Build(), nil
}

// SandboxWait waits for a sandbox's end.
func (c *ControlPlane) SandboxWait(ctx context.Context, req *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	return c.wait(ctx, sandbox.V1, req)
}

// SandboxList lists the sandboxes of this backend only.
func (c *ControlPlane) SandboxList(_ context.Context, req *pb.SandboxListRequest) (*pb.SandboxListResponse, error) {
	return c.list(req, sandbox.V1)
}

// SandboxTerminate ends a sandbox.
func (c *ControlPlane) SandboxTerminate(_ context.Context, req *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	return c.terminate(sandbox.V1, req)
}

// SandboxGetFromName finds a sandbox by its name.
func (c *ControlPlane) SandboxGetFromName(_ context.Context, req *pb.SandboxGetFromNameRequest) (*pb.SandboxGetFromNameResponse, error) {
	return c.byName(sandbox.V1, req)
}

// SandboxTagsSet replaces all tags.
func (c *ControlPlane) SandboxTagsSet(_ context.Context, req *pb.SandboxTagsSetRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, c.setTags(sandbox.V1, req)
}

// SandboxTagsGet returns all tags.
func (c *ControlPlane) SandboxTagsGet(_ context.Context, req *pb.SandboxTagsGetRequest) (*pb.SandboxTagsGetResponse, error) {
	return c.tags(sandbox.V1, req)
}

// SandboxGetTaskId returns the sandbox's task.
//
//nolint:revive // the generated interface spells it so
func (c *ControlPlane) SandboxGetTaskId(_ context.Context, req *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	return c.taskID(sandbox.V1, req)
}
