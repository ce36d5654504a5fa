package fakemodal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fault"
)

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name    string
		rule    fault.Rule
		want    codes.Code
		created int // sandboxes that exist after one call of the SDK
		calls   int // attempts that the SDK makes by itself
	}{
		{name: "an error has no effect", rule: fault.Rule{Op: "modal.SandboxCreateV2", Error: "RESOURCE_EXHAUSTED"}, want: codes.ResourceExhausted, calls: 1},
		{name: "an error that the SDK retries has none either", rule: fault.Rule{Op: "modal.SandboxCreateV2", Error: "UNAVAILABLE"}, want: codes.Unavailable, calls: 4},
		{name: "an error that passes is retried by the SDK", rule: fault.Rule{Op: "modal.SandboxCreateV2", Error: "UNAVAILABLE", Times: 2}, want: codes.OK, created: 1, calls: 3},
		{name: "a lost answer has an effect", rule: fault.Rule{Op: "modal.SandboxCreateV2", Error: "ABORTED", After: true}, want: codes.Aborted, created: 1, calls: 1},
		{name: "the retries after a lost answer find the same sandbox", rule: fault.Rule{Op: "modal.SandboxCreateV2", Error: "UNAVAILABLE", After: true, Times: 2}, want: codes.OK, created: 1, calls: 3},
		{name: "a rule for another call does not strike", rule: fault.Rule{Op: "modal.SandboxCreate", Error: "ABORTED"}, want: codes.OK, created: 1, calls: 1},
		{name: "a pattern strikes", rule: fault.Rule{Op: "modal.Sandbox*", Error: "ABORTED"}, want: codes.Aborted, calls: 1},
		{name: "a code that is none is said to be", rule: fault.Rule{Op: "modal.*", Error: "503", Times: 1}, want: codes.OK, created: 1, calls: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			faults := fault.New(1)
			r := newRig(t, fakemodal.Options{Faults: faults})
			var keys []string
			client := r.newClient(t, func(p *modal.ClientParams) {
				p.GRPCUnaryInterceptors = append(p.GRPCUnaryInterceptors, func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
					if method == "/modal.client.ModalClient/SandboxCreateV2" {
						md, _ := metadata.FromOutgoingContext(ctx)
						keys = append(keys, md.Get("x-idempotency-key")...)
					}
					return next(ctx, method, req, reply, cc, opts...)
				})
			})
			if _, err := client.Apps.FromName(r.context(t), "runners", nil); err != nil { // the token is fetched before the fault
				t.Fatalf("app: %v", err)
			}
			if err := faults.Set([]fault.Rule{tt.rule}); err != nil {
				t.Fatalf("set faults: %v", err)
			}
			_, err := client.Sandboxes.Create(r.context(t), r.app, r.image, &modal.SandboxCreateParams{Name: "R", Command: []string{"sleep", "600"}})
			if got := status.Code(err); got != tt.want {
				t.Errorf("code %v (%v), want %v", got, err, tt.want)
			}
			if got := len(r.Snapshot().Sandboxes); got != tt.created {
				t.Errorf("%d sandboxes, want %d", got, tt.created)
			}
			if len(keys) != tt.calls {
				t.Errorf("%d attempts, want %d", len(keys), tt.calls)
			}
			if err := faults.Set(nil); err != nil {
				t.Fatalf("clear faults: %v", err)
			}
			// Another call of the SDK has another idempotency key: only the name shows what exists.
			_, err = client.Sandboxes.Create(r.context(t), r.app, r.image, &modal.SandboxCreateParams{Name: "R", Command: []string{"sleep", "600"}})
			if taken := errors.As(err, &modal.AlreadyExistsError{}); taken != (tt.created == 1) {
				t.Errorf("create again: %v", err)
			}
		})
	}
}

func TestCancelledCreateLeavesASandbox(t *testing.T) {
	faults := fault.New(1)
	r := newRig(t, fakemodal.Options{Faults: faults})
	if err := faults.Set([]fault.Rule{{Op: "modal.SandboxCreateV2", Latency: fault.Duration(time.Hour)}}); err != nil {
		t.Fatalf("set faults: %v", err)
	}
	ctx, cancel := context.WithCancel(r.context(t))
	failed := make(chan error, 1)
	go func() {
		_, err := r.client.Sandboxes.Create(ctx, r.app, r.image, &modal.SandboxCreateParams{Name: "orphan", Command: []string{"sleep", "600"}})
		failed <- err
	}()
	eventually(t, "creation", func() bool { return r.Snapshot().Running == 1 })
	cancel()
	if err := <-failed; status.Code(err) != codes.Canceled {
		t.Errorf("create: %v, want CANCELLED", err)
	}
	if s, err := r.client.Sandboxes.FromName(r.context(t), "runners", "orphan", nil); err != nil {
		t.Errorf("the sandbox cannot be found by its name: %v, %v", s, err)
	}
}

func TestFaultOfAStream(t *testing.T) {
	faults := fault.New(1)
	r := newRig(t, fakemodal.Options{Faults: faults})
	if err := faults.Set([]fault.Rule{{Op: "modal.SandboxStdioReadV2", Error: "UNAVAILABLE", Times: 3}}); err != nil {
		t.Fatalf("set faults: %v", err)
	}
	s := r.create(t, modal.SandboxCreateParams{Command: []string{"echo", "out"}})
	if got := read(t, s.Stdout); got != "out\n" {
		t.Errorf("stdout %q", got)
	}
	if got := faults.Strikes()["modal.SandboxStdioReadV2"]; got != 3 {
		t.Errorf("%d strikes, want 3", got)
	}
}
