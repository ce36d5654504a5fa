package forge_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

// appsGitHub is a GitHub where several Apps are installed on octo/repo: App n by installation n+100.
type appsGitHub struct {
	url     *url.URL
	mu      sync.Mutex
	answers map[int64]int // the status by which an App's calls are answered; 201 unless it is here
	absent  map[int64]bool
	calls   []int64 // which App made each call that is not about tokens and installations
}

func newAppsGitHub(t *testing.T) *appsGitHub {
	t.Helper()
	g := &appsGitHub{answers: map[int64]int{}, absent: map[int64]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/octo/repo/installation", func(w http.ResponseWriter, r *http.Request) {
		app := issuer(t, r)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.absent[app] {
			answer(t, w, http.StatusNotFound, map[string]any{"message": "Not Found"})
			return
		}
		answer(t, w, http.StatusOK, map[string]any{"id": app + 100})
	})
	mux.HandleFunc("POST /app/installations/{id}/access_tokens", func(w http.ResponseWriter, r *http.Request) {
		answer(t, w, http.StatusCreated, map[string]any{"token": "ghs_" + r.PathValue("id"), "expires_at": time.Now().Add(time.Hour)})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		installation, err := strconv.ParseInt(r.Header.Get("Authorization")[len("token ghs_"):], 10, 64)
		if err != nil {
			t.Errorf("called with %q", r.Header.Get("Authorization"))
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		app := installation - 100
		g.calls = append(g.calls, app)
		switch status := g.answers[app]; {
		case status != 0:
			w.Header().Set("Retry-After", strconv.FormatInt(60*app, 10))
			answer(t, w, status, map[string]any{"message": fmt.Sprintf("App %d is refused", app)})
		case strings.HasSuffix(r.URL.Path, "/check-runs"):
			answer(t, w, http.StatusOK, map[string]any{"total_count": 0, "check_runs": []any{}})
		default:
			answer(t, w, http.StatusCreated, map[string]any{"runner": map[string]any{"id": 1}, "encoded_jit_config": "jit"})
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	g.url, _ = url.Parse(server.URL)
	return g
}

// issuer is the App that signed the request.
func issuer(t *testing.T, r *http.Request) int64 {
	t.Helper()
	parts := strings.Split(r.Header.Get("Authorization"), ".")
	var claims struct {
		Issuer string `json:"iss"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err = errors.Join(err, json.Unmarshal(raw, &claims)); err != nil {
		t.Error(err)
	}
	id, err := strconv.ParseInt(claims.Issuer, 10, 64)
	if err != nil {
		t.Error(err)
	}
	return id
}

func (g *appsGitHub) forge(t *testing.T, budget forge.Budget, apps ...int64) *forge.Forge {
	t.Helper()
	metrics, err := forge.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	o := forge.Options{APIURL: g.url, Scope: forge.ScopeRepo, GroupID: 1, Transport: transport, Metrics: metrics, Budget: budget}
	for n, app := range apps {
		o.Apps = append(o.Apps, forge.App{ID: app, Key: config.StaticSecret(pemOf(appKeys()[n%len(appKeys())])).Get})
	}
	return forge.New(o)
}

// register makes registrations for so many jobs, and returns which Apps were called.
func (g *appsGitHub) register(t *testing.T, f *forge.Forge, jobs ...int64) (calls []int64, err error) {
	t.Helper()
	g.mu.Lock()
	g.calls = nil
	g.mu.Unlock()
	for _, job := range jobs {
		// The installation that a webhook names may be that of any App.
		_, _, failed := f.Register(t.Context(), run.Runner{
			Name: run.Name{Job: job, Attempt: 1}, Scope: "octo/repo", Job: run.Job{ID: job, Owner: "octo", Repo: "repo", Installation: 999},
		})
		err = errors.Join(err, failed)
	}
	return slices.Clone(g.calls), err
}

func TestSeveralApps(t *testing.T) {
	const limited, forbidden = http.StatusTooManyRequests, http.StatusUnprocessableEntity
	for _, tt := range []struct {
		name    string
		answers map[int64]int
		absent  map[int64]bool
		budget  forge.Budget
		want    []int64
		err     string
	}{
		{name: "take turns from job to job", want: []int64{1, 2, 1, 2}},
		{name: "act for one that has no budget left", budget: &fakeBudget{full: &run.LimitedError{Until: time.Now().Add(time.Minute), Err: errors.New("full")}, only: "installation-101"}, want: []int64{2, 2, 2, 2}},
		{name: "act for one that GitHub limits", answers: map[int64]int{1: limited}, want: []int64{1, 2, 2, 1, 2, 2}},
		{name: "act for one that is not installed there", absent: map[int64]bool{2: true}, want: []int64{1, 1, 1, 1}},
		{name: "ask one that was refused last, for a minute", answers: map[int64]int{1: forbidden}, want: []int64{1, 2, 2, 2, 2}},
		{
			name: "say when the first of them may be asked again", answers: map[int64]int{1: limited, 2: limited}, want: []int64{1, 2, 2, 1, 1, 2, 2, 1},
			err: "App 1 is refused",
		},
		{name: "say when the one may be asked again that is not refused", answers: map[int64]int{1: forbidden, 2: limited}, want: []int64{1, 2, 2, 1, 2, 1, 2, 1}, err: "App 2 is refused"},
		{name: "say why the first was refused if all are", answers: map[int64]int{1: forbidden, 2: forbidden}, want: []int64{1, 2, 2, 1, 1, 2, 2, 1}, err: "App 1 is refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newAppsGitHub(t)
			maps.Copy(g.answers, tt.answers)
			g.absent = tt.absent
			if tt.budget == nil {
				tt.budget = &fakeBudget{}
			}
			got, err := g.register(t, g.forge(t, tt.budget, 1, 2), 2, 3, 4, 5)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("calls by App: %s", diff)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

func TestThereIsRoomAsLongAsAnAppHasSomeOrIsNotKnown(t *testing.T) {
	full := &run.LimitedError{Until: time.Now().Add(time.Minute), Err: errors.New("full")}
	for _, tt := range []struct {
		name   string
		budget *fakeBudget
		apps   []int64
		asked  bool // of GitHub, which installations there are
		absent map[int64]bool
		want   bool
	}{
		{name: "the one App has some", budget: &fakeBudget{}, apps: []int64{1}, want: true},
		{name: "the one App has none", budget: &fakeBudget{full: full}, apps: []int64{1}},
		{name: "one of two has none", budget: &fakeBudget{full: full, only: "installation-101"}, apps: []int64{1, 2}, asked: true, want: true},
		{name: "both have none", budget: &fakeBudget{full: full}, apps: []int64{1, 2}, asked: true},
		{name: "both have none, but whose installations they are is not known", budget: &fakeBudget{full: full, only: "installation-101"}, apps: []int64{1, 2}, want: true},
		{
			name: "one of two has none, and the other is not installed there", asked: true, absent: map[int64]bool{2: true},
			budget: &fakeBudget{full: full, only: "installation-101"}, apps: []int64{1, 2},
		},
		{name: "one is not installed there", budget: &fakeBudget{}, apps: []int64{1, 2}, asked: true, absent: map[int64]bool{1: true}, want: true},
		{name: "whose installations they are is not known, and the Apps have none to ask with", budget: &fakeBudget{full: full}, apps: []int64{1, 2}},
		{name: "the one App has none to ask for a token with", budget: &fakeBudget{full: full, only: "app-1"}, apps: []int64{1}},
		{name: "the one App has none to ask for a token with, but has a token", budget: &fakeBudget{full: full, only: "app-1"}, apps: []int64{1}, asked: true, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newAppsGitHub(t)
			g.absent = tt.absent
			budget := tt.budget
			whole := budget.full
			budget.full = nil
			f := g.forge(t, budget, tt.apps...)
			if tt.asked {
				if _, err := g.register(t, f, 2, 3); err != nil {
					t.Fatal(err)
				}
			}
			budget.full = whole
			err := f.Room(t.Context(), run.Job{ID: 2, Owner: "octo", Repo: "repo", Installation: 999})
			if _, limited := errors.AsType[*run.LimitedError](err); limited == tt.want || (err == nil) != tt.want {
				t.Errorf("room %v, want %v", err, tt.want)
			}
		})
	}
}

// An App can change no other's check runs.
func TestTheFirstOfSeveralAppsTellsAuthors(t *testing.T) {
	g := newAppsGitHub(t)
	f := g.forge(t, &fakeBudget{}, 1, 2)
	for _, job := range []int64{2, 3} {
		if err := f.Inform(t.Context(), run.Job{ID: job, Owner: "octo", Repo: "repo", HeadSHA: "abc", Name: "build"}, ""); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]int64{1, 1}, g.calls); diff != "" {
		t.Error(diff)
	}
}
