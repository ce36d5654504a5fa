package fleet_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

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
	pool.CPU, pool.CPULimit, pool.MemoryMiB, pool.MemoryLimitMiB, pool.Timeout = 2, 3.5, 2048, 4096, 90*time.Minute
	pool.Regions, pool.Cloud, pool.Runtime = []string{"us-east", "eu"}, "gcp", "vm"
	pool.Env = map[string]string{"HF_HOME": "/models", "RUNNER_IDLE_SECONDS": "9"}
	pool.Secrets, pool.OIDC = []string{"model-hub"}, true
	pool.Volumes = []run.Volume{{Name: "models", Path: "/models", ReadOnly: true}, {Name: "scratch", Path: "/scratch"}}
	pool.Reach = &run.Reach{Domains: []string{"github.com", "*.example.com"}, CIDRs: []string{"10.0.0.0/8"}}
	if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); err != nil {
		t.Fatal(err)
	}
	r.see(func() {
		req := r.creates[0]
		def := req.GetDefinition()
		if got := def.GetSchedulerPlacement().GetRegions(); !slices.Equal(got, pool.Regions) || def.GetCloudProviderStr() != "gcp" || def.GetRuntime() != "vm" || !def.GetIncludeOidcIdentityToken() {
			t.Errorf("regions %v, cloud %q, runtime %q, identity: %v", got, def.GetCloudProviderStr(), def.GetRuntime(), def.GetIncludeOidcIdentityToken())
		}
		resources := pb.Resources_builder{MilliCpu: 2000, MilliCpuMax: 3500, MemoryMb: 2048, MemoryMbMax: 4096, GpuConfig: &pb.GPUConfig{}}.Build()
		if diff := cmp.Diff(resources, def.GetResources(), protocmp.Transform()); diff != "" || def.GetTimeoutSecs() != 5400 {
			t.Errorf("timeout %d s, resources: %s", def.GetTimeoutSecs(), diff)
		}
		sources := []*pb.SecretSource{
			pb.SecretSource_builder{SecretId: new("st-1")}.Build(),
			pb.SecretSource_builder{Env: pb.StringMap_builder{Contents: map[string]string{
				"ACTIONS_RUNNER_INPUT_JITCONFIG": canary, "HF_HOME": "/models", "RUNNER_IDLE_SECONDS": "300", "RUNNER_TRUSTED": "1",
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
		if def.HasSchedulerPlacement() || def.GetCloudProviderStr() != "" || def.HasRuntime() || len(def.GetExperimentalOptionsV2()) != 0 || len(def.GetVolumeMounts()) != 0 || def.GetIncludeOidcIdentityToken() ||
			def.GetNetworkAccess().GetNetworkAccessType() != pb.NetworkAccess_OPEN {
			t.Errorf("got %v", def)
		}
	})
}

func TestASandboxIsToldWhetherJobsOfForksMayRunInIt(t *testing.T) {
	for untrusted, want := range map[bool]string{false: "1", true: ""} {
		r := built(t, nil)
		pool := somePool()
		pool.Untrusted = untrusted
		if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); err != nil {
			t.Fatal(err)
		}
		r.see(func() {
			if env := r.creates[0].GetSecretSources()[0].GetEnv().GetContents(); env["RUNNER_TRUSTED"] != want {
				t.Errorf("untrusted %v: RUNNER_TRUSTED is %q, want %q", untrusted, env["RUNNER_TRUSTED"], want)
			}
		})
	}
}

// GitHub may give it to a job of any of the organization's repositories, public ones, too.
func TestARunnerOfAnOrganizationIsToldIfItsPoolTrustsNoPublicRepository(t *testing.T) {
	for scope, want := range map[string]string{"octo": "private", "enterprises/octo-corp": "private", "octo/repo": "1"} {
		r := built(t, nil)
		runner, pool := newRunner(1), somePool()
		runner.Scope, runner.Job.Owner, runner.Job.Repo, pool.OnlyPrivate = scope, "octo", "repo", true
		if _, err := r.fleet.Create(t.Context(), runner, pool, config.NewSecret(canary)); err != nil {
			t.Fatal(err)
		}
		r.see(func() {
			if got := r.creates[0].GetSecretSources()[0].GetEnv().GetContents()["RUNNER_TRUSTED"]; got != want {
				t.Errorf("scope %q: %q, want %q", scope, got, want)
			}
		})
	}
}

func TestASandboxWithDockerIsAVirtualMachineUnlessThePoolWantsGVisor(t *testing.T) {
	for name, test := range map[string]struct {
		runtime, want string
		options       map[string]string
	}{
		"a pool that leaves it to Modal": {"", "vm", map[string]string{}},
		"a pool of virtual machines":     {"vm", "vm", map[string]string{}},
		"a pool of gVisor":               {"gvisor", "gvisor", map[string]string{"enable_docker": "true"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			pool := somePool()
			pool.Runtime, pool.Docker = test.runtime, true
			if _, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary)); err != nil {
				t.Fatal(err)
			}
			r.see(func() {
				def := r.creates[0].GetDefinition()
				env := r.creates[0].GetSecretSources()[0].GetEnv().GetContents()
				if def.GetRuntime() != test.want || env["RUNNER_DOCKER"] != test.want || !maps.Equal(def.GetExperimentalOptionsV2(), test.options) {
					t.Errorf("runtime %q, its entrypoint is told %q, options %v", def.GetRuntime(), env["RUNNER_DOCKER"], def.GetExperimentalOptionsV2())
				}
			})
		})
	}
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
		change func(*run.Pool)
		fail   error
		want   string
		means  string
	}{
		"a secret that is not there": {
			change: func(p *run.Pool) { p.Secrets = []string{"model-hub", "gone"} }, means: "refused",
			want: `pool default: secret: must exist at Modal (got "gone")`,
		},
		"a volume that is not there": {
			change: func(p *run.Pool) { p.Volumes = []run.Volume{{Name: "gone", Path: "/x"}} }, means: "refused",
			want: `pool default: volume: must exist at Modal (got "gone")`,
		},
		"a secret that can't be looked up now": {
			change: func(p *run.Pool) { p.Secrets = []string{"model-hub"} }, fail: status.Error(codes.PermissionDenied, "no"),
			want: "modal secret model-hub: ", means: "refused",
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
			if got := meaning(err); got != test.means || !strings.HasPrefix(err.Error(), test.want) {
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
