package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

func (m *askedModal) SandboxTagsGetV2(context.Context, *pb.SandboxTagsGetRequest) (*pb.SandboxTagsGetResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.vanished {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	return pb.SandboxTagsGetResponse_builder{Tags: tagList(m.tags)}.Build(), nil
}

func (m *askedModal) SandboxTagsSetV2(_ context.Context, req *pb.SandboxTagsSetRequest) (*emptypb.Empty, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tags = tagMap(req.GetTags())
	return &emptypb.Empty{}, nil
}

// What follows is the older backend's, on which sandboxes with GPUs are.

func (m *askedModal) SandboxTagsGet(ctx context.Context, req *pb.SandboxTagsGetRequest) (*pb.SandboxTagsGetResponse, error) {
	return m.SandboxTagsGetV2(ctx, req)
}

func (m *askedModal) SandboxTagsSet(ctx context.Context, req *pb.SandboxTagsSetRequest) (*emptypb.Empty, error) {
	return m.SandboxTagsSetV2(ctx, req)
}

func (m *askedModal) SandboxWait(ctx context.Context, req *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	return m.SandboxWaitV2(ctx, req)
}

//nolint:revive // the generated interface spells it so
func (m *askedModal) SandboxGetTaskId(ctx context.Context, req *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	return m.SandboxGetTaskIdV2(ctx, req)
}

func (m *askedModal) TaskGetCommandRouterAccess(
	context.Context, *pb.TaskGetCommandRouterAccessRequest,
) (*pb.TaskGetCommandRouterAccessResponse, error) {
	return pb.TaskGetCommandRouterAccessResponse_builder{Jwt: "e30.e30.e30", Url: "https://" + m.address}.Build(), nil
}

func tagList(tags map[string]string) (list []*pb.SandboxTag) {
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, pb.SandboxTag_builder{TagName: name, TagValue: tags[name]}.Build())
	}
	return list
}

func tagMap(list []*pb.SandboxTag) map[string]string {
	tags := map[string]string{}
	for _, tag := range list {
		tags[tag.GetTagName()] = tag.GetTagValue()
	}
	return tags
}

// SandboxListV2 lists those that run, as far as they were created by calls of the newer backend.
func (m *fakeModal) SandboxListV2(_ context.Context, req *pb.SandboxListRequest) (*pb.SandboxListResponse, error) {
	var page []*pb.SandboxInfo
	for n, create := range m.creates {
		name := create.GetDefinition().GetName()
		has, created := tagMap(create.GetTags()), float64(n+1)
		fits := maps.Clone(has)
		maps.Copy(fits, tagMap(req.GetTags()))
		if m.names[name] != "" && maps.Equal(fits, has) && (req.GetBeforeTimestamp() == 0 || created < req.GetBeforeTimestamp()) {
			page = append(page, info(m.names[name], create.GetAppId(), name, created, has))
		}
	}
	slices.Reverse(page)
	return pb.SandboxListResponse_builder{Sandboxes: page}.Build(), nil
}

func TestTheCallThatCreatesAWarmSandboxHasAllButARunner(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*run.Pool)
		trusted string
		more    map[string]string
	}{
		"a pool that trusts its repositories":    {func(*run.Pool) {}, "1", nil},
		"a pool that takes jobs of forks":        {func(p *run.Pool) { p.Untrusted = true }, "", nil},
		"a pool that trusts no public ones":      {func(p *run.Pool) { p.OnlyPrivate = true }, "private", nil},
		"a pool that has Docker":                 {func(p *run.Pool) { p.Docker = true }, "1", map[string]string{"RUNNER_DOCKER": "vm"}},
		"one whose variables say something else": {func(p *run.Pool) { p.Env = map[string]string{"RUNNER_WARM_SECONDS": "9"} }, "1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			pool := run.Pool{Name: "big", CPU: 1.5, MemoryMiB: 2048, Timeout: 90 * time.Minute, IdleLimit: 3 * time.Minute}
			test.change(&pool)
			id, err := r.fleet.Warm(t.Context(), "warm-7", pool)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.fleet.Warm(t.Context(), "warm-7", pool); !errors.Is(err, run.ErrExists) {
				t.Errorf("a second one of the name: %v", err)
			}
			if found, err := r.fleet.FindWarm(t.Context(), "warm-7"); err != nil || found != id {
				t.Errorf("found %q, %v, want %q", found, err, id)
			}
			if found, err := r.fleet.FindWarm(t.Context(), "warm-8"); err != nil || found != "" {
				t.Errorf("found %q, %v, under another name", found, err)
			}
			r.see(func() {
				req := r.creates[0]
				def := req.GetDefinition()
				if def.GetTimeoutSecs() != 90*60+2*60*60 || def.GetImageId() != "im-3" || def.GetResources().GetMilliCpu() != 1500 || len(def.GetVolumeMounts()) != 0 {
					t.Errorf("got %v", def)
				}
				want := map[string]string{"managed-by": "modal-github-runner", "pool": "big", "deployment": "deployment-1", "warm": "1"}
				if diff := cmp.Diff(want, tagMap(req.GetTags())); diff != "" {
					t.Errorf("tags: %s", diff)
				}
				env := map[string]string{}
				for _, source := range req.GetSecretSources() {
					maps.Copy(env, source.GetEnv().GetContents())
				}
				want = map[string]string{"RUNNER_IDLE_SECONDS": "180", "RUNNER_WARM_SECONDS": "5400", "RUNNER_TIMEOUT_SECONDS": "5400"}
				maps.Copy(want, test.more)
				if test.trusted != "" {
					want["RUNNER_TRUSTED"] = test.trusted
				}
				if diff := cmp.Diff(want, env); diff != "" {
					t.Errorf("environment: %s", diff)
				}
			})
		})
	}
}

// Names are unique in an App, which deployments may share.
func TestAWarmSandboxOfAnotherDeploymentIsNeverFoundNorInTheWay(t *testing.T) {
	r := built(t, nil)
	other := newRigOf(t, r.fakeModal, func(o *fleet.Options) {
		o.Deployment = func(context.Context) (string, error) { return "deployment-2", nil }
	})
	other.build(t, "2.330.0", 1)
	ids := map[string]bool{}
	for _, f := range []*fleet.Fleet{r.fleet, other.fleet} {
		if found, err := f.FindWarm(t.Context(), "warm-1"); err != nil || found != "" {
			t.Errorf("found %q, %v", found, err)
		}
		id, err := f.Warm(t.Context(), "warm-1", somePool())
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Errorf("the sandboxes %v", ids)
	}
	listed, err := r.fleet.List(t.Context())
	if err != nil || len(listed) != 2 {
		t.Fatalf("listed %v, %v", listed, err)
	}
	for _, s := range listed {
		if s.Warm != "warm-1" || s.Ours || !ids[s.ID] {
			t.Errorf("listed %+v", s)
		}
	}
}

func TestAWarmSandboxIsFoundAsThatOfItsRunner(t *testing.T) {
	r := built(t, nil)
	name := run.Name{Job: 289782451, Attempt: 1}
	id, err := r.fleet.Warm(t.Context(), "warm-1", somePool())
	if err != nil {
		t.Fatal(err)
	}
	if found, err := r.fleet.Find(t.Context(), name); err != nil || found != "" {
		t.Errorf("before it was given found %q, %v", found, err)
	}
	r.see(func() {
		for _, deployment := range []string{"deployment-2", "deployment-1"} {
			tags := map[string]string{"managed-by": "modal-github-runner", "deployment": deployment, "warm": "1", "runner": "mgr-289782451-1"}
			r.creates = append(r.creates, proto.CloneOf(r.creates[0]))
			last := r.creates[len(r.creates)-1]
			last.SetTags(tagList(tags))
			last.GetDefinition().SetName("given-" + deployment)
			r.names["given-"+deployment] = "sb-" + deployment
		}
	})
	if found, err := r.fleet.Find(t.Context(), name); err != nil || found != "sb-deployment-1" {
		t.Errorf("found %q, %v; want that of its deployment, and not %s", found, err, id)
	}
	own, err := r.create(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := r.fleet.Find(t.Context(), name); err != nil || found != own {
		t.Errorf("found %q, %v; want the one of its name, %s", found, err, own)
	}
	if err := r.fleet.Terminate(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	r.failing("SandboxListV2", -1, status.Error(codes.PermissionDenied, "no"))
	if found, err := r.fleet.Find(t.Context(), name); err == nil || found != "" {
		t.Errorf("found %q, %v; want an error", found, err)
	}
}

func TestThatThereIsNoWarmSandboxIsSaidOnlyIfItIsSure(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(*rig)
		change func(*run.Pool)
		want   string
	}{
		"Modal has no room":        {func(r *rig) { r.failing("SandboxCreateV2", -1, status.Error(codes.ResourceExhausted, "no")) }, nil, "limited"},
		"Modal does not accept it": {func(r *rig) { r.failing("SandboxCreateV2", -1, status.Error(codes.InvalidArgument, "no")) }, nil, "refused"},
		"Modal is down":            {func(r *rig) { r.failing("SandboxCreateV2", -1, status.Error(codes.Unavailable, "no")) }, nil, "not made"},
		"a pool has no timeout":    {func(*rig) {}, func(p *run.Pool) { p.Timeout = 0 }, "refused"},
		"an image is not there":    {func(*rig) {}, func(p *run.Pool) { p.Image = run.Image{Name: "mine", Registry: "a"} }, "no image"},
		"the workers' id can't be had": {func(r *rig) {
			r.fleet.Deployment = func(context.Context) (string, error) { return "", errors.New("away") }
		}, nil, "not made"},
		"Modal made one, and fails then": {func(r *rig) {
			r.see(func() { r.after = map[string]error{"SandboxCreateV2": status.Error(codes.DataLoss, "boom")} })
		}, nil, "maybe"},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			test.spoil(r)
			pool := somePool()
			if test.change != nil {
				test.change(&pool)
			}
			if _, err := r.fleet.Warm(t.Context(), "warm-1", pool); meaning(err) != test.want {
				t.Errorf("%s, want %s: %v", meaning(err), test.want, err)
			}
		})
	}
}

// registered is a runner with the registration of that id.
func registered(attempt int, id int64) run.Runner {
	r := newRunner(attempt)
	r.GitHubID = id
	return r
}

// jit is the configuration of a registration. Its value must show up nowhere but in the runner.
func jit(id int64) config.Secret { return config.NewSecret(canary + fmt.Sprint(id)) }

// runs is a runner that says which JIT configuration it has, until it is interrupted.
const runs = `echo "$ACTIONS_RUNNER_INPUT_JITCONFIG"; ` + untilInterrupted

// newWarm is a Fleet and a sandbox that waits for a runner, with the entrypoint itself in it.
func newWarm(t *testing.T) (*askedModal, *fleet.Fleet, *sandboxProcess) {
	t.Helper()
	m, f := newAsked(t)
	m.tags = map[string]string{"managed-by": "modal-github-runner", "pool": "big", "deployment": "deployment-1", "warm": "1"}
	p := &sandboxProcess{tmp: m.tmp}
	p.startWarm(t, "600", runs, nil, nil)
	eventually(t, "it is warm", func() bool { said, err := f.Ask(t.Context(), v2ID, false); return said == run.Warm && err == nil })
	m.see(func() { m.starts, m.runners = nil, nil })
	return m, f, p
}

func (m *askedModal) see(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func TestAWarmSandboxBecomesTheRunnersThatItIsGiven(t *testing.T) {
	for _, id := range []string{v2ID, v1ID} {
		t.Run(id, func(t *testing.T) {
			m, f, p := newWarm(t)
			began := time.Now().Add(-time.Second)
			for range 2 { // Given once more it is given once.
				if err := f.Give(t.Context(), id, registered(2, 41), jit(41)); err != nil {
					t.Fatal(err)
				}
			}
			if got := p.line(t); got != canary+"41" {
				t.Errorf("its runner has %q", got)
			}
			eventually(t, "its runner waits for a job", func() bool { said, err := f.Ask(t.Context(), id, false); return said == run.Idle && err == nil })
			m.see(func() {
				for n, start := range m.starts[:2] {
					if m.runners[n] != "mgr-289782451-2" {
						t.Errorf("it was given before it had the tags of its runner: %q", m.runners)
					}
					if got := start.GetSecretSources(); len(got) != 1 || !maps.Equal(got[0].GetEnv().GetContents(), map[string]string{"ACTIONS_RUNNER_INPUT_JITCONFIG": canary + "41"}) {
						t.Errorf("the variables of the command are %v", got)
					}
					if args := start.GetCommandArgs(); !slices.Equal(args[3:], []string{"give", "mgr-289782451-2", "41"}) {
						t.Errorf("the command is %q", args)
					}
					start.SetSecretSources(nil)
					if rest, err := proto.Marshal(start); err != nil || strings.Contains(string(rest), canary) {
						t.Errorf("the JIT configuration is not only in the environment: %v, %v", start, err)
					}
				}
				at, err := time.Parse(time.RFC3339, m.tags["given-at"])
				if err != nil || at.Before(began) || at.After(time.Now()) {
					t.Errorf("given at %v, %v", at, err)
				}
				delete(m.tags, "given-at")
				if diff := cmp.Diff(map[string]string{
					"managed-by": "modal-github-runner", "repository": "octo/repo", "job-id": "289782451", "pool": "big", "deployment": "deployment-1",
					"warm": "1", "runner": "mgr-289782451-2",
				}, m.tags); diff != "" {
					t.Errorf("tags: %s", diff)
				}
			})
			if said, err := f.Ask(t.Context(), id, true); said != run.ReleasedNow || err != nil {
				t.Errorf("released, it says %q, %v", said, err)
			}
			p.end(t)
			p.nothingLeft(t)
		})
	}
}

// notGiven fails unless err says for sure that the runner has no sandbox, or may have one.
func notGiven(t *testing.T, what string, err error, sure bool) {
	t.Helper()
	if err == nil || errors.Is(err, run.ErrNotMade) != sure || strings.Contains(err.Error(), canary) {
		t.Errorf("%s: %v; want an error that is sure: %v", what, err, sure)
	}
}

func TestOfRunnersThatGetOneWarmSandboxAtOnceOneHasItAndTheOthersAreSure(t *testing.T) {
	m, f, p := newWarm(t)
	errs := make([]error, 4)
	var all sync.WaitGroup
	for n := range errs {
		all.Go(func() { errs[n] = f.Give(t.Context(), v2ID, registered(n+1, int64(n)), jit(int64(n))) })
	}
	all.Wait()
	won := slices.Index(errs, nil)
	for n, err := range errs {
		if n != won {
			notGiven(t, fmt.Sprint("runner ", n+1), err, true)
		}
	}
	if got := p.line(t); won < 0 || got != canary+fmt.Sprint(won) {
		t.Errorf("they heard %v, and it runs %q", errs, got)
	}
	m.see(func() { m.tags["runner"] = "mgr-289782451-9" })
	notGiven(t, "one that is another's by its tags", f.Give(t.Context(), v2ID, registered(8, 8), jit(8)), true)
	m.see(func() {
		if m.tags["runner"] != "mgr-289782451-9" {
			t.Errorf("it was taken from its runner: %v", m.tags)
		}
	})
	if _, err := f.Ask(t.Context(), v2ID, true); err != nil {
		t.Error(err)
	}
	p.end(t)
	p.nothingLeft(t)
}

func TestAWarmSandboxIsSaidToHaveNoRunnerOnlyIfItIsSure(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*testing.T, *askedModal, *fleet.Fleet, *sandboxProcess)
		sure  bool
		runs  bool // The runner begins in spite of that.
	}{
		"it was released": {func(t *testing.T, _ *askedModal, f *fleet.Fleet, _ *sandboxProcess) {
			t.Helper()
			if said, err := f.Ask(t.Context(), v2ID, true); said != run.ReleasedNow || err != nil {
				t.Errorf("released, it says %q, %v", said, err)
			}
		}, true, false},
		"it has ended":             {func(_ *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) { m.ended = true }, true, false},
		"it ends just now":         {func(_ *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) { m.ends, m.looks = true, 1 }, true, false},
		"nothing is known of it":   {func(_ *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) { m.vanished = true }, true, false},
		"it has not booted":        {func(_ *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) { m.unscheduled = true }, false, false},
		"Modal does not tell":      {func(_ *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) { m.unknown = true }, false, false},
		"its answer gets lost":     {func(_ *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) { m.mute = true }, false, true},
		"its entrypoint is not up": {func(_ *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) { m.tmp = "/nonexistent" }, false, false},
		"it says what nobody knows": {func(t *testing.T, m *askedModal, _ *fleet.Fleet, _ *sandboxProcess) {
			t.Helper()
			m.tmp = t.TempDir()
			m.hasScript(t, "give.sh", `echo "$ACTIONS_RUNNER_INPUT_JITCONFIG"; exit 3`)
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, f, p := newWarm(t)
			test.spoil(t, m, f, p)
			began := time.Now()
			notGiven(t, name, f.Give(t.Context(), v2ID, registered(1, 41), jit(41)), test.sure)
			if took := time.Since(began); took > patience/2 {
				t.Errorf("it took %v", took)
			}
			if test.runs {
				if got := p.line(t); got != canary+"41" {
					t.Errorf("its runner has %q", got)
				}
			}
			if said := p.ask(t, "release"); said != "released" {
				t.Errorf("released, it says %q", said)
			}
			if code, out := p.end(t); (code == 0) == test.runs || strings.Contains(out, canary) {
				t.Errorf("exit code %d, its runner said %q; %s", code, out, p.errs)
			}
			p.nothingLeft(t)
		})
	}
}
