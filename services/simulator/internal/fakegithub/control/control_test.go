package control_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t *testing.T) (*fakegithub.GitHub, http.Handler) {
	t.Helper()
	gh, err := fakegithub.New(fakegithub.Options{Tokens: []string{"ghp_x"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gh.Close)
	return gh, control.New(gh)
}

// do sends one request and decodes its answer into out, unless that is nil.
func do(t *testing.T, h http.Handler, line, body string, status int, out any) {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, control.Prefix+path, strings.NewReader(body)))
	if rec.Code != status {
		t.Fatalf("%s %s: got %d %s, want %d", line, body, rec.Code, rec.Body, status)
	}
	if out != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), out); err != nil {
			t.Fatalf("%s: %v in %s", line, err, rec.Body)
		}
	}
}

func setUp(t *testing.T, h http.Handler) {
	t.Helper()
	do(t, h, "POST /owners", `{"login":"acme","org":true}`, 200, nil)
	do(t, h, "POST /repos", `{"owner":"acme","name":"app","private":true}`, 200, nil)
	do(t, h, "POST /installations", `{"owner":"acme"}`, 200, nil)
}

func TestRunIsDrivenFromOutside(t *testing.T) {
	_, h := newServer(t)
	setUp(t, h)
	var run control.Started
	do(t, h, "POST /runs", `{"repo":"acme/app","jobs":[{"name":"a","labels":["modal"]},{"name":"b","labels":["modal"],"environment":"prod"}]}`, 200, &run)
	if len(run.Jobs) != 2 || run.Jobs[0].Status != world.Queued || run.Jobs[1].Status != world.Waiting {
		t.Fatalf("started %+v, want a queued and a waiting job", run.Jobs)
	}
	job, path := "/jobs/"+itoa(run.Jobs[1].ID), "/runs/"+itoa(run.Run.ID)
	do(t, h, "POST "+job+"/approve", "", 200, nil)
	do(t, h, "POST "+job+"/approve", "", 409, nil)
	do(t, h, "POST "+job+"/cancel", "", 200, nil)
	do(t, h, "POST "+path+"/rerun", "", 409, nil)
	do(t, h, "POST "+path+"/cancel", "", 200, nil)
	var again control.Started
	do(t, h, "POST "+path+"/rerun", "", 200, &again)
	if again.Run.Attempt != 2 || len(again.Jobs) != 2 {
		t.Errorf("re-run gave attempt %d with %d jobs, want 2 and 2", again.Run.Attempt, len(again.Jobs))
	}
	var state control.State
	do(t, h, "GET /state", "", 200, &state)
	if len(state.Jobs) != 4 || state.Jobs[0].Conclusion != world.Cancelled || state.Jobs[2].Status != world.Queued {
		t.Errorf("state shows the jobs %+v, want two cancelled and two new", state.Jobs)
	}
}

func TestStateShowsNoSecret(t *testing.T) {
	gh, h := newServer(t)
	setUp(t, h)
	do(t, h, "POST /hooks", `{"kind":"repository","owner":"acme","repo":"app","url":"http://127.0.0.1:1/","secret":"canary-1"}`, 200, nil)
	do(t, h, "POST /hooks", `{"kind":"organization","owner":"acme","url":"http://127.0.0.1:1/","secret":"canary-2"}`, 200, nil)
	do(t, h, "POST /hooks", `{"kind":"integration","url":"http://127.0.0.1:1/","secret":"canary-3"}`, 200, nil)
	reg, err := gh.World.Register(world.Scope{Owner: "acme"}, "r", world.DefaultGroup, []string{"modal"})
	if err != nil {
		t.Fatal(err)
	}
	var raw json.RawMessage
	do(t, h, "GET /state", "", 200, &raw)
	for _, secret := range []string{"canary", reg.Secret} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("the state shows %q: %s", secret, raw)
		}
	}
	var state control.State
	do(t, h, "GET /state", "", 200, &state)
	if len(state.Hooks) != 3 || len(state.Runners) != 1 {
		t.Errorf("the state has %d hooks and %d runners, want 3 and 1", len(state.Hooks), len(state.Runners))
	}
}

func TestFaultsAndReleasesAreSet(t *testing.T) {
	gh, h := newServer(t)
	do(t, h, "PUT /faults", `[{"op":"github.*","error":"503","latency":"1ms"}]`, 200, nil)
	if got := gh.Faults.Next("github.x").Error; got != "503" {
		t.Errorf("fault gives %q, want 503", got)
	}
	do(t, h, "PUT /faults", `[]`, 200, nil)
	do(t, h, "POST /releases", `{"version":"2.340.0","minimum":"2.330.0"}`, 200, nil)
	rec := httptest.NewRecorder()
	gh.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/repos/actions/runner/releases/latest", nil))
	if !strings.Contains(rec.Body.String(), `"tag_name":"v2.340.0"`) {
		t.Errorf("latest release: %d %s", rec.Code, rec.Body)
	}
}

func TestRefusals(t *testing.T) {
	_, h := newServer(t)
	setUp(t, h)
	tests := []struct {
		name, line, body string
		status           int
		says             string
	}{
		{"an owner that exists", "POST /owners", `{"login":"acme"}`, 409, "already exists"},
		{"a repository of nobody", "POST /repos", `{"owner":"nobody","name":"x"}`, 404, "not found"},
		{"a key that is a typo", "POST /repos", `{"owner":"acme","name":"x","privat":true}`, 400, "privat"},
		{"a run without jobs", "POST /runs", `{"repo":"acme/app"}`, 400, "jobs: must hold at least one job"},
		{"an unknown run", "POST /runs/1/cancel", "", 404, "not found"},
		{"an id that is no number", "POST /jobs/x/approve", "", 400, `id: must be a number (got "x")`},
		{"a hook of no kind", "POST /hooks", `{"kind":"enterprise"}`, 400, `got "enterprise"`},
		{"a fault without operation", "PUT /faults", `[{"error":"503"}]`, 400, "op: must be a pattern"},
		{"a group of nobody", "POST /groups", `{"owner":"nobody","name":"g"}`, 404, "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out struct {
				Error string `json:"error"`
			}
			do(t, h, tt.line, tt.body, tt.status, &out)
			if !strings.Contains(out.Error, tt.says) {
				t.Errorf("says %q, want %q", out.Error, tt.says)
			}
		})
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
