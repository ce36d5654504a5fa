package runnerservice_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
	"modal-github-runner/services/simulator/internal/fakegithub/runnerservice"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is the service with one runner online that was offered one job.
func bench(t *testing.T) (s *runnerservice.Service, faults *fault.Injector, session, job string) {
	t.Helper()
	w := world.New(world.Options{})
	t.Cleanup(w.Close)
	_, err := w.AddOwner("acme", true)
	must(t, err)
	_, err = w.AddRepo("acme", "app", true)
	must(t, err)
	reg, err := w.Register(world.Scope{Owner: "acme"}, "r", world.DefaultGroup, []string{"modal"})
	must(t, err)
	_, _, err = w.Dispatch(world.Workflow{Repo: "acme/app", Jobs: []world.JobSpec{{Name: "j", Labels: []string{"modal"}}}})
	must(t, err)
	faults = fault.New(1)
	s = runnerservice.New(w, faults)
	in, err := json.Marshal(wire.ConnectRequest{AgentID: reg.Runner.ID, Secret: reg.Secret, Version: "2.337.0", OS: "Linux"})
	must(t, err)
	rec := call(s, "POST /sessions", string(in))
	var out wire.ConnectResponse
	must(t, json.Unmarshal(rec.Body.Bytes(), &out))
	var m wire.Message
	session = "/sessions/" + out.SessionID
	must(t, json.Unmarshal(call(s, "GET "+session+"/message", "").Body.Bytes(), &m))
	number, err := json.Marshal(m.JobID)
	must(t, err)
	return s, faults, session, session + "/jobs/" + string(number)
}

func call(h http.Handler, line, body string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(line, " ")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, runnerservice.Prefix+path, strings.NewReader(body)))
	return rec
}

func TestRefusals(t *testing.T) {
	s, _, session, job := bench(t)
	tests := []struct {
		name, line, body string
		status           int
		code             wire.Code
	}{
		{"an unknown session", "GET /sessions/nope/message", "", 404, wire.CodeDeregistered},
		{"an unknown registration", "POST /sessions", `{"agent_id":99}`, 404, wire.CodeDeregistered},
		{"a wrong secret", "POST /sessions", `{"agent_id":1,"secret":"x"}`, 401, wire.CodeCredentials},
		{"broken JSON", "POST /sessions", `{`, 400, wire.CodeBadRequest},
		{"a job of another runner", "POST " + session + "/jobs/1/acquire", "", 404, wire.CodeNotFound},
		{"a job id that is no number", "POST " + session + "/jobs/x/acquire", "", 400, wire.CodeBadRequest},
		{"a step before the job was acquired", "POST " + job + "/steps", `{"number":1}`, 404, wire.CodeNotFound},
		{"a conclusion that a runner cannot give", "POST " + job + "/complete", `{"conclusion":"skipped"}`, 400, wire.CodeBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := call(s, tt.line, tt.body)
			var out wire.Refusal
			must(t, json.Unmarshal(rec.Body.Bytes(), &out))
			if rec.Code != tt.status || out.Code != tt.code || out.Message == "" {
				t.Errorf("got %d %+v, want %d %s", rec.Code, out, tt.status, tt.code)
			}
		})
	}
}

func TestFaultsStrikeBeforeOrAfterTheAct(t *testing.T) {
	s, faults, _, job := bench(t)
	must(t, faults.Set([]fault.Rule{
		{Op: "runner.acquire", Times: 1, Error: "503"}, {Op: "runner.acquire", Times: 1, Error: "nonsense", After: true},
	}))
	if rec := call(s, "POST "+job+"/acquire", ""); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("fault before the act: %d, want 503", rec.Code)
	}
	if rec := call(s, "POST "+job+"/acquire", ""); rec.Code != http.StatusInternalServerError {
		t.Errorf("fault after the act: %d, want 500 for an error that is no status", rec.Code)
	}
	if rec := call(s, "POST "+job+"/acquire", ""); rec.Code != http.StatusNotFound {
		t.Errorf("acquired once more: %d, want 404 because the job has started", rec.Code)
	}
}
