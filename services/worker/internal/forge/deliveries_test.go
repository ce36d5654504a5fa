package forge_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

func permanent(err error) bool {
	_, ok := errors.AsType[*run.PermanentError](err)
	return ok
}

func deliveryJSON(id int, at time.Time, code int, status string) map[string]any {
	return map[string]any{
		"id": id, "guid": fmt.Sprintf("guid-%d", id), "delivered_at": at, "redelivery": id%2 == 0, "duration": 0.27, "status": status,
		"status_code": code, "event": "workflow_job", "action": "queued", "installation_id": nil, "repository_id": 456, "throttled_at": nil,
	}
}

// cursored answers with pages of two, as GitHub's lists of deliveries are: by a cursor, without a count.
func cursored(t *testing.T, all []map[string]any) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		first, err := strconv.Atoi(r.URL.Query().Get("cursor"))
		if err != nil {
			first = 0
		}
		end := min(first+2, len(all))
		if end < len(all) {
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?per_page=100&cursor=%d>; rel="next"`, r.Host, r.URL.Path, end))
		}
		answer(t, w, http.StatusOK, all[first:end])
	}
}

var hooks = []struct {
	name, path string
	hook       forge.Hook
}{
	{"the App's", "/app/hook/deliveries", forge.Hook{}},
	{"a repository's", "/repos/o/r/hooks/8/deliveries", forge.Hook{Owner: "o", Repo: "r", ID: 8}},
	{"an organization's", "/orgs/o/hooks/9/deliveries", forge.Hook{Owner: "o", ID: 9}},
}

func TestDeliveries(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	all := []map[string]any{
		deliveryJSON(109, now, 202, "Accepted"),
		deliveryJSON(108, now.Add(-1*time.Minute), 0, "failed to connect"),
		deliveryJSON(107, now.Add(-2*time.Minute), 503, "Service Unavailable"),
		deliveryJSON(106, now.Add(-2*time.Minute), 302, "Found"),
		deliveryJSON(105, now.Add(-3*time.Minute), 200, "OK"),
		deliveryJSON(104, now.Add(-9*time.Minute), 200, "OK"),
		deliveryJSON(103, now.Add(-10*time.Minute), 200, "OK"),
		deliveryJSON(102, now.Add(-11*time.Minute), 200, "OK"),
		deliveryJSON(101, now.Add(-12*time.Minute), 200, "OK"),
	}
	for _, h := range hooks {
		t.Run(h.name+" are read down to the time asked for", func(t *testing.T) {
			g := newSweepGitHub(t)
			g.HandleFunc("GET "+h.path, cursored(t, all))
			got, err := g.app(t).Deliveries(t.Context(), h.hook, now.Add(-3*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			seen := map[int64]bool{}
			order := make([]int64, 0, len(got))
			for _, d := range got {
				seen[d.ID] = d.OK
				order = append(order, d.ID)
			}
			if diff := cmp.Diff([]int64{109, 108, 107, 106, 105}, order); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[int64]bool{109: true, 108: false, 107: false, 106: false, 105: true}, seen); diff != "" {
				t.Errorf("OK: %s", diff)
			}
			want := forge.Delivery{
				ID: 108, GUID: "guid-108", Repo: 456, Event: "workflow_job", Action: "queued", Status: "failed to connect",
				At: now.Add(-time.Minute), Redelivery: true,
			}
			if diff := cmp.Diff(want, got[1]); diff != "" {
				t.Error(diff)
			}
			if n := g.called("GET " + h.path); n != 4 {
				t.Errorf("%d pages were read, want 4: the last is too old throughout", n)
			}
		})
	}
	t.Run("a page that fails is an error, not an end", func(t *testing.T) {
		g := newSweepGitHub(t)
		g.HandleFunc("GET /app/hook/deliveries", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") == "2" {
				failing(http.StatusBadGateway)(w, r)
				return
			}
			cursored(t, all)(w, r)
		})
		got, err := g.app(t).Deliveries(t.Context(), forge.Hook{}, time.Time{})
		if !says(err, "list deliveries of the App's hook") || got != nil {
			t.Errorf("got %v, %v, want an error", got, err)
		}
	})
	t.Run("a token can't ask for an App's", func(t *testing.T) {
		g := newSweepGitHub(t)
		if _, err := g.forge(t).Deliveries(t.Context(), forge.Hook{}, time.Time{}); !says(err, "GITHUB_APP_ID") {
			t.Errorf("got %v, want GITHUB_APP_ID named", err)
		}
	})
	t.Run("the installation of an organization is looked up once", func(t *testing.T) {
		g := newSweepGitHub(t)
		g.HandleFunc("GET /orgs/o/hooks/9/deliveries", cursored(t, all))
		f := g.app(t)
		for range 2 {
			if _, err := f.Deliveries(t.Context(), forge.Hook{Owner: "o", ID: 9}, time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := g.called("GET /orgs/o/installation"); n != 1 {
			t.Errorf("it was looked up %d times", n)
		}
	})
}

func TestWhichDeliveriesCouldNotBeRead(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for code, want := range map[int]bool{0: false, 200: false, 202: false, 400: true, 401: false, 404: false, 408: false, 413: false, 503: false} {
		g := newSweepGitHub(t)
		g.HandleFunc("GET /app/hook/deliveries", cursored(t, []map[string]any{deliveryJSON(1, now, code, "status")}))
		got, err := g.app(t).Deliveries(t.Context(), forge.Hook{}, now)
		if err != nil || len(got) != 1 || got[0].Unreadable != want {
			t.Errorf("%d: %+v, %v", code, got, err)
		}
	}
}

func TestRedeliver(t *testing.T) {
	for _, h := range hooks {
		t.Run(h.name+" is accepted with 202", func(t *testing.T) {
			g := newSweepGitHub(t)
			g.HandleFunc("POST "+h.path+"/108/attempts", func(w http.ResponseWriter, _ *http.Request) {
				answer(t, w, http.StatusAccepted, map[string]any{})
			})
			if err := g.app(t).Redeliver(t.Context(), h.hook, 108); err != nil {
				t.Error(err)
			}
			if n := g.called("POST " + h.path); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
		t.Run(h.name+" that fails is an error", func(t *testing.T) {
			g := newSweepGitHub(t)
			g.HandleFunc("POST "+h.path+"/108/attempts", failing(http.StatusBadGateway))
			if err := g.app(t).Redeliver(t.Context(), h.hook, 108); !says(err, "redeliver 108 of") {
				t.Errorf("got %v, want an error", err)
			}
		})
	}
}

// hookJSON is a webhook as GitHub lists it.
func hookJSON(id int, url string, active bool, events ...string) map[string]any {
	return map[string]any{"id": id, "type": "Repository", "active": active, "events": events, "config": map[string]any{"url": url}}
}

// TestHooks lists each kind of webhook for a repository and for an organization; only one in the table is there beside one
// that is ours.
func TestHooks(t *testing.T) {
	const address = "https://ingress.example/webhooks/github"
	tests := []struct {
		name string
		hook map[string]any
		ours bool
	}{
		{"one that sends the events of jobs to an ingress is ours", hookJSON(1, address, true, "push", "workflow_job"), true},
		{"so is one that sends all events", hookJSON(1, address, true, "*"), true},
		{"and one that reaches it through a proxy's path and a query", hookJSON(1, "https://example/runners/webhooks/github?via=proxy", true, "workflow_job"), true},
		{"not one that sends other events", hookJSON(1, address, true, "push", "workflow_run"), false},
		{"not one that is off", hookJSON(1, address, false, "workflow_job"), false},
		{"not one to another path", hookJSON(1, "https://ingress.example/webhooks/gitlab", true, "workflow_job"), false},
		{"not one to a longer path", hookJSON(1, address+"/more", true, "workflow_job"), false},
		{"not one to a path that only ends alike", hookJSON(1, "https://ingress.example/otherwebhooks/github", true, "workflow_job"), false},
		{"not one that has our path in its query", hookJSON(1, "https://other.example/?to=/webhooks/github", true, "workflow_job"), false},
		{"not one to what is no URL", hookJSON(1, "https://ingress.example:port/webhooks/github", true, "workflow_job"), false},
		{"not one without a URL", hookJSON(1, "", true, "workflow_job"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newSweepGitHub(t)
			for _, path := range []string{"/repos/o/r/hooks", "/orgs/o/hooks"} {
				g.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
					answer(t, w, http.StatusOK, []any{tt.hook, hookJSON(2, address, true, "workflow_job")})
				})
			}
			for kind, f := range map[string]*forge.Forge{"an App": g.app(t), "a token": g.forge(t)} {
				for _, repo := range []string{"r", ""} {
					want := []forge.Hook{{Owner: "o", Repo: repo, ID: 2}}
					if tt.ours {
						want = append([]forge.Hook{{Owner: "o", Repo: repo, ID: 1}}, want...)
					}
					got, err := f.Hooks(t.Context(), "o", repo)
					if diff := cmp.Diff(want, got); err != nil || diff != "" {
						t.Errorf("with %s: %v %s", kind, err, diff)
					}
				}
			}
		})
	}
}

func TestHooksAreReadToTheLastPage(t *testing.T) {
	g := newSweepGitHub(t)
	g.HandleFunc("GET /repos/o/r/hooks", func(w http.ResponseWriter, r *http.Request) {
		page, err := strconv.Atoi(r.URL.Query().Get("page"))
		if err != nil {
			t.Error(err)
		}
		if page < 3 {
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?page=%d>; rel="next"`, r.Host, r.URL.Path, page+1))
		}
		answer(t, w, http.StatusOK, []any{hookJSON(page, "https://ingress.example/webhooks/github", true, "workflow_job")})
	})
	got, err := g.forge(t).Hooks(t.Context(), "o", "r")
	if err != nil || len(got) != 3 || got[2].ID != 3 {
		t.Errorf("got %v, %v, want three", got, err)
	}
}

func TestWebhooksThatMayNotBeReadNameThePermission(t *testing.T) {
	calls := map[string]func(*forge.Forge) error{
		"list hooks":                    func(f *forge.Forge) error { _, err := f.Hooks(t.Context(), "o", "r"); return err },
		"list hooks of an organization": func(f *forge.Forge) error { _, err := f.Hooks(t.Context(), "o", ""); return err },
		"list deliveries": func(f *forge.Forge) error {
			_, err := f.Deliveries(t.Context(), forge.Hook{Owner: "o", Repo: "r", ID: 8}, time.Time{})
			return err
		},
		"redeliver": func(f *forge.Forge) error { return f.Redeliver(t.Context(), forge.Hook{Owner: "o", ID: 9}, 108) },
	}
	for name, call := range calls {
		for _, status := range []int{http.StatusForbidden, http.StatusNotFound} {
			t.Run(fmt.Sprintf("%s %d", name, status), func(t *testing.T) {
				g := newSweepGitHub(t)
				g.HandleFunc("/", failing(status))
				if err := call(g.forge(t)); !permanent(err) || !says(err, "Webhooks") || !says(err, "admin:repo_hook") {
					t.Errorf("got %v, want a permanent error that names the permission", err)
				}
			})
		}
	}
}

func TestAnAppThatHasNoWebhookOfItsOwnIsToldApart(t *testing.T) {
	g := newSweepGitHub(t)
	g.HandleFunc("GET /app/hook/deliveries", failing(http.StatusNotFound))
	if _, err := g.app(t).Deliveries(t.Context(), forge.Hook{}, time.Time{}); !permanent(err) || says(err, "admin:repo_hook") {
		t.Errorf("got %v, want a permanent error that is about no permission", err)
	}
}

func TestAnAppThatIsInstalledAnewInAnOrganizationIsFoundThere(t *testing.T) {
	g := newSweepGitHub(t)
	f := g.app(t)
	g.HandleFunc("GET /orgs/o/hooks", failing(http.StatusUnauthorized))
	for range 2 {
		if _, err := f.Hooks(t.Context(), "o", ""); err == nil {
			t.Error("an answer of 401 is no error")
		}
	}
	if n := g.called("GET /orgs/o/installation"); n != 2 {
		t.Errorf("the installation was looked up %d times, want anew once its token was refused", n)
	}
}
