package forge_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

func TestARunnerIsRegisteredAsItsJobAsks(t *testing.T) {
	tests := []struct{ name, scope, path string }{
		{"for its repository", "octo/repo", "/repos/octo/repo/actions/runners"},
		{"for its organization", "octo", "/orgs/octo/actions/runners"},
		{"for its enterprise", "enterprises/octo-corp", "/enterprises/octo-corp/actions/runners"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byToken(t)
			r := newRunner(2)
			r.Scope = tt.scope
			id, jit, err := f.Register(t.Context(), r)
			if err != nil || id != g.runners["mgr-289782451-2"] || jit.Reveal() != "jit-"+canary {
				t.Fatalf("got %d, %v; %v", id, err, g.runners)
			}
			if diff := cmp.Diff([]string{"POST " + tt.path + "/generate-jitconfig"}, g.sent()); diff != "" {
				t.Error(diff)
			}
			var body any
			if err := json.Unmarshal([]byte(g.requests[0].body), &body); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]any{
				"name": "mgr-289782451-2", "runner_group_id": 3.0, "work_folder": "_work", "labels": []any{"self-hosted", "Modal"},
			}, body); diff != "" {
				t.Error(diff)
			}

			_, _, err = f.Register(t.Context(), r)
			if !errors.Is(err, run.ErrExists) {
				t.Errorf("registered again: %v, want that it exists", err)
			}
			wantNoSecret(t, err)
		})
	}
}

func TestOnlyTheRunnerOfTheVeryNameIsRemoved(t *testing.T) {
	tests := []struct{ name, scope, path string }{
		{"from its repository", "octo/repo", "/repos/octo/repo/actions/runners"},
		{"from its organization", "octo", "/orgs/octo/actions/runners"},
		{"from its enterprise", "enterprises/octo-corp", "/enterprises/octo-corp/actions/runners"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byToken(t)
			g.runners = map[string]int64{"mgr-289782451-1": 21, "mgr-289782451-10": 22, "mgr-289782451-1x": 23}
			r := newRunner(1)
			r.Scope = tt.scope
			for range 2 { // The second time there is none any more.
				if err := f.Deregister(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(map[string]int64{"mgr-289782451-10": 22, "mgr-289782451-1x": 23}, g.runners); diff != "" {
				t.Error(diff)
			}
			list := "GET " + tt.path + "?name=mgr-289782451-1"
			if diff := cmp.Diff([]string{list, "DELETE " + tt.path + "/21", list}, g.sent()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestARunnerThatIsGoneByTheTimeOfItsRemovalIsRemoved(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byToken(t)
	g.script = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			respond(w, http.StatusNotFound, `{"message":"Not Found"}`)
			return
		}
		respond(w, http.StatusOK, `{"total_count":1,"runners":[{"id":21,"name":"mgr-289782451-1"}]}`)
	}
	if err := f.Deregister(t.Context(), newRunner(1)); err != nil {
		t.Error(err)
	}
}

func TestARunnerThatIsBusyIsToBeRemovedLater(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byToken(t)
	g.runners, g.busy = map[string]int64{"mgr-289782451-1": 21}, true
	err := f.Deregister(t.Context(), newRunner(1))
	if err == nil || permanent(err) || !strings.Contains(err.Error(), "running a job") {
		t.Errorf("got %v, want an error that may pass", err)
	}
	g.see(func() { g.busy = false })
	if err := f.Deregister(t.Context(), newRunner(1)); err != nil || len(g.runners) != 0 {
		t.Errorf("got %v, still there: %v", err, g.runners)
	}
}

func TestAnAnswerWithoutWhatWasAskedForIsAnErrorThatMayPass(t *testing.T) {
	for name, body := range map[string]string{
		"no JIT configuration": `{"runner":{"id":1}}`,
		"no runner":            `{"encoded_jit_config":"jit-` + canary + `"}`,
		"no object":            `"` + canary + `"`,
		"no JSON":              `{"encoded_jit_config":"jit-` + canary,
		"nothing":              ``,
	} {
		t.Run(name, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byToken(t)
			g.script = func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusCreated, body) }
			_, jit, err := f.Register(t.Context(), newRunner(1))
			if err == nil || permanent(err) || !jit.IsZero() {
				t.Errorf("got %v", err)
			}
			wantNoSecret(t, err)
		})
	}
}

func TestWhereARunnerIsRegistered(t *testing.T) {
	ofOrg, ofUser := run.Job{Owner: "octo", Repo: "repo", OrgOwned: true}, run.Job{Owner: "octo", Repo: "repo"}
	tests := []struct {
		name  string
		scope forge.RunnerScope
		job   run.Job
		want  string
	}{
		{"by repository, of an organization", forge.ScopeRepo, ofOrg, "octo/repo"},
		{"by repository, of a user", forge.ScopeRepo, ofUser, "octo/repo"},
		{"by organization", forge.ScopeOrg, ofOrg, "octo"},
		{"by organization, of a user who has none", forge.ScopeOrg, ofUser, "octo/repo"},
		{"by enterprise", forge.ScopeEnterprise, ofOrg, "enterprises/corp"},
		{"by enterprise, of a user, who is in none", forge.ScopeEnterprise, ofUser, "octo/repo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := forge.New(forge.Options{Scope: tt.scope, Enterprise: "corp"}).Scope(tt.job); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for text, want := range map[string]string{"repo": "", "org": "", "enterprise": "", "": "must be repo, org or enterprise", "Repo": "must be repo, org or enterprise"} {
		var s forge.RunnerScope
		err := s.UnmarshalText([]byte(text))
		if (err == nil) != (want == "") || err != nil && err.Error() != want || err == nil && string(s) != text {
			t.Errorf("%q: got %q, %v", text, s, err)
		}
	}
}

func TestCallsAreCountedByEndpointAndTheLimitIsShown(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	g.installed["octo/repo"] = 77
	hook := newRunner(1)
	hook.Job.Installation = 0
	if _, _, err := f.Register(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	if err := f.Deregister(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"core", "actions_runner_registration", "search"} {
		g.see(func() {
			g.script = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Ratelimit-Resource", resource)
				w.Header().Set("X-Ratelimit-Remaining", "4999")
				w.Header().Set("X-Ratelimit-Reset", "1767323045")
				respond(w, http.StatusNotFound, `{}`)
			}
		})
		_, _, _ = f.Register(t.Context(), hook)
	}
	if problems, err := testutil.GatherAndLint(g.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	want := `
# HELP worker_github_rate_limit_remaining Requests left in GitHub's primary limit, as its last answer said.
# TYPE worker_github_rate_limit_remaining gauge
worker_github_rate_limit_remaining{resource="actions_runner_registration"} 4999
worker_github_rate_limit_remaining{resource="core"} 4999
worker_github_rate_limit_remaining{resource="other"} 4999
# HELP worker_github_rate_limit_reset_timestamp_seconds When GitHub's primary limit starts anew, as its last answer said.
# TYPE worker_github_rate_limit_reset_timestamp_seconds gauge
worker_github_rate_limit_reset_timestamp_seconds{resource="actions_runner_registration"} 1.767323045e+09
worker_github_rate_limit_reset_timestamp_seconds{resource="core"} 1.767323045e+09
worker_github_rate_limit_reset_timestamp_seconds{resource="other"} 1.767323045e+09
# HELP worker_github_requests_total Requests to GitHub, by endpoint and status; code is error if no answer came.
# TYPE worker_github_requests_total counter
worker_github_requests_total{code="200",endpoint="installation"} 1
worker_github_requests_total{code="200",endpoint="list_runners"} 1
worker_github_requests_total{code="201",endpoint="access_tokens"} 1
worker_github_requests_total{code="201",endpoint="generate_jitconfig"} 1
worker_github_requests_total{code="204",endpoint="delete_runner"} 1
worker_github_requests_total{code="404",endpoint="generate_jitconfig"} 3
`
	if err := testutil.GatherAndCompare(g.registry, strings.NewReader(want),
		"worker_github_requests_total", "worker_github_rate_limit_remaining", "worker_github_rate_limit_reset_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}
