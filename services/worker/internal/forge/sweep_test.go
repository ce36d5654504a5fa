package forge_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

const (
	userToken = "token-of-a-user"
	instToken = "token-of-the-installation"
)

// sweepGitHub answers as GitHub does. A pattern is that of http.ServeMux.
type sweepGitHub struct {
	*http.ServeMux

	url *url.URL

	mu    sync.Mutex
	calls []string // Method, path and query of each request.
}

func newSweepGitHub(t *testing.T) *sweepGitHub {
	t.Helper()
	g := &sweepGitHub{ServeMux: http.NewServeMux()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.calls = append(g.calls, r.Method+" "+r.URL.RequestURI())
		g.mu.Unlock()
		g.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	var err error
	if g.url, err = url.Parse(server.URL); err != nil {
		t.Fatal(err)
	}
	return g
}

// called counts the requests that begin like that.
func (g *sweepGitHub) called(prefix string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, c := range g.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func (g *sweepGitHub) options(t *testing.T) forge.Options {
	t.Helper()
	metrics, err := forge.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return forge.Options{
		APIURL: g.url, Token: config.StaticSecret(userToken), Scope: forge.ScopeRepo, GroupID: 1, Transport: transport, Metrics: metrics,
		Budget: &fakeBudget{},
	}
}

func (g *sweepGitHub) forge(t *testing.T) *forge.Forge {
	t.Helper()
	return forge.New(g.options(t))
}

// app is a Forge that is a GitHub App with one installation, 77.
func (g *sweepGitHub) app(t *testing.T) *forge.Forge {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	o := g.options(t)
	o.Apps, o.Token = []forge.App{{ID: 5, Key: config.StaticSecret(string(block)).Get}}, nil
	g.HandleFunc("POST /app/installations/77/access_tokens", func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, http.StatusCreated, map[string]any{"token": instToken, "expires_at": time.Now().Add(time.Hour)})
	})
	g.HandleFunc("GET /orgs/o/installation", func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, http.StatusOK, map[string]any{"id": 77})
	})
	g.HandleFunc("GET /repos/o/r/installation", func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, http.StatusOK, map[string]any{"id": 77})
	})
	return forge.New(o)
}

func answer(t *testing.T, w http.ResponseWriter, status int, body any) {
	t.Helper()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		t.Error(err)
	}
}

// paged answers with one page of what items returns under name, as GitHub's lists are.
func paged(t *testing.T, name string, items func() []map[string]any) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		all := items()
		number, err := strconv.Atoi(r.URL.Query().Get("page"))
		if err != nil {
			number = 1
		}
		size, err := strconv.Atoi(r.URL.Query().Get("per_page"))
		if err != nil {
			size = 30
		}
		first, end := min((number-1)*size, len(all)), min(number*size, len(all))
		if end < len(all) {
			q := r.URL.Query()
			q.Set("page", strconv.Itoa(number+1))
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?%s>; rel="next"`, r.Host, r.URL.Path, q.Encode()))
		}
		answer(t, w, http.StatusOK, map[string]any{"total_count": len(all), name: all[first:end]})
	}
}

func fixed(items ...map[string]any) func() []map[string]any {
	return func() []map[string]any { return items }
}

func failing(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"message": "no"}`, status) }
}

func runnerJSON(id int, name, status string, busy bool) map[string]any {
	return map[string]any{"id": id, "name": name, "os": "linux", "status": status, "busy": busy, "labels": []any{}}
}

var sweepJob = run.Job{ID: 11, Owner: "o", Repo: "r", OrgOwned: true}

func TestRunners(t *testing.T) {
	faultstest.Cover(t, "F50")
	many := make([]map[string]any, 0, 250)
	for i := range 250 {
		many = append(many, runnerJSON(i+1, fmt.Sprintf("mgr-%d-1", i+1), "online", false))
	}
	tests := []struct {
		name, scope, path string
		answer            func(t *testing.T) http.HandlerFunc
		want              int
		first             forge.Registered
		err               string
	}{
		{
			name: "only names of ours are listed, with their state", scope: "o/r", path: "/repos/o/r/actions/runners", want: 2,
			answer: func(t *testing.T) http.HandlerFunc {
				return paged(t, "runners", fixed(runnerJSON(1, "linux_runner", "online", true), runnerJSON(2, "mgr-11-2", "online", true),
					runnerJSON(3, "mgr-12-1", "offline", false), runnerJSON(4, "mgr-012-1", "offline", false)))
			},
			first: forge.Registered{Name: run.Name{Job: 11, Attempt: 2}, ID: 2, Online: true, Busy: true},
		},
		{
			name: "all pages are read", scope: "o/r", path: "/repos/o/r/actions/runners", want: 250,
			answer: func(t *testing.T) http.HandlerFunc { return paged(t, "runners", fixed(many...)) },
			first:  forge.Registered{Name: run.Name{Job: 1, Attempt: 1}, ID: 1, Online: true},
		},
		{
			name: "an organization's are asked for in the organization", scope: "o", path: "/orgs/o/actions/runners", want: 1,
			answer: func(t *testing.T) http.HandlerFunc {
				return paged(t, "runners", fixed(runnerJSON(9, "mgr-5-1", "offline", false)))
			},
			first: forge.Registered{Name: run.Name{Job: 5, Attempt: 1}, ID: 9},
		},
		{
			name: "an enterprise's are asked for in the enterprise", scope: "enterprises/e", path: "/enterprises/e/actions/runners", want: 250,
			answer: func(t *testing.T) http.HandlerFunc { return paged(t, "runners", fixed(many...)) },
			first:  forge.Registered{Name: run.Name{Job: 1, Attempt: 1}, ID: 1, Online: true},
		},
		{
			name: "a list that fails on its second page is an error", scope: "o/r", path: "/repos/o/r/actions/runners", err: "502",
			answer: func(t *testing.T) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("page") == "2" {
						failing(http.StatusBadGateway)(w, r)
						return
					}
					paged(t, "runners", fixed(many...))(w, r)
				}
			},
		},
		{
			name: "a list that shrinks while it is read is read again", scope: "o/r", path: "/repos/o/r/actions/runners", want: 249,
			answer: func(t *testing.T) http.HandlerFunc {
				reads := 0
				return paged(t, "runners", func() []map[string]any {
					if reads++; reads == 1 {
						return many
					}
					return many[1:]
				})
			},
			first: forge.Registered{Name: run.Name{Job: 2, Attempt: 1}, ID: 2, Online: true},
		},
		{
			name: "a list that never stands still is an error", scope: "o/r", path: "/repos/o/r/actions/runners", err: "changed while it was read, 5 times",
			answer: func(t *testing.T) http.HandlerFunc {
				reads := 0
				return paged(t, "runners", func() []map[string]any { reads++; return many[:250-reads] })
			},
		},
		{
			name: "a scope that is not the job's is an error", scope: "other", path: "/none", err: `scope: must be o, o/r or an enterprise's (got "other")`,
			answer: func(*testing.T) http.HandlerFunc { return failing(http.StatusTeapot) },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newSweepGitHub(t)
			g.Handle("GET "+tt.path, tt.answer(t))
			got, err := g.forge(t).Runners(t.Context(), sweepJob, tt.scope)
			if !says(err, tt.err) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if len(got) != tt.want {
				t.Fatalf("got %d runners, want %d", len(got), tt.want)
			}
			if tt.want > 0 && got[0] != tt.first {
				t.Errorf("got %+v, want %+v", got[0], tt.first)
			}
		})
	}
}

// says reports whether err holds the text; none for an empty one.
func says(err error, text string) bool {
	if text == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), text)
}

func TestDeregisterID(t *testing.T) {
	tests := []struct {
		name   string
		status int
		err    string
	}{
		{"a registration is deleted", http.StatusNoContent, ""},
		{"one that is gone is no error", http.StatusNotFound, ""},
		{"a busy one says so", http.StatusUnprocessableEntity, "runner 23 is busy"},
		{"an outage is an error", http.StatusServiceUnavailable, "503"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for scope, path := range map[string]string{"o": "/orgs/o/", "o/r": "/repos/o/r/", "enterprises/e": "/enterprises/e/"} {
				g := newSweepGitHub(t)
				g.HandleFunc("DELETE "+path+"actions/runners/23", func(w http.ResponseWriter, r *http.Request) {
					if tt.status == http.StatusNoContent {
						w.WriteHeader(tt.status)
						return
					}
					failing(tt.status)(w, r)
				})
				err := g.forge(t).DeregisterID(t.Context(), sweepJob, scope, 23)
				if !says(err, tt.err) {
					t.Errorf("%s: got %v, want %q", scope, err, tt.err)
				}
				if permanent(err) {
					t.Errorf("%s: %v is permanent, want retryable", scope, err)
				}
				if n := g.called("DELETE"); n != 1 {
					t.Errorf("%s: %d deletes, want 1", scope, n)
				}
			}
		})
	}
}

func jobJSON(id, runID int, status string) map[string]any {
	return map[string]any{
		"id": id, "run_id": runID, "run_attempt": 2, "status": status, "conclusion": nil, "name": "build", "workflow_name": "CI",
		"head_branch": "main", "head_sha": "f83a", "created_at": "2026-01-20T17:42:40Z", "started_at": "2026-01-20T17:42:40Z",
		"completed_at": nil, "labels": []string{"modal", "GPU"}, "runner_id": nil, "runner_name": nil, "steps": []any{},
	}
}

func TestSight(t *testing.T) {
	queued := jobJSON(11, 3, "queued")
	done := jobJSON(11, 3, "completed")
	done["conclusion"], done["completed_at"], done["runner_name"] = "success", "2026-01-20T17:44:39Z", "mgr-8-2"
	foreign := jobJSON(11, 3, "in_progress")
	foreign["runner_name"] = "GitHub Actions 2"
	tests := []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
		want   run.Sighting
		err    string
	}{
		{
			"a queued job has no runner", func(w http.ResponseWriter, _ *http.Request) { answer(t, w, 200, queued) },
			run.Sighting{Status: "queued"},
			"",
		},
		{
			"a completed job names the runner of ours that had it", func(w http.ResponseWriter, _ *http.Request) { answer(t, w, 200, done) },
			run.Sighting{Status: "completed", Conclusion: "success", Runner: run.Name{Job: 8, Attempt: 2}},
			"",
		},
		{
			"another's runner is none of ours", func(w http.ResponseWriter, _ *http.Request) { answer(t, w, 200, foreign) },
			run.Sighting{Status: "in_progress"},
			"",
		},
		{"a job that GitHub does not know is gone", failing(404), run.Sighting{Gone: true}, ""},
		{"an outage does not make it gone", failing(500), run.Sighting{}, "get job 11"},
		{"a missing permission does not make it gone", failing(403), run.Sighting{}, "get job 11"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newSweepGitHub(t)
			g.HandleFunc("GET /repos/o/r/actions/jobs/11", tt.answer)
			got, err := g.forge(t).Sight(t.Context(), sweepJob)
			if !says(err, tt.err) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("an App that is not installed any more does not make it gone", func(t *testing.T) {
		g := newSweepGitHub(t)
		f := g.app(t)
		if got, err := f.Sight(t.Context(), run.Job{ID: 11, Owner: "o", Repo: "elsewhere"}); err == nil {
			t.Errorf("got %+v, want an error", got)
		}
	})
}

func TestQueued(t *testing.T) {
	g := newSweepGitHub(t)
	workflow := func(id int) map[string]any {
		return map[string]any{"id": id, "name": "CI", "repository": map[string]any{
			"id": 40, "private": true, "fork": true, "owner": map[string]any{"login": "o", "type": "Organization"},
		}}
	}
	runs := map[string][]map[string]any{"queued": {workflow(1), workflow(2)}, "waiting": {workflow(5)}, "in_progress": {workflow(2), workflow(3), workflow(4)}}
	g.HandleFunc("GET /repos/o/r/actions/runs", func(w http.ResponseWriter, r *http.Request) {
		paged(t, "workflow_runs", fixed(runs[r.URL.Query().Get("status")]...))(w, r)
	})
	large := make([]map[string]any, 0, 130)
	for i := range 130 { // More than a page.
		large = append(large, jobJSON(300+i, 3, "queued"))
	}
	long := jobJSON(101, 1, "queued")
	for _, field := range []string{"workflow_name", "name", "head_branch", "head_sha"} {
		long[field] = "x" + strings.Repeat("é", 1<<19)
	}
	for id, jobs := range map[int][]map[string]any{
		1: {long, jobJSON(102, 1, "waiting")},
		2: {jobJSON(201, 2, "in_progress"), jobJSON(202, 2, "completed"), jobJSON(203, 2, "queued")},
		3: large,
		5: {jobJSON(501, 5, "waiting"), jobJSON(502, 5, "queued")},
	} {
		g.HandleFunc(fmt.Sprintf("GET /repos/o/r/actions/runs/%d/jobs", id), paged(t, "jobs", fixed(jobs...)))
	}
	// Run 4 has been deleted since it was listed: there is no such path.
	queued, waiting, err := g.forge(t).Queued(t.Context(), "o", "r", 77)
	if err != nil {
		t.Fatal(err)
	}
	if len(queued) != 133 || len(waiting) != 2 {
		t.Fatalf("got %d queued and %d waiting jobs, want 133 and 2", len(queued), len(waiting))
	}
	want := run.Job{
		ID: 102, RunID: 1, RunAttempt: 2, Owner: "o", Repo: "r", RepoID: 40, Installation: 77, OrgOwned: true, Private: true, Fork: true,
		Labels: []string{"modal", "GPU"}, WorkflowName: "CI", Name: "build", HeadBranch: "main", HeadSHA: "f83a",
		CreatedAt: time.Date(2026, 1, 20, 17, 42, 40, 0, time.UTC),
	}
	if diff := cmp.Diff(want, waiting[0]); diff != "" {
		t.Error(diff)
	}
	// What nobody acts by is no longer than in a webhook's event.
	for _, text := range []string{queued[0].WorkflowName, queued[0].Name, queued[0].HeadBranch, queued[0].HeadSHA} {
		if text != "x"+strings.Repeat("é", 127) {
			t.Errorf("a text has %d bytes", len(text))
		}
	}
	if n := g.called("GET /repos/o/r/actions/runs/2/jobs"); n != 1 {
		t.Errorf("the jobs of a run in both lists were read %d times, want once", n)
	}
}

func TestAPartOfWhatIsQueuedIsAnError(t *testing.T) {
	tests := []struct {
		name, path string
		answer     http.HandlerFunc
		err        string
		seen       []int64
	}{
		{"runs that can't be listed", "/repos/o/r/actions/runs", failing(503), "list queued runs of o/r", nil},
		{"jobs that can't be listed, after others that can", "/repos/o/r/actions/runs/2/jobs", failing(503), "list jobs of run 2", []int64{101}},
		{"jobs that change whenever they are read", "/repos/o/r/actions/runs/1/jobs", changing(t), "not complete", []int64{101, 102, 201}},
		{"more runs than GitHub lists", "/repos/o/r/actions/runs", func(w http.ResponseWriter, _ *http.Request) {
			answer(t, w, 200, map[string]any{"total_count": 1200, "workflow_runs": []any{map[string]any{"id": 1}}})
		}, "no more than 1000 of 1200", []int64{101}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newSweepGitHub(t)
			for path, otherwise := range map[string]http.HandlerFunc{
				"/repos/o/r/actions/runs":        paged(t, "workflow_runs", fixed(map[string]any{"id": 1}, map[string]any{"id": 2})),
				"/repos/o/r/actions/runs/1/jobs": paged(t, "jobs", fixed(jobJSON(101, 1, "queued"))),
				"/repos/o/r/actions/runs/2/jobs": paged(t, "jobs", fixed(jobJSON(201, 2, "queued"))),
			} {
				if path == tt.path {
					otherwise = tt.answer
				}
				g.HandleFunc("GET "+path, otherwise)
			}
			queued, waiting, err := g.forge(t).Queued(t.Context(), "o", "r", 0)
			var seen []int64
			for _, j := range queued {
				seen = append(seen, j.ID)
			}
			if !says(err, tt.err) || !slices.Equal(seen, tt.seen) || waiting != nil {
				t.Errorf("got %v, %v, %v, want %v and %q", seen, waiting, err, tt.seen, tt.err)
			}
		})
	}
}

// changing lists two jobs, of which GitHub says each time that they are three.
func changing(t *testing.T) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, http.StatusOK, map[string]any{"total_count": 3, "jobs": []any{jobJSON(101, 1, "queued"), jobJSON(102, 1, "queued")}})
	}
}
