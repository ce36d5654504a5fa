package fakemodal_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, fakemodal.Options{TokenTTL: 10 * time.Second})
		ctx := b.authorized(t)
		if _, err := b.client.AppGetOrCreate(ctx, appRequest()); err != nil {
			t.Errorf("fresh token: %v", err)
		}
		time.Sleep(11 * time.Second)
		if _, err := b.client.AppGetOrCreate(ctx, appRequest()); status.Code(err) != codes.Unauthenticated {
			t.Errorf("expired token: %v, want UNAUTHENTICATED", err)
		}
		if _, err := b.client.AppGetOrCreate(b.authorized(t), appRequest()); err != nil {
			t.Errorf("new token: %v", err)
		}
	})
}

// TestIdleClientsStayConnected uses the SDK's keepalive parameters. With gRPC's default policy the server would close
// the connection with "too_many_pings" after two minutes.
func TestIdleClientsStayConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, fakemodal.Options{})
		b.authorized(t)
		time.Sleep(time.Hour)
		synctest.Wait()
		if state := b.conn.GetState(); state != connectivity.Ready {
			t.Errorf("connection is %v after an hour, want READY", state)
		}
		if n := b.dials; n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

func TestTimeIsThatOfTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, fakemodal.Options{
			TokenTTL: 24 * time.Hour, SchedulingLatency: 3 * time.Second, ImageBuildTime: 2 * time.Minute,
			Executor: machine.Func(func(ctx context.Context, p machine.Program) int {
				_, _ = p.Stdout.Write([]byte("hello"))
				select {
				case <-time.After(time.Hour):
				case <-ctx.Done():
				}
				return 4
			}),
		})
		ctx := b.authorized(t)
		app := b.app(ctx, t)
		began := time.Now()
		image := b.build(ctx, t, app)
		if took := time.Since(began); took != 2*time.Minute {
			t.Errorf("the image took %v to build, want 2m", took)
		}
		// The same creation time would make a page of the list drop one of them.
		long, short := b.create(ctx, t, app, image, 2*time.Hour), b.create(ctx, t, app, image, time.Minute)
		if got := b.wait(ctx, t, short).GetStatus(); got != pb.GenericResult_GENERIC_STATUS_TIMEOUT {
			t.Errorf("status %v, want TIMEOUT", got)
		}
		if got := b.wait(ctx, t, long); got.GetStatus() != pb.GenericResult_GENERIC_STATUS_FAILURE || got.GetExitcode() != 4 {
			t.Errorf("result %v, want FAILURE 4", got)
		}
		all := b.server.Snapshot().Sandboxes
		if got := all[0].StartedAt.Sub(all[0].CreatedAt); got != 3*time.Second {
			t.Errorf("started after %v, want 3s", got)
		}
		if got := all[0].EndedAt.Sub(all[0].StartedAt); got != time.Hour {
			t.Errorf("ran for %v, want 1h", got)
		}
		if got := all[1].EndedAt.Sub(all[1].StartedAt); got != time.Minute {
			t.Errorf("ran for %v, want 1m", got)
		}
		if !all[1].CreatedAt.After(all[0].CreatedAt) {
			t.Errorf("created at %v and %v, want them to differ", all[0].CreatedAt, all[1].CreatedAt)
		}
	})
}
