package fakemodal_test

import (
	"context"
	"net"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"modal-github-runner/services/simulator/internal/fakemodal"
)

// bubble is a server and a plain client within a bubble of testing/synctest.
type bubble struct {
	server *fakemodal.Server
	client pb.ModalClientClient
	conn   *grpc.ClientConn
	dials  int
}

func newBubble(t *testing.T, o fakemodal.Options) *bubble {
	t.Helper()
	o.TokenID, o.TokenSecret = tokenID, tokenSecret
	server, err := fakemodal.New(o)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	lis := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	b := &bubble{server: server}
	b.conn, err = grpc.NewClient("passthrough:bubble",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			b.dials++
			return lis.DialContext(ctx)
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		// A connection would become idle without calls, which the SDK's do too, but only after 30 minutes.
		grpc.WithIdleTimeout(0))
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	b.client = pb.NewModalClientClient(b.conn)
	t.Cleanup(func() {
		if err := b.conn.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return b
}

// authorized returns a context with a fresh token.
func (b *bubble) authorized(t *testing.T) context.Context {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-modal-token-id", tokenID, "x-modal-token-secret", tokenSecret)
	token, err := b.client.AuthTokenGet(ctx, &pb.AuthTokenGetRequest{})
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	return metadata.AppendToOutgoingContext(ctx, "x-modal-auth-token", token.GetToken())
}

func appRequest() *pb.AppGetOrCreateRequest {
	return pb.AppGetOrCreateRequest_builder{
		AppName: "runners", ObjectCreationType: pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING,
	}.Build()
}

func (b *bubble) app(ctx context.Context, t *testing.T) string {
	t.Helper()
	app, err := b.client.AppGetOrCreate(ctx, appRequest())
	if err != nil {
		t.Fatalf("app: %v", err)
	}
	return app.GetAppId()
}

// build waits for an image as the SDK does.
func (b *bubble) build(ctx context.Context, t *testing.T, app string) string {
	t.Helper()
	image, err := b.client.ImageGetOrCreate(ctx, pb.ImageGetOrCreateRequest_builder{
		AppId: app, Image: pb.Image_builder{DockerfileCommands: []string{"FROM debian:13"}}.Build(),
	}.Build())
	if err != nil {
		t.Fatalf("image: %v", err)
	}
	for {
		join, err := b.client.ImageJoinStreaming(ctx, pb.ImageJoinStreamingRequest_builder{ImageId: image.GetImageId(), Timeout: 55}.Build())
		if err != nil {
			t.Fatalf("join: %v", err)
		}
		for answer, err := join.Recv(); err == nil; answer, err = join.Recv() {
			if answer.GetResult().GetStatus() == pb.GenericResult_GENERIC_STATUS_SUCCESS {
				return image.GetImageId()
			}
		}
	}
}

func (b *bubble) create(ctx context.Context, t *testing.T, app, image string, timeout time.Duration) string {
	t.Helper()
	s, err := b.client.SandboxCreateV2(ctx, pb.SandboxCreateV2Request_builder{
		AppId: app,
		Definition: pb.Sandbox_builder{
			ImageId: image, EntrypointArgs: []string{"run"}, TimeoutSecs: uint32(timeout / time.Second),
		}.Build(),
	}.Build())
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return s.GetSandboxId()
}

func (b *bubble) wait(ctx context.Context, t *testing.T, id string) *pb.GenericResult {
	t.Helper()
	for {
		answer, err := b.client.SandboxWaitV2(ctx, pb.SandboxWaitRequest_builder{SandboxId: id, Timeout: 10}.Build())
		if err != nil {
			t.Fatalf("wait: %v", err)
		}
		if result := answer.GetResult(); result != nil {
			return result
		}
	}
}
