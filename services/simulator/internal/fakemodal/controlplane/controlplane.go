// Package controlplane answers the calls of Modal's service ModalClient that sandboxes need; all others answer
// UNIMPLEMENTED.
//
// It maps between messages and what the packages catalog and sandbox keep, and keeps nothing itself. Credentials are
// checked before it is called.
package controlplane

import (
	"cmp"
	"context"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"

	"modal-github-runner/services/simulator/internal/fakemodal/auth"
	"modal-github-runner/services/simulator/internal/fakemodal/catalog"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/fakemodal/wire"
)

// ControlPlane answers the calls of service ModalClient. What the two backends share is here; the calls that differ by
// name only are in v1.go and v2.go.
type ControlPlane struct {
	pb.UnimplementedModalClientServer

	Auth    *auth.Authority
	Store   *sandbox.Store
	Images  *catalog.Images
	Objects *catalog.Objects
	// TokenID is what AuthTokenGet issues tokens for.
	TokenID string
	// PageSize is how many sandboxes a list returns at once; at least 1.
	PageSize int
	// RouterURL is where clients reach the command router; empty for where they reached this server.
	RouterURL string
}

// wait answers when the sandbox has ended or the request's timeout is over.
func (c *ControlPlane) wait(ctx context.Context, b sandbox.Backend, req *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	s, err := c.Store.Find(b, req.GetSandboxId())
	if err != nil {
		return nil, wire.Status(err)
	}
	ctx, cancel := context.WithTimeout(ctx, wire.Seconds(req.GetTimeout()))
	defer cancel()
	select {
	case <-s.Done():
	case <-ctx.Done():
	}
	r := s.Record()
	return pb.SandboxWaitResponse_builder{Result: wire.Result(r), Metadata: wire.Handle(r)}.Build(), nil
}

// list answers with the newest page; the client asks for the next one by the oldest creation time that it got.
func (c *ControlPlane) list(req *pb.SandboxListRequest, backends ...sandbox.Backend) (*pb.SandboxListResponse, error) {
	apps := []string{req.GetAppId()}
	if req.GetAppId() == "" {
		environment, err := c.Objects.Environment(req.GetEnvironmentName())
		if err != nil {
			return nil, err
		}
		apps = c.Objects.Apps.In(environment)
	}
	var page []*pb.SandboxInfo
	for _, s := range c.Store.List(sandbox.Filter{
		Backends: backends, AppIDs: apps, Tags: wire.FromTags(req.GetTags()),
		Before: wire.FromUnixSeconds(req.GetBeforeTimestamp()), AlsoEnded: req.GetIncludeFinished(), Limit: c.PageSize,
	}) {
		page = append(page, wire.Info(s.Record()))
	}
	return pb.SandboxListResponse_builder{Sandboxes: page}.Build(), nil
}

// terminate answers at once; the sandbox ends soon after.
func (c *ControlPlane) terminate(b sandbox.Backend, req *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	s, err := c.Store.Find(b, req.GetSandboxId())
	if err != nil {
		return nil, wire.Status(err)
	}
	existing := wire.Result(s.Record())
	s.Terminate()
	return pb.SandboxTerminateResponse_builder{ExistingResult: existing}.Build(), nil
}

func (c *ControlPlane) byName(b sandbox.Backend, req *pb.SandboxGetFromNameRequest) (*pb.SandboxGetFromNameResponse, error) {
	environment, err := c.Objects.Environment(req.GetEnvironmentName())
	if err != nil {
		return nil, err
	}
	app, err := c.Objects.Apps.GetOrCreate(environment, req.GetAppName(), pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED, struct{}{})
	if err != nil {
		return nil, err
	}
	s, err := c.Store.FindName(b, app.ID, req.GetSandboxName(), req.GetIncludeTerminated())
	if err != nil {
		return nil, wire.Status(err)
	}
	return pb.SandboxGetFromNameResponse_builder{SandboxId: s.ID(), Metadata: wire.Handle(s.Record())}.Build(), nil
}

func (c *ControlPlane) setTags(b sandbox.Backend, req *pb.SandboxTagsSetRequest) error {
	s, err := c.Store.Find(b, req.GetSandboxId())
	if err != nil {
		return wire.Status(err)
	}
	s.SetTags(wire.FromTags(req.GetTags()))
	return nil
}

func (c *ControlPlane) tags(b sandbox.Backend, req *pb.SandboxTagsGetRequest) (*pb.SandboxTagsGetResponse, error) {
	s, err := c.Store.Find(b, req.GetSandboxId())
	if err != nil {
		return nil, wire.Status(err)
	}
	return pb.SandboxTagsGetResponse_builder{Tags: wire.ToTags(s.Record().Tags)}.Build(), nil
}

// taskID answers without a task while the sandbox waits for a place; the client asks again.
func (c *ControlPlane) taskID(b sandbox.Backend, req *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	s, err := c.Store.Find(b, req.GetSandboxId())
	if err != nil {
		return nil, wire.Status(err)
	}
	answer := pb.SandboxGetTaskIdResponse_builder{TaskResult: wire.Result(s.Record())}
	if s.Scheduled() {
		id := s.TaskID()
		answer.TaskId = &id
	}
	return answer.Build(), nil
}

// routerURL is for a client that asked. The SDK demands https and speaks plaintext to a local host.
func (c *ControlPlane) routerURL(ctx context.Context) string {
	return cmp.Or(c.RouterURL, "https://"+auth.Header(ctx, ":authority"))
}

// TaskGetCommandRouterAccess answers with a token for the task.
func (c *ControlPlane) TaskGetCommandRouterAccess(
	ctx context.Context, req *pb.TaskGetCommandRouterAccessRequest,
) (*pb.TaskGetCommandRouterAccessResponse, error) {
	s, err := c.Store.FindTask(req.GetTaskId())
	if err != nil {
		return nil, wire.Status(err)
	}
	token, err := c.Auth.Issue(s.TaskID(), auth.ForCommandRouter)
	if err != nil {
		return nil, err
	}
	return pb.TaskGetCommandRouterAccessResponse_builder{Jwt: token, Url: c.routerURL(ctx)}.Build(), nil
}

// SandboxGetCommandRouterAccess answers with a token for the sandbox's task.
func (c *ControlPlane) SandboxGetCommandRouterAccess(
	ctx context.Context, req *pb.SandboxGetCommandRouterAccessRequest,
) (*pb.SandboxGetCommandRouterAccessResponse, error) {
	find := func() (*sandbox.Sandbox, error) { return c.Store.Find(sandbox.V2, req.GetSandboxId()) }
	if req.HasTaskId() {
		find = func() (*sandbox.Sandbox, error) { return c.Store.FindTask(req.GetTaskId()) }
	}
	s, err := find()
	if err != nil {
		return nil, wire.Status(err)
	}
	token, err := c.Auth.Issue(s.TaskID(), auth.ForCommandRouter)
	if err != nil {
		return nil, err
	}
	return pb.SandboxGetCommandRouterAccessResponse_builder{Jwt: token, Url: c.routerURL(ctx)}.Build(), nil
}

// AuthTokenGet exchanges the credentials, which were checked with the call, for a token.
func (c *ControlPlane) AuthTokenGet(context.Context, *pb.AuthTokenGetRequest) (*pb.AuthTokenGetResponse, error) {
	token, err := c.Auth.Issue(c.TokenID, auth.ForControlPlane)
	if err != nil {
		return nil, err
	}
	return pb.AuthTokenGetResponse_builder{Token: token}.Build(), nil
}
