package fakegithub_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func field[T any](t *testing.T, rec *httptest.ResponseRecorder, name string) T {
	t.Helper()
	var body map[string]any
	must(t, json.Unmarshal(rec.Body.Bytes(), &body))
	v, ok := body[name].(T)
	if !ok {
		t.Fatalf("%d %s has no %s of the wanted type", rec.Code, rec.Body, name)
	}
	return v
}

// delivered is a webhook that passed go-github's validation.
type delivered struct {
	header http.Header
	body   []byte
	event  any
}

// receiver collects webhooks; status is what it answers.
type receiver struct {
	url    string
	mu     sync.Mutex
	status int
	got    []delivered
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: http.StatusAccepted}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := github.ValidatePayload(req, []byte(secret))
		if err != nil {
			t.Errorf("signature: %v", err)
		}
		event, err := github.ParseWebHook(github.WebHookType(req), body)
		if err != nil {
			t.Errorf("payload: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, delivered{header: req.Header, body: body, event: event})
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, "noted")
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// jobs returns the workflow_job deliveries, by action.
func (r *receiver) jobs() map[string][]delivered {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string][]delivered{}
	for _, d := range r.got {
		if e, ok := d.event.(*github.WorkflowJobEvent); ok {
			out[e.GetAction()] = append(out[e.GetAction()], d)
		}
	}
	return out
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func quiet(t *testing.T, r *rig) {
	t.Helper()
	eventually(t, "no delivery is pending", func() bool { return r.Hooks.Stats().Pending == 0 })
}

func TestWebhookHeaders(t *testing.T) {
	r, in := newRig(t, fakegithub.Options{}), newReceiver(t)
	hook := r.AddAppHook(in.url, secret)
	r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}})
	quiet(t, r)
	got := in.jobs()["queued"]
	if len(got) != 1 {
		t.Fatalf("%d queued webhooks, want 1", len(got))
	}
	for name, want := range map[string]string{
		"X-Github-Event": "workflow_job", "X-Github-Hook-Id": itoa(hook.ID), "X-Github-Hook-Installation-Target-Type": "integration",
		"X-Github-Hook-Installation-Target-Id": itoa(appID), "Content-Type": "application/json",
	} {
		if v := got[0].header.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if v := got[0].header.Get("User-Agent"); !strings.HasPrefix(v, "GitHub-Hookshot/") {
		t.Errorf("User-Agent is %q", v)
	}
	if v := got[0].header.Get("X-Github-Delivery"); len(v) != 36 {
		t.Errorf("X-GitHub-Delivery is %q, want a GUID", v)
	}
}

// TestPayloadsHaveTheFieldsOfGitHubs compares with the examples that octokit/webhooks publishes: whatever they have,
// ours must have with the same JSON type. The description of a deployment's App is the one thing left out.
func TestPayloadsHaveTheFieldsOfGitHubs(t *testing.T) {
	r, in := newRig(t, fakegithub.Options{}), newReceiver(t)
	r.AddAppHook(in.url, secret)
	r.dispatch("octo/hello", world.JobSpec{Name: "plain", Labels: []string{"modal"}})
	r.dispatch("octo/hello", world.JobSpec{Name: "deploy", Labels: []string{"other"}, Environment: "prod"})
	r.dispatch("acme/app", world.JobSpec{Name: "org", Labels: []string{"modal"}})
	for _, scope := range []world.Scope{{Owner: "octo", Repo: "hello"}, {Owner: "acme"}} {
		reg, err := r.World.Register(scope, "r", 1, []string{"modal"})
		must(t, err)
		session, err := r.World.Connect(reg.Runner.ID, reg.Secret, "2.337.0", "Linux")
		must(t, err)
		m, err := r.World.Poll(t.Context(), session)
		must(t, err)
		_, _, err = r.World.Acquire(session, m.JobID)
		must(t, err)
		must(t, r.World.Finish(session, m.JobID, world.Success, 0))
	}
	quiet(t, r)
	tests := []struct{ file, job, action string }{
		{"queued", "plain", "queued"},
		{"waiting", "deploy", "waiting"},
		{"queued.with-deployment", "deploy", "queued"},
		{"in_progress", "plain", "in_progress"},
		{"completed.success.with-organization", "org", "completed"},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			sample, err := os.ReadFile(filepath.Join("testdata", "payloads", tt.file+".payload.json"))
			must(t, err)
			var want, got map[string]any
			must(t, json.Unmarshal(sample, &want))
			for _, d := range in.jobs()[tt.action] {
				if d.event.(*github.WorkflowJobEvent).GetWorkflowJob().GetName() == tt.job {
					must(t, json.Unmarshal(d.body, &got))
				}
			}
			if got == nil {
				t.Fatalf("no webhook %s of job %s came", tt.action, tt.job)
			}
			covers(t, "", want, got)
		})
	}
}

// covers reports every field of want that got lacks or has with another type; null is of every type.
func covers(t *testing.T, path string, want, got any) {
	t.Helper()
	if got == nil {
		return
	}
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %T, want an object", path, got)
			return
		}
		for name := range w {
			if v, has := g[name]; has {
				covers(t, path+"."+name, w[name], v)
			} else {
				t.Errorf("%s.%s is missing", path, name)
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			t.Errorf("%s is %T, want a list", path, got)
			return
		}
		if len(w) > 0 && len(g) > 0 {
			covers(t, path+"[0]", w[0], g[0])
		}
	case nil: // the example leaves the type open
	default:
		if reflect.TypeOf(got) != reflect.TypeOf(want) {
			t.Errorf("%s is %T, want %T", path, got, want)
		}
	}
}

func TestEachHookGetsItsOwnDelivery(t *testing.T) {
	r, in := newRig(t, fakegithub.Options{}), newReceiver(t)
	r.AddAppHook(in.url, secret)
	_, err := r.AddOrgHook("acme", in.url, secret)
	must(t, err)
	_, err = r.AddRepoHook("octo", "hello", in.url, secret)
	must(t, err)
	r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}})
	quiet(t, r)
	got := in.jobs()["queued"]
	if len(got) != 2 || got[0].header.Get("X-Github-Delivery") == got[1].header.Get("X-Github-Delivery") {
		t.Fatalf("%d deliveries, want 2 with a GUID each", len(got))
	}
	with := 0
	for _, d := range got {
		if d.event.(*github.WorkflowJobEvent).GetInstallation() != nil {
			with++
		}
	}
	if with != 1 {
		t.Errorf("%d of 2 payloads carry an installation, want the App's alone", with)
	}
}

func TestRedeliveryKeepsTheGUID(t *testing.T) {
	r, in := newRig(t, fakegithub.Options{}), newReceiver(t)
	r.AddAppHook(in.url, secret)
	quiet(t, r) // the ping is not what this is about
	in.answer(http.StatusServiceUnavailable)
	r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}})
	quiet(t, r)
	if n := len(in.jobs()["queued"]); n != 1 {
		t.Fatalf("a refused webhook came %d times, want once: GitHub does not retry", n)
	}
	app, ctx := r.asApp(), t.Context()
	list, _, err := app.Apps.ListHookDeliveries(ctx, nil)
	must(t, err)
	if list[0].GetStatusCode() != 503 || list[0].GetStatus() == "OK" || list[0].GetEvent() != "workflow_job" {
		t.Fatalf("listed as %+v, want a failed workflow_job first", list[0])
	}
	in.answer(http.StatusAccepted)
	_, _, err = app.Apps.RedeliverHookDelivery(ctx, list[0].GetID())
	accepted(t, err)
	quiet(t, r)
	got := in.jobs()["queued"]
	if len(got) != 2 || got[0].header.Get("X-Github-Delivery") != got[1].header.Get("X-Github-Delivery") || string(got[0].body) != string(got[1].body) {
		t.Fatalf("%d deliveries, want the same GUID and body twice", len(got))
	}
	again, _, err := app.Apps.ListHookDeliveries(ctx, nil)
	must(t, err)
	if !again[0].GetRedelivery() || again[0].GetGUID() != list[0].GetGUID() || again[0].GetID() == list[0].GetID() || again[0].GetStatusCode() != 202 {
		t.Errorf("listed as %+v, want a redelivery with the same GUID, a new id, 202", again[0])
	}
	full, _, err := app.Apps.GetHookDelivery(ctx, again[0].GetID())
	must(t, err)
	payload, err := full.ParseRequestPayload()
	must(t, err)
	if e, ok := payload.(*github.WorkflowJobEvent); !ok || e.GetWorkflowJob().GetName() != "build" {
		t.Errorf("the kept payload is %+v, want the job build", payload)
	}
}

func TestDeliveriesArePagedByCursor(t *testing.T) {
	r, in := newRig(t, fakegithub.Options{}), newReceiver(t)
	r.AddAppHook(in.url, secret)
	for range 4 {
		r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}})
	}
	quiet(t, r)
	seen := map[int64]bool{}
	opts := &github.ListCursorOptions{PerPage: 2}
	for pages := 1; ; pages++ {
		list, resp, err := r.asApp().Apps.ListHookDeliveries(t.Context(), opts)
		must(t, err)
		for _, d := range list {
			seen[d.GetID()] = true
		}
		if resp.Cursor == "" {
			if pages != 3 || len(seen) != 5 { // the ping is the fifth
				t.Errorf("%d deliveries on %d pages, want 5 on 3", len(seen), pages)
			}
			return
		}
		opts.Cursor = resp.Cursor
	}
}

func TestWebhookFaults(t *testing.T) {
	tests := []struct {
		name string
		rule fault.Rule
		came int
		want hooks.Stats
		code int // of the newest delivery of a job that GitHub lists; 0 if there is none
	}{
		{"lost", fault.Rule{Op: "webhook.queued", Error: "lost"}, 0, hooks.Stats{Sent: 1, OK: 1, Lost: 1}, 0},
		{"duplicate", fault.Rule{Op: "webhook.queued", Error: "duplicate"}, 2, hooks.Stats{Sent: 3, OK: 3, Duplicate: 1}, 202},
		{"refused on the way", fault.Rule{Op: "webhook.queued", Error: "502"}, 0, hooks.Stats{Sent: 2, OK: 1, Failed: 1}, 502},
		{"arrived but not heard", fault.Rule{Op: "webhook.queued", Error: "504", After: true}, 1, hooks.Stats{Sent: 2, OK: 1, Failed: 1}, 504},
		{"late", fault.Rule{Op: "webhook.queued", Latency: 1}, 1, hooks.Stats{Sent: 2, OK: 2}, 202},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, in := newRig(t, fakegithub.Options{}), newReceiver(t)
			hook := r.AddAppHook(in.url, secret)
			must(t, r.Faults.Set([]fault.Rule{tt.rule}))
			r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}})
			quiet(t, r)
			if got := len(in.jobs()["queued"]); got != tt.came {
				t.Errorf("%d came, want %d", got, tt.came)
			}
			if got := r.Hooks.Stats(); got != tt.want {
				t.Errorf("stats %+v, want %+v", got, tt.want)
			}
			code := 0
			list, _ := r.Hooks.Deliveries(hooks.Query{Hook: hook.ID, Limit: 100})
			for _, d := range list {
				if d["event"] == "workflow_job" && code == 0 {
					code = d["status_code"].(int)
				}
			}
			if code != tt.code {
				t.Errorf("listed with the code %d, want %d", code, tt.code)
			}
		})
	}
}
