package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

func TestTheCreateCallCarriesAllThatTheRunnerNeeds(t *testing.T) {
	r := built(t, nil)
	pool := run.Pool{
		Name: "big", CPU: 1.5, CPULimit: 4, MemoryMiB: 1024, MemoryLimitMiB: 2048, Timeout: 90 * time.Minute, IdleLimit: 3 * time.Minute,
	}
	id, err := r.fleet.Create(t.Context(), newRunner(2), pool, config.NewSecret(canary))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("entrypoint.sh")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.ReadFile("cache.sh")
	if err != nil {
		t.Fatal(err)
	}
	r.see(func() {
		if len(r.creates) != 1 || id != r.names["mgr-289782451-2"] {
			t.Fatalf("%d create calls; the id is %q of %v", len(r.creates), id, r.names)
		}
		req := r.creates[0]
		def := req.GetDefinition()
		if def.GetTimeoutSecs() != 5400 || def.GetImageId() != "im-3" || req.GetAppId() != "ap-1" {
			t.Errorf("timeout %d s, image %q, app %q", def.GetTimeoutSecs(), def.GetImageId(), req.GetAppId())
		}
		if diff := cmp.Diff([]string{"/bin/bash", "-c", string(script), "entrypoint", string(cache)}, def.GetEntrypointArgs()); diff != "" {
			t.Errorf("command: %s", diff)
		}
		has := def.GetResources()
		if has.GetMilliCpu() != 1500 || has.GetMilliCpuMax() != 4000 || has.GetMemoryMb() != 1024 || has.GetMemoryMbMax() != 2048 {
			t.Errorf("resources: %v", has)
		}
		tags := map[string]string{}
		for _, tag := range req.GetTags() {
			tags[tag.GetTagName()] = tag.GetTagValue()
		}
		if diff := cmp.Diff(map[string]string{
			"managed-by": "modal-github-runner", "repository": "octo/repo", "job-id": "289782451", "pool": "big", "deployment": "deployment-1",
		}, tags); diff != "" {
			t.Errorf("tags: %s", diff)
		}
		env := map[string]string{}
		for _, source := range req.GetSecretSources() {
			maps.Copy(env, source.GetEnv().GetContents())
		}
		if diff := cmp.Diff(map[string]string{"ACTIONS_RUNNER_INPUT_JITCONFIG": canary, "RUNNER_IDLE_SECONDS": "180", "RUNNER_TRUSTED": "1"}, env); diff != "" {
			t.Errorf("environment: %s", diff)
		}
		req.SetSecretSources(nil)
		if rest, err := proto.Marshal(req); err != nil || strings.Contains(string(rest), canary) {
			t.Errorf("the JIT configuration is not only in the environment: %v, %v", req, err)
		}
	})
}

func TestNoSandboxIsCreatedThatNobodyCouldTellFromAnotherDeployments(t *testing.T) {
	r := built(t, nil)
	cause := errors.New("no such bucket")
	r.fleet.Deployment = func(context.Context) (string, error) { return "", cause }
	if id, err := r.fleet.Create(t.Context(), newRunner(2), somePool(), config.NewSecret(canary)); !errors.Is(err, cause) {
		t.Errorf("got %q, %v", id, err)
	}
	r.see(func() {
		if len(r.creates) != 0 {
			t.Errorf("%d create calls", len(r.creates))
		}
	})
}

func TestASandboxAlwaysHasAHardTimeout(t *testing.T) {
	faultstest.Cover(t, "F53")
	r := built(t, nil)
	for _, timeout := range []time.Duration{0, -time.Hour, time.Second - 1} {
		pool := somePool()
		pool.Timeout = timeout
		_, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary))
		want := fmt.Sprintf("pool default: timeout: must be at least 1s (got %v)", timeout)
		if _, refused := errors.AsType[*run.RefusedError](err); !refused || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	r.see(func() {
		if len(r.creates) != 0 {
			t.Errorf("created: %v", r.creates)
		}
	})
}

func TestASecondSandboxOfANameIsRefused(t *testing.T) {
	r := built(t, nil)
	first, err := r.create(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.create(t.Context(), 1); !errors.Is(err, run.ErrExists) {
		t.Errorf("got %v", err)
	}
	if found, err := r.fleet.Find(t.Context(), run.Name{Job: 289782451, Attempt: 1}); err != nil || found != first {
		t.Errorf("found %q, %v, want %q", found, err, first)
	}
}

func TestFindTellsASandboxThatDoesNotRunFromAnError(t *testing.T) {
	r := newRig(t, nil)
	if id, err := r.fleet.Find(t.Context(), run.Name{Job: 1, Attempt: 1}); err != nil || id != "" {
		t.Errorf("got %q, %v, want none", id, err)
	}
	r.failing("SandboxGetFromNameV2", -1, status.Error(codes.PermissionDenied, "no"))
	if id, err := r.fleet.Find(t.Context(), run.Name{Job: 1, Attempt: 1}); err == nil || id != "" {
		t.Errorf("got %q, %v, want an error", id, err)
	}
}

func TestTerminateSucceedsHoweverOftenAndForWhateverHasEnded(t *testing.T) {
	r := built(t, nil)
	id, err := r.create(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{id, id, "sb-01ARZ3NDEKTSV4RRFFQunknown"} {
		if err := r.fleet.Terminate(t.Context(), id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	r.see(func() {
		if !slices.Equal(r.ended, []string{id, id}) || len(r.names) != 0 {
			t.Errorf("ended %v, still running %v", r.ended, r.names)
		}
	})
	r.failing("SandboxTerminateV2", -1, status.Error(codes.ResourceExhausted, "slow down"))
	if _, limited := errors.AsType[*run.LimitedError](r.fleet.Terminate(t.Context(), id)); !limited {
		t.Error("a limit is not told")
	}
}

func TestARotatedTokenIsInUseForTheNextCall(t *testing.T) {
	faultstest.Cover(t, "F62")
	file := filepath.Join(t.TempDir(), "token")
	write := func(id string) {
		if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ak-1")
	r := newRig(t, func(o *fleet.Options) {
		source, err := config.FileSecret(file)
		if err != nil {
			t.Fatal(err)
		}
		o.TokenID = source
	})
	seen := func() (tokens []string) { r.see(func() { tokens = slices.Clone(r.tokens) }); return tokens }
	ask := func() {
		if _, err := r.fleet.Find(t.Context(), run.Name{Job: 1, Attempt: 1}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	if got := seen(); !slices.Equal(got, []string{"ak-1"}) {
		t.Fatalf("calls came from %v", got)
	}
	write("ak-rotated")
	eventually(t, "a call with the rotated token", func() bool { ask(); return slices.Contains(seen(), "ak-rotated") })
	var logins int
	r.see(func() { logins = r.calls["AuthTokenGet"] })
	ask()
	r.see(func() {
		if logins != 2 || r.calls["AuthTokenGet"] != 2 {
			t.Errorf("%d logins, then %d, want one for each token", logins, r.calls["AuthTokenGet"])
		}
	})
}

func TestWithoutATokenACallFailsAndDoesNotHang(t *testing.T) {
	r := built(t, nil)
	r.fleet.Close()
	r.failing("AuthTokenGet", -1, status.Error(codes.Unauthenticated, "no such token"))
	if _, err := r.create(t.Context(), 1); status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v", err)
	}
}
