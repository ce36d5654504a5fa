package fleet_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

func TestTheCreateCallCarriesAllThatThePoolSays(t *testing.T) {
	r := built(t, nil)
	pool := somePool()
	pool.Regions, pool.Cloud, pool.Runtime = []string{"us-east", "eu"}, "gcp", "vm"
	pool.Env = map[string]string{"HF_HOME": "/models", "RUNNER_IDLE_SECONDS": "9"}
	pool.Secrets = []string{"model-hub"}
	pool.Volumes = []run.Volume{{Name: "models", Path: "/models", ReadOnly: true}, {Name: "scratch", Path: "/scratch"}}
	pool.Reach = &run.Reach{Domains: []string{"github.com", "*.example.com"}, CIDRs: []string{"10.0.0.0/8"}}
	if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); err != nil {
		t.Fatal(err)
	}
	r.see(func() {
		req := r.creates[0]
		def := req.GetDefinition()
		if got := def.GetSchedulerPlacement().GetRegions(); !slices.Equal(got, pool.Regions) || def.GetCloudProviderStr() != "gcp" || def.GetRuntime() != "vm" {
			t.Errorf("regions %v, cloud %q, runtime %q", got, def.GetCloudProviderStr(), def.GetRuntime())
		}
		sources := []*pb.SecretSource{
			pb.SecretSource_builder{SecretId: new("st-1")}.Build(),
			pb.SecretSource_builder{Env: pb.StringMap_builder{Contents: map[string]string{
				"ACTIONS_RUNNER_INPUT_JITCONFIG": canary, "HF_HOME": "/models", "RUNNER_IDLE_SECONDS": "300",
			}}.Build()}.Build(),
		}
		if diff := cmp.Diff(sources, req.GetSecretSources(), protocmp.Transform()); diff != "" {
			t.Errorf("variables: %s", diff)
		}
		access := pb.NetworkAccess_builder{
			NetworkAccessType: pb.NetworkAccess_ALLOWLIST, AllowedDomains: pool.Reach.Domains, AllowedCidrs: pool.Reach.CIDRs,
		}.Build()
		if diff := cmp.Diff(access, def.GetNetworkAccess(), protocmp.Transform()); diff != "" {
			t.Errorf("network: %s", diff)
		}
		mounts := map[string]*pb.VolumeMount{}
		for _, m := range def.GetVolumeMounts() {
			mounts[m.GetMountPath()] = m
		}
		if len(mounts) != 2 || mounts["/models"].GetVolumeId() != "vo-1" || !mounts["/models"].GetReadOnly() ||
			mounts["/scratch"].GetVolumeId() != "vo-2" || mounts["/scratch"].GetReadOnly() {
			t.Errorf("mounts: %v", mounts)
		}
	})
}

func TestAPoolThatSaysNothingMoreGetsModalsChoiceAndTheWholeNetwork(t *testing.T) {
	r := built(t, nil)
	if _, err := r.create(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	r.see(func() {
		def := r.creates[0].GetDefinition()
		if def.HasSchedulerPlacement() || def.GetCloudProviderStr() != "" || def.HasRuntime() || len(def.GetVolumeMounts()) != 0 ||
			def.GetNetworkAccess().GetNetworkAccessType() != pb.NetworkAccess_OPEN {
			t.Errorf("got %v", def)
		}
	})
}

func TestABlockedSandboxReachesOnlyWhatIsListedOfEitherKind(t *testing.T) {
	for name, reach := range map[string]run.Reach{
		"hosts only":     {Domains: []string{"github.com"}},
		"addresses only": {CIDRs: []string{"10.0.0.1/32"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			pool := somePool()
			pool.Reach = &reach
			if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); err != nil {
				t.Fatal(err)
			}
			r.see(func() {
				access := r.creates[0].GetDefinition().GetNetworkAccess()
				if access.GetNetworkAccessType() != pb.NetworkAccess_ALLOWLIST || !slices.Equal(access.GetAllowedDomains(), reach.Domains) ||
					!slices.Equal(access.GetAllowedCidrs(), reach.CIDRs) {
					t.Errorf("got %v", access)
				}
			})
		})
	}
}

func TestASecretOrVolumeThatIsNotAtModalIsNamedAndNothingIsCreated(t *testing.T) {
	for name, test := range map[string]struct {
		change    func(*run.Pool)
		fail      error
		want      string
		permanent bool
	}{
		"a secret that is not there": {
			change: func(p *run.Pool) { p.Secrets = []string{"model-hub", "gone"} }, permanent: true,
			want: `pool default: secret: must exist at Modal (got "gone")`,
		},
		"a volume that is not there": {
			change: func(p *run.Pool) { p.Volumes = []run.Volume{{Name: "gone", Path: "/x"}} }, permanent: true,
			want: `pool default: volume: must exist at Modal (got "gone")`,
		},
		"a secret that can't be looked up now": {
			change: func(p *run.Pool) { p.Secrets = []string{"model-hub"} }, fail: status.Error(codes.PermissionDenied, "no"),
			want: "modal secret model-hub: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			r.see(func() {
				r.fail = func(method string) error {
					if method == "SecretGetOrCreate" {
						return test.fail
					}
					return nil
				}
			})
			pool := somePool()
			test.change(&pool)
			_, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary))
			if _, permanent := errors.AsType[*run.PermanentError](err); permanent != test.permanent || err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			r.see(func() {
				if len(r.creates) != 0 {
					t.Errorf("%d create calls", len(r.creates))
				}
			})
		})
	}
}
