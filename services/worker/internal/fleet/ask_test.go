package fleet_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

// askedModal is the part of Modal that a question needs. Its one sandbox is a directory of this machine, in which questions are run.
type askedModal struct {
	surveyModal // For AuthTokenGet.

	address, tmp string

	mu          sync.Mutex
	unscheduled bool
	unknown     bool // What becomes of the lookup of its task is not known.
	stalls      bool // A call that ends it does not arrive before its caller gives up.
	ended       bool
	ends        bool // It is ending: it takes no command any more, and has ended at the third look.
	looks       int
	lookups     int
	execs       map[string]*exec.Cmd
	said        map[string]string
	starts      []*pb.TaskExecStartRequest
	runners     []string // Whose it was by its tags as each of them began.
	tags        map[string]string
	mute        bool // What a command says gets lost.
	vanished    bool // Nothing is known of it any more.
}

func (m *askedModal) SandboxWaitV2(context.Context, *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	result := &pb.GenericResult{}
	if m.vanished {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	m.looks++
	if m.ended || m.ends && m.looks > 2 {
		result.SetStatus(pb.GenericResult_GENERIC_STATUS_TERMINATED)
	}
	return pb.SandboxWaitResponse_builder{Result: result}.Build(), nil
}

//nolint:revive // the generated interface spells it so
func (m *askedModal) SandboxGetTaskIdV2(context.Context, *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookups++
	if m.unknown {
		return nil, status.Error(codes.PermissionDenied, "not allowed")
	}
	if m.unscheduled {
		return &pb.SandboxGetTaskIdResponse{}, nil
	}
	task := "ta-1"
	return pb.SandboxGetTaskIdResponse_builder{TaskId: &task}.Build(), nil
}

func (m *askedModal) SandboxTerminateV2(ctx context.Context, _ *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	if m.stalls {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	return &pb.SandboxTerminateResponse{}, nil
}

func (m *askedModal) SandboxGetCommandRouterAccess(
	context.Context, *pb.SandboxGetCommandRouterAccessRequest,
) (*pb.SandboxGetCommandRouterAccessResponse, error) {
	return pb.SandboxGetCommandRouterAccessResponse_builder{Jwt: "e30.e30.e30", Url: "https://" + m.address}.Build(), nil
}

// askedRouter is the sandbox's part.
type askedRouter struct {
	pb.UnimplementedTaskCommandRouterServer
	*askedModal
}

func (m askedRouter) TaskExecStart(ctx context.Context, req *pb.TaskExecStartRequest) (*pb.TaskExecStartResponse, error) {
	if m.refuses(req) {
		return nil, status.Error(codes.FailedPrecondition, "the sandbox is not running")
	}
	args := req.GetCommandArgs()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+m.tmp)
	for _, source := range req.GetSecretSources() {
		for name, value := range source.GetEnv().GetContents() {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	answer, _ := cmd.Output() // How it ends is told by TaskExecWait.
	m.mu.Lock()
	defer m.mu.Unlock()
	m.execs[req.GetExecId()], m.said[req.GetExecId()] = cmd, string(answer)
	return &pb.TaskExecStartResponse{}, nil
}

// refuses notes a command, and says whether none is taken any more.
func (m askedRouter) refuses(req *pb.TaskExecStartRequest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts, m.runners = append(m.starts, req), append(m.runners, m.tags["runner"])
	return m.ends || m.ended
}

func (m askedRouter) TaskExecStdioRead(req *pb.TaskExecStdioReadRequest, stream grpc.ServerStreamingServer[pb.TaskExecStdioReadResponse]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mute {
		return status.Error(codes.PermissionDenied, "it got lost")
	}
	if said := m.said[req.GetExecId()]; said != "" {
		return stream.Send(pb.TaskExecStdioReadResponse_builder{Data: []byte(said)}.Build())
	}
	return nil
}

func (m askedRouter) TaskExecWait(_ context.Context, req *pb.TaskExecWaitRequest) (*pb.TaskExecWaitResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	code := int32(m.execs[req.GetExecId()].ProcessState.ExitCode())
	return pb.TaskExecWaitResponse_builder{Code: &code}.Build(), nil
}

// newAsked is a Fleet and the sandbox that it can ask.
func newAsked(t *testing.T) (*askedModal, *fleet.Fleet) {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &askedModal{address: lis.Addr().String(), tmp: t.TempDir(), execs: map[string]*exec.Cmd{}, said: map[string]string{}}
	server := grpc.NewServer()
	pb.RegisterModalClientServer(server, m)
	pb.RegisterTaskCommandRouterServer(server, askedRouter{askedModal: m})
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Setenv("MODAL_SERVER_URL", "http://"+m.address)
	metrics, err := fleet.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	f := fleet.New(fleet.Options{
		TokenID: config.StaticSecret("ak-1"), TokenSecret: config.StaticSecret("as-1"), App: "runners", Log: slog.New(slog.DiscardHandler), Metrics: metrics,
	})
	t.Cleanup(f.Close)
	return m, f
}

// answers makes the script with which the sandbox answers, as far as its entrypoint has come.
func (m *askedModal) answers(t *testing.T, script string) {
	t.Helper()
	m.hasScript(t, "ask.sh", script)
}

func (m *askedModal) hasScript(t *testing.T, name, script string) {
	t.Helper()
	state := filepath.Join(m.tmp, "runner-state")
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Only what answers is believed: a runner that works may be in a sandbox that is too full to answer.
func TestAQuestionThatGetsNoAnswerSaysNothingOfTheRunner(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         run.Evidence
		err          string
	}{
		{name: "the entrypoint says whose the runner is", script: `[ "$*" = release ] && echo busy`, want: run.HasJob},
		{name: "the entrypoint has not come as far as to answer", want: run.Starting},
		{name: "the shell is killed for lack of memory", script: "kill -KILL $$", err: `no answer: it said "", and ended with code -1`},
		{name: "the shell can't fork", script: "echo 'fork: Cannot allocate memory' >&2; exit 254", err: "ended with code 254"},
		{name: "the shell ends without a word", script: "exit 0", err: "ended with code 0"},
		{name: "the answer is not the entrypoint's to give", script: "echo unscheduled", err: `it said "unscheduled\n"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, f := newAsked(t)
			if tt.script != "" {
				m.answers(t, tt.script)
			}
			got, err := f.Ask(t.Context(), v2ID, true)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("it is said to be %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.ended {
				t.Error("its sandbox was ended from outside")
			}
		})
	}
}

// The SDK would wait for minutes until such a sandbox can be asked. Modal's word is enough: nothing has ever run in it.
func TestASandboxThatIsNotScheduledIsNotWaitedFor(t *testing.T) {
	for _, tt := range []struct {
		name    string
		release bool
		change  func(*askedModal)
		want    run.Evidence
		ended   bool
		err     string
	}{
		{name: "whether it has a job is known at once", want: run.Unscheduled},
		{name: "one that is not needed is ended", release: true, want: run.ReleasedNow, ended: true},
		{
			name: "not when it may have started meanwhile", release: true, change: func(m *askedModal) { m.stalls = true },
			err: "end a sandbox that is not scheduled",
		},
		{name: "nor when Modal does not tell", release: true, change: func(m *askedModal) { m.unknown = true }, err: "not allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, f := newAsked(t)
			m.unscheduled = true
			if tt.change != nil {
				tt.change(m)
			}
			got, err := f.Ask(t.Context(), v2ID, tt.release)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || got != tt.want {
				t.Errorf("it is said to be %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.ended != tt.ended || m.lookups != 1 {
				t.Errorf("ended %v, after %d lookups; want %v after one", m.ended, m.lookups, tt.ended)
			}
		})
	}
}

// A worker ends the sandbox, while another one asks it.
func TestASandboxThatEndsWhileItIsAskedIsOver(t *testing.T) {
	m, f := newAsked(t)
	m.ends = true
	if got, err := f.Ask(t.Context(), v2ID, true); got != run.Over || err != nil {
		t.Errorf("it is said to be %q, %v", got, err)
	}
}
