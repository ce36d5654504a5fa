package fakemodal_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

// TestCreateIsChecked sends what the SDK would not.
func TestCreateIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, fakemodal.Options{Executor: forever, Secrets: map[string]map[string]string{"one": nil, "two": nil}})
		ctx := b.authorized(t)
		app := b.app(ctx, t)
		image := b.build(ctx, t, app)
		volume := b.volume(ctx, t, "volume")
		one, two := b.secret(ctx, t, "one"), b.secret(ctx, t, "two")
		for _, tt := range []struct {
			name   string
			change func(*pb.SandboxCreateV2Request)
			code   codes.Code
			want   string
		}{
			{"a good request is accepted", func(*pb.SandboxCreateV2Request) {}, codes.OK, ""},
			{"the app must exist", func(r *pb.SandboxCreateV2Request) { r.SetAppId("ap-x") }, codes.NotFound, `app "ap-x" not found`},
			{"the image must exist", func(r *pb.SandboxCreateV2Request) { r.GetDefinition().SetImageId("im-x") }, codes.NotFound, `image "im-x" not found`},
			{"volumes must exist", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetVolumeMounts([]*pb.VolumeMount{pb.VolumeMount_builder{VolumeId: "vo-x"}.Build()})
			}, codes.NotFound, `volume "vo-x" not found`},
			{"volumes are not mounted over the system", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetVolumeMounts([]*pb.VolumeMount{pb.VolumeMount_builder{VolumeId: volume, MountPath: "/root"}.Build()})
			}, codes.InvalidArgument, `volume_mounts: mount_path must be absolute and none of /, /root, /tmp (got "/root")`},
			{"volumes have places of their own", func(r *pb.SandboxCreateV2Request) {
				mount := pb.VolumeMount_builder{VolumeId: volume, MountPath: "/v"}.Build()
				r.GetDefinition().SetVolumeMounts([]*pb.VolumeMount{mount, mount})
			}, codes.InvalidArgument, `volume_mounts: mount_path must come once (got "/v")`},
			{"a volume's directories are in it", func(r *pb.SandboxCreateV2Request) {
				mount := pb.VolumeMount_builder{VolumeId: volume, MountPath: "/v", SubPath: new("/a/../../b")}.Build()
				r.GetDefinition().SetVolumeMounts([]*pb.VolumeMount{mount})
			}, codes.InvalidArgument, `volume_mounts: sub_path must be as short as it can be (got "/a/../../b")`},
			{"a runtime is one of two", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetRuntime("runc")
			}, codes.InvalidArgument, `runtime: must be gvisor or vm (got "runc")`},
			{"a virtual machine has memory", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetRuntime("vm")
				r.GetDefinition().SetResources(pb.Resources_builder{MemoryMb: 1023}.Build())
			}, codes.InvalidArgument, `resources.memory_mb: must be at least 1024 for a virtual machine (got 1023)`},
			{"an open network has no list", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetNetworkAccess(pb.NetworkAccess_builder{
					NetworkAccessType: pb.NetworkAccess_OPEN, AllowedDomains: []string{"a.example"},
				}.Build())
			}, codes.InvalidArgument, "network_access: must be of type ALLOWLIST for what it lists (got OPEN)"},
			{"ranges are ranges", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetNetworkAccess(pb.NetworkAccess_builder{
					NetworkAccessType: pb.NetworkAccess_ALLOWLIST, AllowedCidrs: []string{"10.0.0.1/8"},
				}.Build())
			}, codes.InvalidArgument, `network_access.allowed_cidrs: must be ranges of addresses (got "10.0.0.1/8")`},
			{"hosts are hosts", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetNetworkAccess(pb.NetworkAccess_builder{
					NetworkAccessType: pb.NetworkAccess_ALLOWLIST, AllowedDomains: []string{"*"},
				}.Build())
			}, codes.InvalidArgument, `network_access.allowed_domains: must be names of hosts, or *. and a name (got "*")`},
			{"secrets must exist", func(r *pb.SandboxCreateV2Request) { r.GetDefinition().SetSecretIds([]string{"st-x"}) }, codes.NotFound, `secret "st-x" not found`},
			{
				"a name has no spaces", func(r *pb.SandboxCreateV2Request) { r.GetDefinition().SetName("a b") },
				codes.InvalidArgument, `name: must be 1 to 64 of A-Z a-z 0-9 - _ . (got "a b")`,
			},
			{
				"a name is not long", func(r *pb.SandboxCreateV2Request) { r.GetDefinition().SetName(strings.Repeat("n", 65)) },
				codes.InvalidArgument, `name: must be 1 to 64`,
			},
			{
				"a sandbox lives a day at most", func(r *pb.SandboxCreateV2Request) { r.GetDefinition().SetTimeoutSecs(86401) },
				codes.InvalidArgument, "timeout_secs: must be at most 86400 (got 86401)",
			},
			{"a GPU is refused", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetResources(pb.Resources_builder{GpuConfig: pb.GPUConfig_builder{GpuType: "T4"}.Build()}.Build())
			}, codes.InvalidArgument, `definition.resources.gpu_config: must be empty on this backend (got "T4")`},
			{
				"a variable has a name", func(r *pb.SandboxCreateV2Request) { r.SetSecretSources([]*pb.SecretSource{variable("1A", "")}) },
				codes.InvalidArgument, `name of a variable: must be at most 16384 letters, digits and _ (got "1A")`,
			},
			{"a value has a limit and is not shown", func(r *pb.SandboxCreateV2Request) {
				r.SetSecretSources([]*pb.SecretSource{variable("A", strings.Repeat("v", 32769))})
			}, codes.InvalidArgument, "variable A: must be at most 32768 bytes long (got 32769 bytes)"},
			{"the two ways to give secrets exclude each other", func(r *pb.SandboxCreateV2Request) {
				r.SetSecretSources([]*pb.SecretSource{variable("A", "")})
				r.SetEphemeralSecrets(pb.StringMap_builder{Contents: map[string]string{"B": ""}}.Build())
			}, codes.InvalidArgument, "secret_sources: must not be combined with ephemeral_secrets"},
			{"ids given twice must match", func(r *pb.SandboxCreateV2Request) {
				r.SetSecretSources([]*pb.SecretSource{named(one)})
				r.GetDefinition().SetSecretIds([]string{two})
			}, codes.InvalidArgument, "definition.secret_ids: must match those of secret_sources"},
			{"ids given twice may match", func(r *pb.SandboxCreateV2Request) {
				r.SetSecretSources([]*pb.SecretSource{named(one), variable("A", ""), named(two)})
				r.GetDefinition().SetSecretIds([]string{one, two})
			}, codes.OK, ""},
			{"the older way to give secrets is accepted", func(r *pb.SandboxCreateV2Request) {
				r.GetDefinition().SetSecretIds([]string{one})
				r.SetEphemeralSecrets(pb.StringMap_builder{Contents: map[string]string{"B": ""}}.Build())
			}, codes.OK, ""},
		} {
			req := pb.SandboxCreateV2Request_builder{AppId: app, Definition: pb.Sandbox_builder{ImageId: image}.Build()}.Build()
			tt.change(req)
			_, err := b.client.SandboxCreateV2(ctx, req)
			if status.Code(err) != tt.code || !strings.Contains(status.Convert(err).Message(), tt.want) {
				t.Errorf("%s: %v, want %v %q", tt.name, err, tt.code, tt.want)
			}
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, fakemodal.Options{Executor: forever})
		ctx := b.authorized(t)
		app := b.app(ctx, t)
		image := b.build(ctx, t, app)
		key := func(k string) context.Context { return metadata.AppendToOutgoingContext(ctx, "x-idempotency-key", k) }
		first := b.create(key("a"), t, app, image, 0)
		if again := b.create(key("a"), t, app, image, 0); again != first {
			t.Errorf("the same key made %s and %s", first, again)
		}
		if other := b.create(key("b"), t, app, image, 0); other == first {
			t.Errorf("another key returned %s too", first)
		}
		if none := b.create(ctx, t, app, image, 0); b.create(ctx, t, app, image, 0) == none {
			t.Errorf("no key returned %s twice", none)
		}
		v1, err := b.client.SandboxCreate(key("a"), pb.SandboxCreateRequest_builder{
			AppId: app, Definition: pb.Sandbox_builder{ImageId: image}.Build(),
		}.Build())
		if err != nil || v1.GetSandboxId() == first {
			t.Errorf("the key of another call returned %v, %v", v1, err)
		}
	})
}

func TestClientsOfTheOlderBackend(t *testing.T) {
	t.Setenv("MODAL_SANDBOX_V2", "0")
	r := newRig(t, fakemodal.Options{})
	s := r.create(t, modal.SandboxCreateParams{
		Name: "old", Tags: map[string]string{"a": "b"}, Env: map[string]string{"X": "y"}, Command: sh("echo $X; sleep 600"),
	})
	if got := r.list(t, map[string]string{"a": "b"}); !slices.Equal(got, []string{s.SandboxID}) {
		t.Errorf("list %v, want %s", got, s.SandboxID)
	}
	if _, err := s.Terminate(r.context(t), &modal.SandboxTerminateParams{Wait: true}); err != nil {
		t.Errorf("terminate: %v", err)
	}
	if rec := r.record(t, s.SandboxID); !maps.Equal(rec.Tags, map[string]string{"a": "b"}) || !slices.Equal(rec.EnvKeys, []string{"X"}) {
		t.Errorf("record %+v", rec)
	}
}

// forever runs until the sandbox is ended.
var forever = machine.Func(func(ctx context.Context, _ machine.Program) int {
	<-ctx.Done()
	return 0
})

func (b *bubble) secret(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	secret, err := b.client.SecretGetOrCreate(ctx, pb.SecretGetOrCreateRequest_builder{DeploymentName: name}.Build())
	if err != nil {
		t.Fatalf("secret: %v", err)
	}
	return secret.GetSecretId()
}

func (b *bubble) volume(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	volume, err := b.client.VolumeGetOrCreate(ctx, pb.VolumeGetOrCreateRequest_builder{
		DeploymentName: name, ObjectCreationType: pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING,
	}.Build())
	if err != nil {
		t.Fatalf("volume: %v", err)
	}
	return volume.GetVolumeId()
}

func variable(name, value string) *pb.SecretSource {
	return pb.SecretSource_builder{Env: pb.StringMap_builder{Contents: map[string]string{name: value}}.Build()}.Build()
}

func named(id string) *pb.SecretSource { return pb.SecretSource_builder{SecretId: &id}.Build() }
