package fleet_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

// SandboxCreate is how Modal's older backend makes a sandbox, the only one with GPUs.
func (m *fakeModal) SandboxCreate(_ context.Context, req *pb.SandboxCreateRequest) (*pb.SandboxCreateResponse, error) {
	m.older = append(m.older, req)
	return pb.SandboxCreateResponse_builder{SandboxId: "sb-0123456789abcdefABCDEF"}.Build(), nil
}

//nolint:revive // the generated interface spells it so
func (m *fakeModal) SandboxGetTaskId(context.Context, *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	if m.crowded {
		return &pb.SandboxGetTaskIdResponse{}, nil
	}
	return pb.SandboxGetTaskIdResponse_builder{TaskId: new("ta-1")}.Build(), nil
}

// ephemeralSecret is how variables get into a sandbox of the older backend.
func (m *fakeModal) ephemeralSecret(req *pb.SecretGetOrCreateRequest) (*pb.SecretGetOrCreateResponse, error) {
	if req.GetObjectCreationType() != pb.ObjectCreationType_OBJECT_CREATION_TYPE_EPHEMERAL {
		return nil, status.Error(codes.NotFound, "no such secret")
	}
	m.variables = append(m.variables, req.GetEnvDict())
	return pb.SecretGetOrCreateResponse_builder{SecretId: "st-variables"}.Build(), nil
}

// Whatever else a pool says, its sandboxes with GPUs have it as those without.
func TestASandboxWithGPUsIsAskedForWithAllThatThePoolSays(t *testing.T) {
	pool := run.Pool{
		Name: "gpu", CPU: 2, CPULimit: 3.5, MemoryMiB: 2048, MemoryLimitMiB: 4096, Timeout: time.Hour, IdleLimit: 2 * time.Minute,
		Regions: []string{"us-east", "eu"}, Cloud: "gcp", Untrusted: true, OnlyPrivate: true, Asked: true, Docker: true, Env: map[string]string{"HF_HOME": "/models"},
		Secrets: []string{"model-hub"}, OIDC: true, Volumes: []run.Volume{{Name: "models", Path: "/models", ReadOnly: true}, {Name: "scratch", Path: "/scratch"}},
		Cache: &run.Cache{Name: "deps", SizeMiB: 1024, ReadOnly: true},
		Reach: &run.Reach{Domains: []string{"github.com", "*.example.com"}, CIDRs: []string{"10.0.0.0/8"}},
	}
	inAnyOrder := protocmp.SortRepeated(func(a, b *pb.VolumeMount) bool { return a.GetMountPath() < b.GetMountPath() })
	for _, runtime := range []string{"", "vm", "gvisor"} {
		t.Run("runtime "+runtime, func(t *testing.T) {
			r := built(t, nil)
			plain, gpu := pool, pool
			plain.Runtime, gpu.Runtime, gpu.GPU = runtime, runtime, "A100-80GB:2"
			for n, p := range []run.Pool{plain, gpu} {
				if _, err := r.fleet.Create(t.Context(), newRunner(n+1), p, config.NewSecret(canary)); err != nil {
					t.Fatal(err)
				}
			}
			r.see(func() {
				if len(r.creates) != 1 || len(r.older) != 1 || len(r.variables) != 1 {
					t.Fatalf("%d create calls without GPUs, %d with, %d sets of variables", len(r.creates), len(r.older), len(r.variables))
				}
				want := proto.CloneOf(r.creates[0].GetDefinition())
				want.SetName(r.older[0].GetDefinition().GetName())
				want.SetSecretIds([]string{"st-1", "st-variables"})
				want.GetResources().SetGpuConfig(pb.GPUConfig_builder{GpuType: "A100-80GB", Count: 2}.Build())
				if diff := cmp.Diff(want, r.older[0].GetDefinition(), protocmp.Transform(), inAnyOrder); diff != "" {
					t.Errorf("asked for: %s", diff)
				}
				if diff := cmp.Diff(r.creates[0].GetSecretSources()[1].GetEnv().GetContents(), r.variables[0]); diff != "" {
					t.Errorf("variables: %s", diff)
				}
				tags := func(all []*pb.SandboxTag) (names []string) {
					for _, tag := range all {
						names = append(names, tag.GetTagName())
					}
					slices.Sort(names)
					return names
				}
				if diff := cmp.Diff(tags(r.creates[0].GetTags()), tags(r.older[0].GetTags())); diff != "" {
					t.Errorf("tags: %s", diff)
				}
			})
		})
	}
	// The comparison says nothing of a field that no pool here has.
	pool.GPU, pool.Runtime, pool.Image, pool.ImageAsked = "T4", "vm", run.Image{Name: "other"}, true // Shown with images.
	for field, value := range reflect.ValueOf(pool).Fields() {
		if value.IsZero() {
			t.Errorf("the pool says nothing of %s", field.Name)
		}
	}
}
