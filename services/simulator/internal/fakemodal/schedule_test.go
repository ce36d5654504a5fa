package fakemodal_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/machine"
	"modal-github-runner/services/simulator/internal/fault"
)

// Modal's SDK asks for a sandbox's task until there is one, and ends a sandbox that has waited for too long, so that it never starts.
func TestASandboxIsScheduledAsLateAsAFaultSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := fault.New(1)
		b := newBubble(t, fakemodal.Options{Faults: faults, Executor: machine.Func(func(context.Context, machine.Program) int { return 0 })})
		if err := faults.Set([]fault.Rule{{Op: "modal.schedule", Latency: fault.Duration(time.Minute), Times: 2}}); err != nil {
			t.Fatal(err)
		}
		ctx := b.authorized(t)
		app := b.app(ctx, t)
		image := b.build(ctx, t, app)
		task := func(id string) string {
			found, err := b.client.SandboxGetTaskIdV2(ctx, pb.SandboxGetTaskIdRequest_builder{SandboxId: id}.Build())
			if err != nil {
				t.Fatal(err)
			}
			return found.GetTaskId()
		}
		late, ended, prompt := b.create(ctx, t, app, image, time.Hour), b.create(ctx, t, app, image, time.Hour), b.create(ctx, t, app, image, time.Hour)
		time.Sleep(time.Second)
		if task(late) != "" || task(ended) != "" || task(prompt) == "" {
			t.Errorf("tasks %q, %q and %q, want the last one only", task(late), task(ended), task(prompt))
		}
		if _, err := b.client.SandboxTerminateV2(ctx, pb.SandboxTerminateRequest_builder{SandboxId: ended}.Build()); err != nil {
			t.Fatal(err)
		}
		if got := b.wait(ctx, t, late).GetStatus(); got != pb.GenericResult_GENERIC_STATUS_SUCCESS {
			t.Errorf("the late one: %v", got)
		}
		all := b.server.Snapshot().Sandboxes
		if took := all[0].StartedAt.Sub(all[0].CreatedAt); took != time.Minute || task(late) == "" {
			t.Errorf("the late one started after %v, with task %q", took, task(late))
		}
		if !all[1].StartedAt.IsZero() || !all[1].Ended() {
			t.Errorf("the one that was ended before started at %v", all[1].StartedAt)
		}
	})
}
