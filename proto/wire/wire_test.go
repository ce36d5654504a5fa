package wire_test

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func event() *jobsv1.JobEvent {
	at := func(s string) *timestamppb.Timestamp {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic(err)
		}
		return timestamppb.New(t)
	}
	return &jobsv1.JobEvent{
		Action: jobsv1.Action_ACTION_IN_PROGRESS, JobId: 289782451, RunId: 2202229078, RunAttempt: 2,
		Labels: []string{"self-hosted", "modal"}, Pool: "default", InstallationId: 77,
		Repository: &jobsv1.Repository{Id: 186853002, Owner: "octo-org", Name: "octo-repo", Private: true, Fork: true, OwnedByOrganization: true},
		RunnerId:   5, RunnerName: "mgr-289782451-1", Conclusion: "success",
		CreatedAt: at("2026-01-02T03:04:05Z"), StartedAt: at("2026-01-02T03:04:06Z"), CompletedAt: at("2026-01-02T03:04:07Z"), ReceivedAt: at("2026-01-02T03:04:08Z"),
		DeliveryId: "72d3162e-cc78-11e3-81ab-4c9367dc0958", WorkflowName: "CI", JobName: "build", HeadBranch: "main", HeadSha: "3484a3fb816e0859fd6e1cea078d76385ff50625",
	}
}

// A changed golden file is a changed wire format: workers and ingresses of two versions run side by side.
func TestTheEncodingOfAnEventNeverChanges(t *testing.T) {
	data, err := wire.Encode(event())
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "jobevent.hex")
	got := hex.Dump(data)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
	back, err := wire.Decode("1", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(event(), back, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestFieldsOfALaterVersionAreKept(t *testing.T) {
	data, err := wire.Encode(event())
	if err != nil {
		t.Fatal(err)
	}
	later := slices.Concat(data, []byte{0xf8, 0x7f, 0x01}) // Field 2047, a varint.
	ev, err := wire.Decode("1", later)
	if err != nil {
		t.Fatal(err)
	}
	again, err := wire.Encode(ev)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(later, again); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeTellsWhatToHoldFromWhatToGiveUp(t *testing.T) {
	encode := func(change func(*jobsv1.JobEvent)) []byte {
		ev := event()
		change(ev)
		data, err := wire.Encode(ev)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	good := encode(func(*jobsv1.JobEvent) {})
	tests := []struct {
		name   string
		schema string
		data   []byte
		is     error
		says   string
	}{
		{"a newer schema is held", "2", good, wire.ErrFutureSchema, "Job-Schema: must be at most 1 (got 2)"},
		{"a missing schema is malformed", "", good, wire.ErrMalformed, `Job-Schema: must be a positive number (got "")`},
		{"a schema of zero is malformed", "0", good, wire.ErrMalformed, `Job-Schema: must be a positive number (got "0")`},
		{"bytes that are no message are malformed", "1", []byte{0xff}, wire.ErrMalformed, "job event"},
		{"a job without an id is malformed", "1", encode(func(ev *jobsv1.JobEvent) { ev.JobId = 0 }), wire.ErrMalformed, "job_id: must be positive (got 0)"},
		{"a negative id is malformed", "1", encode(func(ev *jobsv1.JobEvent) { ev.JobId = -1 }), wire.ErrMalformed, "job_id: must be positive (got -1)"},
		{"an action of zero is malformed", "1", encode(func(ev *jobsv1.JobEvent) { ev.Action = 0 }), wire.ErrMalformed, "action: must be one of the known ones (got ACTION_UNSPECIFIED)"},
		{"an action nobody knows is malformed", "1", encode(func(ev *jobsv1.JobEvent) { ev.Action = 99 }), wire.ErrMalformed, "action: must be one of the known ones (got 99)"},
		{
			"a queued job of a pool that no subject can hold is malformed", "1",
			encode(func(ev *jobsv1.JobEvent) { ev.Action, ev.Pool = jobsv1.Action_ACTION_QUEUED, "a.>" }), wire.ErrMalformed, `pool: must be 1 to 40 of a-z`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.Decode(tt.schema, tt.data)
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

func TestEachActionHasItsSubject(t *testing.T) {
	tests := []struct {
		action  jobsv1.Action
		pool    string
		subject string
	}{
		{jobsv1.Action_ACTION_QUEUED, "default", "jobs.queued.default"},
		{jobsv1.Action_ACTION_QUEUED, "gpu-a100", "jobs.queued.gpu-a100"},
		{jobsv1.Action_ACTION_WAITING, "", "jobs.waiting"},
		{jobsv1.Action_ACTION_IN_PROGRESS, "", "jobs.started"},
		{jobsv1.Action_ACTION_COMPLETED, "", "jobs.finished"},
	}
	for _, tt := range tests {
		t.Run(tt.subject, func(t *testing.T) {
			subject, err := wire.Subject(&jobsv1.JobEvent{Action: tt.action, Pool: tt.pool})
			if err != nil || subject != tt.subject {
				t.Errorf("got %q, %v", subject, err)
			}
		})
	}
	for _, bad := range []string{"", "a.b", "*", ">", "-a", "a-", "A", "a b", strings.Repeat("a", 41)} {
		subject, err := wire.Subject(&jobsv1.JobEvent{Action: jobsv1.Action_ACTION_QUEUED, Pool: bad})
		if !errors.Is(err, wire.ErrPoolName) || !strings.HasSuffix(err.Error(), fmt.Sprintf("(got %q)", bad)) {
			t.Errorf("the pool %q has the subject %q, %v", bad, subject, err)
		}
	}
}

// Within the stream's window the server keeps one message of an id, so what must be stored twice must differ in it.
func TestMessageIDsTellApartWhatIsAskedForAndFound(t *testing.T) {
	const queued, completed = jobsv1.Action_ACTION_QUEUED, jobsv1.Action_ACTION_COMPLETED
	ids := []string{
		wire.RetryMsgID(1, 7), wire.RetryMsgID(1, 8), wire.RetryMsgID(17, 8),
		wire.ReportMsgID(1, 7, queued), wire.ReportMsgID(1, 8, queued), wire.ReportMsgID(2, 7, queued), wire.ReportMsgID(1, 7, completed),
	}
	want := []string{"retry-1-7", "retry-1-8", "retry-17-8", "report-1-7-1", "report-1-8-1", "report-2-7-1", "report-1-7-4"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}

func TestRunnersOfOursAreToldByTheirName(t *testing.T) {
	for _, name := range []string{
		"", "mgr-", "mgr-1", "mgr-1-", "mgr--1", "mgr-0-1", "mgr-1-0", "mgr-01-1", "mgr-1-01", "mgr-+1-1", "mgr-1-1-1", "mgr-1-1 ", "MGR-1-1",
		"mgr-9223372036854775808-1", "GitHub Actions 5", "mgr-1-99999999999999999999",
	} {
		if id, attempt, ok := wire.ParseRunnerName(name); ok {
			t.Errorf("%q was taken for attempt %d of job %d", name, attempt, id)
		}
	}
	longest := wire.RunnerName(1<<63-1, 1<<31-1)
	if len(longest) > 64 {
		t.Errorf("%q is longer than Modal allows", longest)
	}
}

func TestRepositoriesAreAdmittedAsTheListSays(t *testing.T) {
	tests := []struct {
		name     string
		patterns []wire.RepoPattern
		owner    string
		repo     string
		private  bool
		want     error
	}{
		{"without a list a private repository may", nil, "octo", "repo", true, nil},
		{"without a list a public one may not", nil, "octo", "repo", false, wire.ErrPublicNotNamed},
		{"a named repository may, public or not", []wire.RepoPattern{"octo/repo"}, "octo", "repo", false, nil},
		{"names are compared without case", []wire.RepoPattern{"Octo/Repo"}, "oCTO", "rEPO", true, nil},
		{"another repository of the account may not", []wire.RepoPattern{"octo/repo"}, "octo", "other", true, wire.ErrRepoNotAllowed},
		{"a star admits what is private of the account", []wire.RepoPattern{"a/b", "octo/*"}, "octo", "anything", true, nil},
		{"a star names no public repository", []wire.RepoPattern{"octo/*"}, "octo", "anything", false, wire.ErrPublicNotNamed},
		{"a public repository may be named beside the star", []wire.RepoPattern{"octo/*", "octo/open"}, "octo", "open", false, nil},
		{"a star admits no other account", []wire.RepoPattern{"octo/*"}, "octo2", "anything", true, wire.ErrRepoNotAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := wire.AdmitRepo(tt.patterns, tt.owner, tt.repo, tt.private); !errors.Is(got, tt.want) {
				t.Errorf("got %v", got)
			}
		})
	}
	for _, bad := range []string{"", "octo", "octo/", "/repo", "*/*", "*/repo", "octo/re*", "octo/repo/more", "octo repo/x", "octo/**"} {
		var p wire.RepoPattern
		if err := p.UnmarshalText([]byte(bad)); !errors.Is(err, wire.ErrRepoPattern) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestALabelThatNoRunnerCanHaveIsNamedByItsPlace(t *testing.T) {
	many := slices.Repeat([]string{"modal"}, 101)
	for name, test := range map[string]struct {
		labels []string
		want   string
	}{
		"none":                      {nil, ""},
		"as many as there may be":   {many[:100], ""},
		"one more":                  {many, "workflow_job.labels: must be at most 100 (got 101)"},
		"as long as one may be":     {[]string{strings.Repeat("é", 128)}, ""},
		"one byte longer":           {[]string{strings.Repeat("é", 128) + "x"}, "workflow_job.labels[0]: must be 1 to 256 printable bytes (got 257)"},
		"empty":                     {[]string{"modal", ""}, "workflow_job.labels[1]: must be 1 to 256 printable bytes (got 0)"},
		"with a terminal's command": {[]string{"a\x1b[2J"}, "workflow_job.labels[0]: must be 1 to 256 printable bytes (got 5)"},
		"of no width":               {[]string{"a\u200b"}, "workflow_job.labels[0]: must be 1 to 256 printable bytes (got 4)"},
		"for a shell":               {[]string{"$(id) `id`; ../../x | *"}, ""},
	} {
		got := ""
		if err := wire.CheckLabels(test.labels); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := wire.CutText("x" + strings.Repeat("é", 300)); got != "x"+strings.Repeat("é", 127) {
		t.Errorf("cut to %d bytes", len(got))
	}
}

func TestTheTopologyHoldsTogether(t *testing.T) {
	topology := wire.JobsTopology([]string{"default", "gpu"})
	streams := map[string]bool{}
	for _, s := range topology.Streams {
		streams[s.Name] = true
		if s.MaxAge <= 0 || (s.MaxBytes > 0) == s.Schedules || s.Duplicates <= 0 || s.Duplicates > s.MaxAge {
			t.Errorf("stream %s has a limit that is none: %+v", s.Name, s)
		}
	}
	var names []string
	for _, c := range topology.Consumers {
		names = append(names, c.Name)
		if !streams[c.Stream] {
			t.Errorf("consumer %s reads stream %s, which does not exist", c.Name, c.Stream)
		}
		if c.AckWait < 3*wire.Heartbeat {
			t.Errorf("consumer %s gives a message away after %v, though a sign of life every %v may be lost twice", c.Name, c.AckWait, wire.Heartbeat)
		}
	}
	if diff := cmp.Diff([]string{"outcomes", "queued-default", "queued-gpu"}, names); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseRunnerName(f *testing.F) {
	for _, seed := range []string{"mgr-1-1", "mgr-289782451-12", "mgr-1", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if id, attempt, ok := wire.ParseRunnerName(name); ok && wire.RunnerName(id, attempt) != name {
			t.Errorf("%q became %q", name, wire.RunnerName(id, attempt))
		}
	})
}

func FuzzDecode(f *testing.F) {
	data, err := wire.Encode(event())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("1", data)
	f.Fuzz(func(t *testing.T, schema string, data []byte) {
		ev, err := wire.Decode(schema, data)
		if err != nil {
			return
		}
		again, err := wire.Encode(ev)
		if err != nil {
			t.Fatal(err)
		}
		back, err := wire.Decode(schema, again)
		if err != nil || !proto.Equal(ev, back) {
			t.Errorf("%v became %v, %v", ev, back, err)
		}
	})
}
