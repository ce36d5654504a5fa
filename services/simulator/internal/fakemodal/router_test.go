package fakemodal_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal"
)

func TestCommandRouterTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, fakemodal.Options{Executor: forever, TokenTTL: time.Minute})
		ctx := b.authorized(t)
		app := b.app(ctx, t)
		image := b.build(ctx, t, app)
		task, token := b.access(ctx, t, b.create(ctx, t, app, image, 0))
		_, other := b.access(ctx, t, b.create(ctx, t, app, image, 0))
		router := pb.NewTaskCommandRouterClient(b.conn)
		start := func(token string) error {
			_, err := router.TaskExecStart(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token),
				pb.TaskExecStartRequest_builder{TaskId: task, ExecId: "e", CommandArgs: []string{"x"}}.Build())
			return err
		}
		if err := start(token); err != nil {
			t.Errorf("the task's token: %v", err)
		}
		if err := start(token); err != nil {
			t.Errorf("the same exec again: %v", err)
		}
		authToken := metadata.ValueFromIncomingContext(incoming(ctx), "x-modal-auth-token")[0]
		for what, token := range map[string]string{"another task's token": other, "the control plane's token": authToken, "no token": ""} {
			if err := start(token); status.Code(err) != codes.Unauthenticated {
				t.Errorf("%s: %v, want UNAUTHENTICATED", what, err)
			}
		}
		time.Sleep(2 * time.Minute)
		if err := start(token); status.Code(err) != codes.Unauthenticated {
			t.Errorf("the expired token: %v, want UNAUTHENTICATED", err)
		}
	})
}

// incoming makes what a client would send readable.
func incoming(ctx context.Context) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx)
	return metadata.NewIncomingContext(ctx, md)
}

func (b *bubble) access(ctx context.Context, t *testing.T, id string) (task, token string) {
	t.Helper()
	found, err := b.client.SandboxGetTaskIdV2(ctx, pb.SandboxGetTaskIdRequest_builder{SandboxId: id}.Build())
	if err != nil {
		t.Fatalf("task: %v", err)
	}
	access, err := b.client.SandboxGetCommandRouterAccess(ctx, pb.SandboxGetCommandRouterAccessRequest_builder{SandboxId: &id}.Build())
	if err != nil {
		t.Fatalf("access: %v", err)
	}
	return found.GetTaskId(), access.GetJwt()
}
