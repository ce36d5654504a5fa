package fleet_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
)

// meaning is what the error of a create call means, in the words of package run.
func meaning(err error) string {
	limited, isLimited := errors.AsType[*run.LimitedError](err)
	_, isRefused := errors.AsType[*run.RefusedError](err)
	_, isPermanent := errors.AsType[*run.PermanentError](err)
	switch {
	case err == nil:
		return "created"
	case errors.Is(err, run.ErrExists):
		return "exists"
	case errors.Is(err, run.ErrNoImage):
		return "no image"
	case isLimited && limited.Until.After(time.Now()) && limited.Until.Before(time.Now().Add(time.Minute)):
		return "limited"
	case isRefused:
		return "refused"
	case isPermanent:
		return "refused to this job"
	case errors.Is(err, run.ErrNotMade):
		return "not made"
	case errors.Is(err, context.DeadlineExceeded):
		return "maybe, too late"
	}
	return "maybe"
}

func TestWhatModalAnswersToACreateCall(t *testing.T) {
	faultstest.Cover(t, "F46", "F52", "F64", "F65")
	with := func(code codes.Code, text string) error {
		said, err := status.New(code, text).WithDetails(pb.RPCRetryPolicy_builder{RetryAfterSecs: 60}.Build())
		if err != nil {
			t.Fatal(err)
		}
		return said.Err()
	}
	tests := map[string]struct {
		err   error
		want  string
		tries int
	}{
		"a name that is taken":                       {status.Error(codes.AlreadyExists, "taken"), "exists", 1},
		"no room":                                    {status.Error(codes.ResourceExhausted, "rate limit exceeded"), "limited", 1},
		"no room, with a time to wait for":           {with(codes.ResourceExhausted, "slow down"), "limited", 1},
		"an outage, with a time to wait for":         {with(codes.Unavailable, "slow down"), "limited", 4},
		"a quota, by another code":                   {status.Error(codes.FailedPrecondition, "GPU quota of the workspace exceeded"), "limited", 1},
		"a quota that is called a permission":        {status.Error(codes.PermissionDenied, "workspace limit of 10 GPUs"), "limited", 1},
		"throttling, by text only":                   {status.Error(codes.Unavailable, "429 (Too Many Requests)"), "limited", 4},
		"a request that Modal does not accept":       {status.Error(codes.InvalidArgument, "no such gpu"), "refused", 1},
		"a limit that no time changes":               {status.Error(codes.InvalidArgument, "timeout: limit exceeded"), "refused", 1},
		"a token that is not valid any more":         {status.Error(codes.Unauthenticated, "revoked"), "refused", 1},
		"a permission that lacks":                    {status.Error(codes.PermissionDenied, "no"), "refused", 1},
		"something that is not there":                {status.Error(codes.NotFound, "Volume vo-1 not found"), "refused", 1},
		"something that is not ready":                {status.Error(codes.FailedPrecondition, "Secret st-1 is locked"), "refused", 1},
		"an outage, after the SDK's own tries":       {status.Error(codes.Unavailable, "down"), "not made", 4},
		"an error within, after the SDK's own tries": {status.Error(codes.Internal, "boom"), "not made", 4},
		"an answer that nobody knows":                {status.Error(codes.DataLoss, "what"), "not made", 1},
		"no answer within the caller's time":         {errHang, "maybe, too late", 1},
	}
	r := built(t, nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var before int
			r.see(func() { before = r.calls["SandboxCreateV2"] })
			r.failing("SandboxCreateV2", -1, tt.err)
			bound := patience
			if errors.Is(tt.err, errHang) {
				bound = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			_, err := r.create(ctx, 1)
			if got := meaning(err); got != tt.want || strings.Contains(err.Error(), canary) {
				t.Errorf("%s, want %s: %v", got, tt.want, err)
			}
			r.see(func() {
				if got := r.calls["SandboxCreateV2"] - before; got != tt.tries {
					t.Errorf("%d calls, want %d", got, tt.tries)
				}
			})
		})
	}
}

func TestWhatLabelsAskedForInVainIsRefusedToTheirJobAloneAndAllElseToAll(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.InvalidArgument: "refused to this job", codes.OutOfRange: "refused to this job",
		codes.Unauthenticated: "refused", codes.PermissionDenied: "refused", codes.NotFound: "refused",
	} {
		r := built(t, nil)
		r.failing("SandboxCreateV2", -1, status.Error(code, "no"))
		pool := somePool()
		pool.Asked = true
		if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); meaning(err) != want {
			t.Errorf("%v is %s, want %s: %v", code, meaning(err), want, err)
		}
	}
}

func TestThatThereIsNoSandboxIsSaidOnlyIfItIsSure(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*rig)
		pool  func(*run.Pool)
		want  string
	}{
		"Modal made one, and says that it failed": {func(r *rig) {
			r.see(func() { r.after = map[string]error{"SandboxCreateV2": status.Error(codes.DataLoss, "boom")} })
		}, nil, "maybe"},
		"it made one at the first try, as the second shows": {func(r *rig) {
			r.see(func() { r.after = map[string]error{"SandboxCreateV2": status.Error(codes.Unavailable, "boom")} })
		}, nil, "maybe"},
		"it failed, and does not say what there is": {func(r *rig) {
			r.see(func() {
				r.fail = func(method string) error {
					if method == "SandboxCreateV2" || method == "SandboxGetFromNameV2" {
						return status.Error(codes.DataLoss, "boom")
					}
					return nil
				}
			})
		}, nil, "maybe"},
		"what comes before fails": {func(r *rig) {
			r.failing("SecretGetOrCreate", -1, status.Error(codes.Internal, "boom"))
		}, func(p *run.Pool) { p.Secrets = []string{"model-hub"} }, "not made"},
		"Modal can't be reached": {func(r *rig) { r.stop() }, nil, "not made"},
		"the workers' own id can't be had": {func(r *rig) {
			r.fleet.Deployment = func(context.Context) (string, error) { return "", errors.New("NATS is away") }
		}, nil, "not made"},
		"there is no machine for it": {func(r *rig) { r.see(func() { r.crowded = true }) }, func(p *run.Pool) { p.GPU = "T4" }, "limited"},
		"there is no machine for it, and it can't be ended": {func(r *rig) {
			r.see(func() { r.crowded = true })
			r.failing("SandboxTerminate", -1, status.Error(codes.PermissionDenied, "no"))
		}, func(p *run.Pool) { p.GPU = "T4" }, "maybe, too late"},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			tt.spoil(r)
			pool := somePool()
			if tt.pool != nil {
				tt.pool(&pool)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if _, err := r.fleet.Create(ctx, newRunner(1), pool, config.NewSecret(canary)); meaning(err) != tt.want {
				t.Errorf("%s, want %s: %v", meaning(err), tt.want, err)
			}
		})
	}
}
