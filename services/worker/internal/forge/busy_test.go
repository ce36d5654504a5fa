package forge_test

import (
	"net/http"
	"testing"

	"modal-github-runner/services/worker/internal/run"
)

func TestBusy(t *testing.T) {
	list := func(name string, busy bool) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("name"); got != "mgr-8-2" {
				t.Errorf("asked for %q", got)
			}
			answer(t, w, http.StatusOK, map[string]any{
				"total_count": 1, "runners": []any{map[string]any{"id": 23, "name": name, "status": "online", "busy": busy}},
			})
		}
	}
	tests := []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
		want   bool
		err    string
	}{
		{"one that has a job", list("mgr-8-2", true), true, ""},
		{"one that has none", list("mgr-8-2", false), false, ""},
		{"another's job is not its own", list("mgr-8-22", true), false, ""},
		{"an outage tells nothing", failing(http.StatusInternalServerError), false, "look for runner mgr-8-2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newSweepGitHub(t)
			g.HandleFunc("GET /repos/o/r/actions/runners", tt.answer)
			got, err := g.forge(t).Busy(t.Context(), run.Runner{Name: run.Name{Job: 8, Attempt: 2}, Job: sweepJob, Scope: "o/r"})
			if got != tt.want || !says(err, tt.err) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
