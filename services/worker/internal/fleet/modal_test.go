package fleet_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/logtest"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// canary stands for every secret: it must show up nowhere but in the one variable that it is for.
	canary = "canary-jit-6d1f"
	// patience bounds everything that a loaded machine may delay.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) {
	// The developer's own ~/.modal.toml must not be read.
	if err := os.Setenv("MODAL_CONFIG_PATH", os.DevNull); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// fakeModal is the part of Modal's control plane that launches need.
type fakeModal struct {
	pb.UnimplementedModalClientServer

	mu        sync.Mutex
	tokens    []string // The token ids that made a call, each once.
	apps      []string // The Apps made, with their environments.
	layers    [][]string
	images    []*pb.Image         // Of each layer.
	breaks    func(string) string // What the build of a layer with these commands says before it fails; empty if it does not.
	said      map[string]string   // By the ids of layers that failed.
	creates   []*pb.SandboxCreateV2Request
	ended     []string
	names     map[string]string          // The running sandboxes' ids.
	older     []*pb.SandboxCreateRequest // Those with GPUs.
	variables []map[string]string        // Of those.
	crowded   bool                       // There is no machine for those.
	gone      map[string]error           // Why no sandbox starts from the App or the image of this id any more.

	fail  func(method string) error // What a call answers instead, if not nil.
	after map[string]error          // What calls answer once they have taken effect.
	stop  func()                    // Ends it.
	calls map[string]int
}

// enter counts a call and says how it fails.
func (m *fakeModal) enter(ctx context.Context, method string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[method]++
	if id := metadata.ValueFromIncomingContext(ctx, "x-modal-token-id"); len(id) == 1 && !slices.Contains(m.tokens, id[0]) {
		m.tokens = append(m.tokens, id[0])
	}
	if m.fail == nil {
		return nil
	}
	return m.fail(method)
}

func (m *fakeModal) intercept(ctx context.Context, req any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := m.enter(ctx, call.FullMethod[strings.LastIndex(call.FullMethod, "/")+1:]); err != nil {
		if errors.Is(err, errHang) {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	reply, err := next(ctx, req)
	if late := m.after[call.FullMethod[strings.LastIndex(call.FullMethod, "/")+1:]]; err == nil && late != nil {
		return nil, late
	}
	return reply, err
}

// errHang makes a call wait for its caller to give up.
var errHang = errors.New("hang")

func (m *fakeModal) AuthTokenGet(context.Context, *pb.AuthTokenGetRequest) (*pb.AuthTokenGetResponse, error) {
	claims := fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix())
	return pb.AuthTokenGetResponse_builder{Token: "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".e30"}.Build(), nil
}

func (m *fakeModal) AppGetOrCreate(_ context.Context, req *pb.AppGetOrCreateRequest) (*pb.AppGetOrCreateResponse, error) {
	if app := fmt.Sprintf("ap-%d", len(m.apps)); len(m.apps) > 0 && m.gone[app] == nil {
		return pb.AppGetOrCreateResponse_builder{AppId: app}.Build(), nil
	}
	if req.GetObjectCreationType() != pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING {
		return nil, status.Error(codes.NotFound, "no such app")
	}
	m.apps = append(m.apps, req.GetEnvironmentName()+"/"+req.GetAppName())
	return pb.AppGetOrCreateResponse_builder{AppId: fmt.Sprintf("ap-%d", len(m.apps))}.Build(), nil
}

func (m *fakeModal) EnvironmentGetOrCreate(context.Context, *pb.EnvironmentGetOrCreateRequest) (*pb.EnvironmentGetOrCreateResponse, error) {
	settings := pb.EnvironmentSettings_builder{ImageBuilderVersion: "2025.06"}.Build()
	return pb.EnvironmentGetOrCreateResponse_builder{
		EnvironmentId: "en-1", Metadata: pb.EnvironmentMetadata_builder{Name: "main", Settings: settings}.Build(),
	}.Build(), nil
}

func (m *fakeModal) ImageGetOrCreate(_ context.Context, req *pb.ImageGetOrCreateRequest) (*pb.ImageGetOrCreateResponse, error) {
	m.layers, m.images = append(m.layers, req.GetImage().GetDockerfileCommands()), append(m.images, req.GetImage())
	id := fmt.Sprintf("im-%d", len(m.layers))
	if m.breaks != nil {
		if log := m.breaks(strings.Join(req.GetImage().GetDockerfileCommands(), "\n")); log != "" {
			m.said[id] = log
			return pb.ImageGetOrCreateResponse_builder{ImageId: id}.Build(), nil
		}
	}
	return pb.ImageGetOrCreateResponse_builder{
		ImageId: id,
		Result:  pb.GenericResult_builder{Status: pb.GenericResult_GENERIC_STATUS_SUCCESS}.Build(),
	}.Build(), nil
}

func (m *fakeModal) ImageJoinStreaming(req *pb.ImageJoinStreamingRequest, stream grpc.ServerStreamingServer[pb.ImageJoinStreamingResponse]) error {
	m.mu.Lock()
	log := m.said[req.GetImageId()]
	m.mu.Unlock()
	for line := range strings.Lines(log) {
		if err := stream.Send(pb.ImageJoinStreamingResponse_builder{TaskLogs: []*pb.TaskLogs{pb.TaskLogs_builder{Data: line}.Build()}}.Build()); err != nil {
			return err
		}
	}
	return stream.Send(pb.ImageJoinStreamingResponse_builder{
		Result: pb.GenericResult_builder{Status: pb.GenericResult_GENERIC_STATUS_FAILURE, Exception: "exit code 1"}.Build(), Eof: true,
	}.Build())
}

// published are the images that somebody else has made.
var published = map[string]string{"im-0": "im-0", "staging/golden:v2": "im-golden"}

//nolint:revive // the generated interface spells it so
func (m *fakeModal) ImageFromId(_ context.Context, req *pb.ImageFromIdRequest) (*pb.ImageFromIdResponse, error) {
	id := published[req.GetImageId()]
	if n, err := strconv.Atoi(strings.TrimPrefix(req.GetImageId(), "im-")); err == nil && n <= len(m.layers) && m.gone[req.GetImageId()] == nil {
		id = req.GetImageId()
	}
	if id != "" {
		return pb.ImageFromIdResponse_builder{ImageId: id}.Build(), nil
	}
	return nil, status.Error(codes.NotFound, "no such image")
}

func (m *fakeModal) ImageGetByTag(_ context.Context, req *pb.ImageGetByTagRequest) (*pb.ImageGetByTagResponse, error) {
	if id := published[req.GetTag()]; id != "" {
		return pb.ImageGetByTagResponse_builder{ImageId: id}.Build(), nil
	}
	return nil, status.Error(codes.NotFound, "no such image")
}

// named are the secrets and volumes that exist, with their ids.
var named = map[string]string{"model-hub": "st-1", "models": "vo-1", "scratch": "vo-2"}

func (m *fakeModal) SecretGetOrCreate(_ context.Context, req *pb.SecretGetOrCreateRequest) (*pb.SecretGetOrCreateResponse, error) {
	id := named[req.GetDeploymentName()]
	if id == "" || req.GetEnvironmentName() != "staging" {
		return m.ephemeralSecret(req)
	}
	return pb.SecretGetOrCreateResponse_builder{SecretId: id}.Build(), nil
}

func (m *fakeModal) VolumeGetOrCreate(_ context.Context, req *pb.VolumeGetOrCreateRequest) (*pb.VolumeGetOrCreateResponse, error) {
	id := named[req.GetDeploymentName()]
	switch {
	case id != "" && req.GetEnvironmentName() == "staging":
	case id == "" && req.GetObjectCreationType() == pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
		return pb.VolumeGetOrCreateResponse_builder{
			VolumeId: "made:" + req.GetDeploymentName(), Metadata: pb.VolumeMetadata_builder{Version: req.GetVersion()}.Build(),
		}.Build(), nil
	default:
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	return pb.VolumeGetOrCreateResponse_builder{VolumeId: id}.Build(), nil
}

func (m *fakeModal) SandboxCreateV2(_ context.Context, req *pb.SandboxCreateV2Request) (*pb.SandboxCreateV2Response, error) {
	name := req.GetDefinition().GetName()
	for _, id := range []string{req.GetAppId(), req.GetDefinition().GetImageId()} {
		if err, ok := m.gone[id]; ok {
			return nil, err
		}
	}
	if _, ok := m.names[name]; ok {
		return nil, status.Error(codes.AlreadyExists, "a sandbox of this name runs")
	}
	m.creates = append(m.creates, req)
	m.names[name] = fmt.Sprintf("sb-01ARZ3NDEKTSV4RRFFQ69G%04d", len(m.creates))
	return pb.SandboxCreateV2Response_builder{SandboxId: m.names[name], TaskId: "ta-1"}.Build(), nil
}

func (m *fakeModal) SandboxTerminate(_ context.Context, req *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	m.ended = append(m.ended, req.GetSandboxId())
	return &pb.SandboxTerminateResponse{}, nil
}

func (m *fakeModal) SandboxGetFromNameV2(_ context.Context, req *pb.SandboxGetFromNameRequest) (*pb.SandboxGetFromNameResponse, error) {
	if id, ok := m.names[req.GetSandboxName()]; ok && req.GetAppName() == "runners" {
		return pb.SandboxGetFromNameResponse_builder{SandboxId: id}.Build(), nil
	}
	return nil, status.Error(codes.NotFound, "no sandbox of this name runs")
}

func (m *fakeModal) SandboxGetFromName(context.Context, *pb.SandboxGetFromNameRequest) (*pb.SandboxGetFromNameResponse, error) {
	return nil, status.Error(codes.NotFound, "no sandbox of this name runs")
}

func (m *fakeModal) SandboxTerminateV2(_ context.Context, req *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	for name, id := range m.names {
		if id == req.GetSandboxId() {
			delete(m.names, name)
		}
	}
	if strings.HasSuffix(req.GetSandboxId(), "unknown") {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	m.ended = append(m.ended, req.GetSandboxId())
	return &pb.SandboxTerminateResponse{}, nil
}

// failing makes the calls of a method fail, as often as said; -1 is always.
func (m *fakeModal) failing(method string, times int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = func(called string) error {
		if called != method || times == 0 {
			return nil
		}
		times--
		return err
	}
}

// see runs f while no call runs.
func (m *fakeModal) see(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// rig is a Fleet on a fakeModal.
type rig struct {
	*fakeModal

	fleet    *fleet.Fleet
	log      *logtest.Buffer
	registry *prometheus.Registry
}

func newRig(t *testing.T, change func(*fleet.Options)) *rig {
	t.Helper()
	m := &fakeModal{names: map[string]string{}, gone: map[string]error{}, said: map[string]string{}, calls: map[string]int{}}
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(m.intercept))
	pb.RegisterModalClientServer(server, m)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	m.stop = server.Stop
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Setenv("MODAL_SERVER_URL", "http://"+lis.Addr().String())
	return newRigOf(t, m, change)
}

// newRigOf is another Fleet on the fakeModal that newRig made last.
func newRigOf(t *testing.T, m *fakeModal, change func(*fleet.Options)) *rig {
	t.Helper()
	r := &rig{fakeModal: m, log: &logtest.Buffer{}, registry: prometheus.NewRegistry()}
	metrics, err := fleet.NewMetrics(r.registry)
	if err != nil {
		t.Fatal(err)
	}
	o := fleet.Options{
		TokenID: config.StaticSecret("ak-1"), TokenSecret: config.StaticSecret("as-" + canary), Environment: "staging", App: "runners", Metrics: metrics,
		Deployment: func(context.Context) (string, error) { return "deployment-1", nil },
		Log:        slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	r.fleet = fleet.New(o)
	t.Cleanup(r.fleet.Close)
	t.Cleanup(func() {
		if strings.Contains(r.log.String(), canary) {
			t.Errorf("a secret was logged: %s", r.log.String())
		}
	})
	return r
}

// built is newRig with the image in place.
func built(t *testing.T, change func(*fleet.Options)) *rig {
	t.Helper()
	r := newRig(t, change)
	r.build(t, "2.330.0", 1)
	return r
}

// eventually waits until what it was told comes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func newRunner(attempt int) run.Runner {
	return run.Runner{
		Name: run.Name{Job: 289782451, Attempt: attempt}, State: run.Launching, Scope: "octo/repo",
		Job: run.Job{ID: 289782451, Owner: "octo", Repo: "repo", Pool: "default", Labels: []string{"modal"}},
	}
}

func (r *rig) create(ctx context.Context, attempt int) (string, error) {
	return r.fleet.Create(ctx, newRunner(attempt), somePool(), config.NewSecret(canary))
}

func somePool() run.Pool {
	return run.Pool{Name: "default", Timeout: time.Hour, IdleLimit: 5 * time.Minute}
}
