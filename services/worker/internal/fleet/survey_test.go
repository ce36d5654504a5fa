package fleet_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

const (
	v1ID = "sb-0123456789abcdefghijAB"     // The shape by which the SDK knows the older backend.
	v2ID = "sb-01ARZ3NDEKTSV4RRFFQ69G5FAV" // Any other.
)

// deployment is the one whose sandboxes are surveyed.
const deployment = "deployment-1"

// surveyModal is the part of Modal's control plane that lists and inspects sandboxes.
type surveyModal struct {
	pb.UnimplementedModalClientServer

	mu        sync.Mutex
	pageSize  int
	sandboxes []*pb.SandboxInfo // The newest first.
	failAt    int               // The list call that fails, from 1.
	flaky     int               // How many list calls fail once before they are served.
	lists     int
	results   map[string]*pb.GenericResult
	waited    []string // The wait calls, by method.
	refusal   error    // Of the wait calls.
	log       []string
}

func (m *surveyModal) AuthTokenGet(context.Context, *pb.AuthTokenGetRequest) (*pb.AuthTokenGetResponse, error) {
	claims := fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix())
	token := strings.Join([]string{"e30", base64.RawURLEncoding.EncodeToString([]byte(claims)), "e30"}, ".")
	return pb.AuthTokenGetResponse_builder{Token: token}.Build(), nil
}

func (m *surveyModal) AppGetOrCreate(_ context.Context, req *pb.AppGetOrCreateRequest) (*pb.AppGetOrCreateResponse, error) {
	switch req.GetAppName() {
	case "forbidden":
		return nil, status.Error(codes.PermissionDenied, "not allowed")
	case "elsewhere":
		return nil, status.Error(codes.NotFound, "no such app")
	}
	return pb.AppGetOrCreateResponse_builder{AppId: "ap-1"}.Build(), nil
}

func (m *surveyModal) SandboxListV2(_ context.Context, req *pb.SandboxListRequest) (*pb.SandboxListResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flaky > 0 {
		m.flaky--
		return nil, status.Error(codes.Unavailable, "try again")
	}
	if m.lists++; m.lists == m.failAt {
		return nil, status.Error(codes.PermissionDenied, "not allowed")
	}
	wanted := map[string]string{}
	for _, tag := range req.GetTags() {
		wanted[tag.GetTagName()] = tag.GetTagValue()
	}
	var page []*pb.SandboxInfo
	for _, s := range m.sandboxes {
		has := map[string]string{}
		for _, tag := range s.GetTags() {
			has[tag.GetTagName()] = tag.GetTagValue()
		}
		fits := maps.Clone(has)
		maps.Copy(fits, wanted)
		older := req.GetBeforeTimestamp() == 0 || s.GetCreatedAt() < req.GetBeforeTimestamp()
		if req.GetAppId() == s.GetAppId() && older && maps.Equal(fits, has) && len(page) < m.pageSize {
			page = append(page, s)
		}
	}
	return pb.SandboxListResponse_builder{Sandboxes: page}.Build(), nil
}

func (m *surveyModal) SandboxWaitV2(_ context.Context, req *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	return m.wait("v2", req)
}

func (m *surveyModal) SandboxWait(_ context.Context, req *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	return m.wait("v1", req)
}

func (m *surveyModal) wait(backend string, req *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waited = append(m.waited, backend)
	if m.refusal != nil {
		return nil, m.refusal
	}
	result, ok := m.results[req.GetSandboxId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	return pb.SandboxWaitResponse_builder{Result: result, Metadata: pb.SandboxHandleMetadata_builder{AppId: "ap-1"}.Build()}.Build(), nil
}

func (m *surveyModal) SandboxGetTaskIdV2( //nolint:revive // the generated interface spells it so
	context.Context, *pb.SandboxGetTaskIdRequest,
) (*pb.SandboxGetTaskIdResponse, error) {
	task := "ta-1"
	return pb.SandboxGetTaskIdResponse_builder{TaskId: &task}.Build(), nil
}

func (m *surveyModal) AppFetchLogs(_ context.Context, req *pb.AppFetchLogsRequest) (*pb.AppFetchLogsResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if req.GetAppId() != "ap-1" || req.GetTaskId() != "ta-1" {
		return nil, status.Error(codes.NotFound, "no such log")
	}
	var items []*pb.TaskLogs
	for _, text := range m.log[max(0, len(m.log)-int(req.GetLimit())):] {
		items = append(items, pb.TaskLogs_builder{Data: text}.Build())
	}
	return pb.AppFetchLogsResponse_builder{Batches: []*pb.TaskLogsBatch{pb.TaskLogsBatch_builder{Items: items}.Build()}}.Build(), nil
}

// survey is a Fleet on m.
func survey(t *testing.T, m *surveyModal, app string) *fleet.Fleet {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // Runs last: a client that is not closed leaves its connection.
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterModalClientServer(server, m)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // Stopped before it began.
			t.Errorf("serve: %v", err)
		}
	})
	t.Setenv("MODAL_SERVER_URL", "http://"+lis.Addr().String())
	t.Setenv("MODAL_CONFIG_PATH", "/nonexistent") // Not the developer's own.
	metrics, err := fleet.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	f := fleet.New(fleet.Options{
		TokenID: config.StaticSecret("ak-test"), TokenSecret: config.StaticSecret("as-test"), App: app,
		Deployment: func(context.Context) (string, error) { return deployment, nil },
		Metrics:    metrics, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(f.Close)
	return f
}

func info(id, app, name string, created float64, tags map[string]string) *pb.SandboxInfo {
	b := pb.SandboxInfo_builder{Id: id, AppId: app, Name: name, CreatedAt: created}
	for name, value := range tags {
		b.Tags = append(b.Tags, pb.SandboxTag_builder{TagName: name, TagValue: value}.Build())
	}
	return b.Build()
}

func TestList(t *testing.T) {
	faultstest.Cover(t, "F50")
	tags := map[string]string{"managed-by": "modal-github-runner", "repository": "o/r", "job-id": "11", "pool": "gpu", "deployment": "d-1"}
	waits := map[string]string{"managed-by": "modal-github-runner", "pool": "gpu", "deployment": "d-1", "warm": "1"}
	given := map[string]string{"warm": "1", "runner": "mgr-15-1", "given-at": "2023-11-14T22:13:20Z"}
	maps.Copy(given, tags)
	foreign := map[string]string{"managed-by": "modal-github-runner", "job-id": "eleven"}
	sandboxes := func() []*pb.SandboxInfo {
		return []*pb.SandboxInfo{
			info(v1ID, "ap-1", "mgr-11-2", 1700000003.25, tags),
			info("sb-other", "ap-2", "mgr-12-1", 1700000002.5, tags),
			info("sb-untagged", "ap-1", "mgr-13-1", 1700000002, nil),
			info(v2ID, "ap-1", "by-hand", 1700000001, foreign),
			info("sb-last", "ap-1", "mgr-14-1", 1700000000, tags),
			info("sb-warm", "ap-1", "warm-7-d-1", 1699999999, waits),
			info("sb-given", "ap-1", "warm-6-d-1", 1600000000, given),
		}
	}
	tests := []struct {
		name, app     string
		failAt, flaky int
		err           string
	}{
		{name: "all pages are read, and what carries our tag is listed", app: "runners"},
		{name: "a call that the SDK repeats is counted once", app: "runners", flaky: 2},
		{name: "a page that fails is an error, not an end", app: "runners", failAt: 3, err: "not allowed"},
		{name: "an App that Modal can't tell of is an error, not an empty list", app: "forbidden", err: "modal app forbidden"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &surveyModal{pageSize: 1, sandboxes: sandboxes(), failAt: tt.failAt, flaky: tt.flaky}
			got, err := survey(t, m, tt.app).List(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || got != nil {
					t.Errorf("got %v, %v, want %q", got, err, tt.err)
				}
				return
			}
			want := []fleet.Sandbox{
				{ID: v1ID, Name: run.Name{Job: 11, Attempt: 2}, Ours: true, CreatedAt: time.UnixMilli(1700000003250), Job: 11, Repo: "o/r", Pool: "gpu", Deployment: "d-1"},
				{ID: v2ID, CreatedAt: time.Unix(1700000001, 0)},
				{ID: "sb-last", Name: run.Name{Job: 14, Attempt: 1}, Ours: true, CreatedAt: time.Unix(1700000000, 0), Job: 11, Repo: "o/r", Pool: "gpu", Deployment: "d-1"},
				{ID: "sb-warm", Warm: "warm-7", CreatedAt: time.Unix(1699999999, 0), Pool: "gpu", Deployment: "d-1"},
				{ID: "sb-given", Name: run.Name{Job: 15, Attempt: 1}, Ours: true, CreatedAt: time.Unix(1700000000, 0).UTC(), Job: 11, Repo: "o/r", Pool: "gpu", Deployment: "d-1"},
			}
			if err != nil || len(got) != len(want) {
				t.Fatalf("got %+v, %v, want %d sandboxes", got, err, len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("got %+v, want %+v", got[i], want[i])
				}
			}
		})
	}
}

func TestTheSandboxesOfAJob(t *testing.T) {
	tags := func(job, deployment string) map[string]string {
		return map[string]string{"managed-by": "modal-github-runner", "job-id": job, "deployment": deployment}
	}
	m := func() *surveyModal {
		return &surveyModal{pageSize: 1, sandboxes: []*pb.SandboxInfo{
			info(v1ID, "ap-1", "mgr-11-2", 1700000003, tags("11", deployment)),
			info("sb-others", "ap-1", "mgr-11-1", 1700000002, tags("11", "another")),
			info("sb-next", "ap-1", "mgr-12-1", 1700000001, tags("12", deployment)),
			info(v2ID, "ap-1", "mgr-11-1", 1700000000, tags("11", deployment)),
		}}
	}
	t.Run("all that this deployment created for it are listed", func(t *testing.T) {
		if got, err := survey(t, m(), "runners").LaunchedFor(t.Context(), 11); err != nil || strings.Join(got, " ") != v1ID+" "+v2ID {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("a page that fails is an error, not an end", func(t *testing.T) {
		broken := m()
		broken.failAt = 2
		if got, err := survey(t, broken, "runners").LaunchedFor(t.Context(), 11); err == nil || got != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("an App that Modal does not know has none", func(t *testing.T) {
		if got, err := survey(t, m(), "elsewhere").LaunchedFor(t.Context(), 11); err != nil || len(got) != 0 {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestAnAppThatModalDoesNotKnowHasNoSandboxes(t *testing.T) {
	m := &surveyModal{pageSize: 1, sandboxes: []*pb.SandboxInfo{info(v2ID, "ap-1", "mgr-11-2", 1700000003, map[string]string{"managed-by": "modal-github-runner"})}}
	if got, err := survey(t, m, "elsewhere").List(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("got %+v, %v, want none", got, err)
	}
}

func TestOutcome(t *testing.T) {
	faultstest.Cover(t, "F63")
	ended := func(s pb.GenericResult_GenericStatus, code int32, exception string) *pb.GenericResult {
		return pb.GenericResult_builder{Status: s, Exitcode: code, Exception: exception}.Build()
	}
	tests := []struct {
		name   string
		result *pb.GenericResult
		want   fleet.Outcome
	}{
		{"no result is running", nil, fleet.Outcome{Status: fleet.StatusRunning}},
		{"an empty result is running", ended(0, 0, ""), fleet.Outcome{Status: fleet.StatusRunning}},
		{"success", ended(1, 0, ""), fleet.Outcome{Status: fleet.StatusSuccess}},
		{"failure keeps the exit code", ended(2, 123, ""), fleet.Outcome{Status: fleet.StatusFailure, ExitCode: 123}},
		{"a timeout that the entrypoint kept itself", ended(2, 124, ""), fleet.Outcome{Status: fleet.StatusTimeout, ExitCode: 124}},
		{"terminated", ended(3, 0, ""), fleet.Outcome{Status: fleet.StatusTerminated}},
		{"timeout", ended(4, 0, ""), fleet.Outcome{Status: fleet.StatusTimeout}},
		{
			"a failed start with exit code 0 is no success", ended(5, 0, "image pull failed\n"),
			fleet.Outcome{Status: fleet.StatusInitFailure, Exception: "image pull failed"},
		},
		{"a failure of Modal's", ended(6, 0, ""), fleet.Outcome{Status: fleet.StatusInternal}},
		{"idleness", ended(7, 0, ""), fleet.Outcome{Status: fleet.StatusIdle}},
		{"eviction", ended(8, 0, ""), fleet.Outcome{Status: fleet.StatusEvicted}},
		{"a word of Modal's that is new", ended(99, 3, ""), fleet.Outcome{Status: fleet.StatusOther, ExitCode: 3}},
		{
			"a token in the exception is masked", ended(6, 1, "bad ghs_abc.def-1 here"),
			fleet.Outcome{Status: fleet.StatusInternal, ExitCode: 1, Exception: "bad [masked] here"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &surveyModal{results: map[string]*pb.GenericResult{v1ID: tt.result, v2ID: tt.result}}
			f := survey(t, m, "runners")
			for _, id := range []string{v1ID, v2ID} {
				got, err := f.Outcome(t.Context(), id)
				if err != nil || got != tt.want {
					t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
				}
			}
			if got := strings.Join(m.waited, " "); got != "v1 v2" {
				t.Errorf("waited on %s, want one call to each backend", got)
			}
		})
	}
	t.Run("a sandbox that Modal does not know", func(t *testing.T) {
		got, err := survey(t, &surveyModal{}, "runners").Outcome(t.Context(), v2ID)
		if err != nil || got.Status != fleet.StatusUnknown {
			t.Errorf("got %+v, %v, want unknown", got, err)
		}
	})
	t.Run("a call that fails is an error", func(t *testing.T) {
		f := survey(t, &surveyModal{refusal: status.Error(codes.PermissionDenied, "not allowed")}, "runners")
		if got, err := f.Outcome(t.Context(), v2ID); err == nil || got.Status != "" {
			t.Errorf("got %+v, %v, want an error", got, err)
		}
	})
}

func TestTail(t *testing.T) {
	blob := strings.Repeat("QUJD", 60)
	numbered := make([]string, 0, 50)
	for i := range 50 {
		numbered = append(numbered, fmt.Sprintf("line %d\n", i))
	}
	tests := []struct {
		name  string
		log   []string
		lines int
		want  string
	}{
		{"nothing was written", nil, 5, ""},
		{"the last lines, in order", numbered, 3, "line 47\nline 48\nline 49"},
		{"an entry of many lines counts its lines", []string{"a\nb\nc\n", "d\n"}, 2, "c\nd"},
		{"a line in two entries is one", []string{"hel", "lo\n"}, 5, "hello"},
		{"a blob is masked", []string{"jit=" + blob + " end\n"}, 5, "[masked] end"},
		{"a blob in two entries is masked", []string{"x " + blob[:150], blob[150:] + "\n"}, 5, "x [masked]"},
		{"a wrapped blob is masked", []string{"x:\n" + strings.Repeat(blob[:76]+"\n", 4) + "QUI=\nend\n"}, 9, "x:\n[masked]\nend"},
		{"tokens are masked", []string{"a ghp_1234567890 b\ngithub_pat_11AA_bb c\n"}, 5, "a [masked] b\n[masked] c"},
		{
			"ordinary text is not",
			[]string{"commit 0123456789abcdef0123456789abcdef01234567 in /usr/lib/x86_64-linux-gnu\n"},
			5,
			"commit 0123456789abcdef0123456789abcdef01234567 in /usr/lib/x86_64-linux-gnu",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &surveyModal{log: tt.log, results: map[string]*pb.GenericResult{v2ID: nil}}
			got, err := survey(t, m, "runners").Tail(t.Context(), v2ID, tt.lines)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	t.Run("a long log is cut to its last bytes", func(t *testing.T) {
		m := &surveyModal{log: []string{strings.Repeat("some words é ", 60_000) + "last"}, results: map[string]*pb.GenericResult{v2ID: nil}}
		got, err := survey(t, m, "runners").Tail(t.Context(), v2ID, 5)
		if err != nil || len(got) > 8<<10 || len(got) < 8000 || !strings.HasSuffix(got, " last") {
			t.Errorf("got %d bytes, %v, want about 8 KiB that end as the log does", len(got), err)
		}
	})
	for _, lines := range []int{-1, 0, 1001} {
		t.Run(fmt.Sprintf("%d lines are refused", lines), func(t *testing.T) {
			_, err := survey(t, &surveyModal{}, "runners").Tail(t.Context(), v2ID, lines)
			if want := fmt.Sprintf("lines: must be 1 to 1000 (got %d)", lines); err == nil || err.Error() != want {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
