package forge_test

import (
	"net/http"
	"testing"

	"modal-github-runner/services/worker/internal/conditional"
	"modal-github-runner/services/worker/internal/forge"
)

func TestAForgeUnderstandsARememberedAnswer(t *testing.T) {
	g := newSweepGitHub(t)
	tag := `W/"7"`
	sent := 0
	g.HandleFunc("GET /repos/o/r/actions/runners", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		sent++
		paged(t, "runners", fixed(runnerJSON(1, "mgr-4-1", "online", false)))(w, r)
	})
	o := g.options(t)
	o.Transport = conditional.New(o.Transport)
	f := forge.New(o)
	for range 3 {
		got, err := f.Runners(t.Context(), sweepJob, "o/r")
		if err != nil || len(got) != 1 {
			t.Fatalf("got %v, %v, want one runner", got, err)
		}
	}
	if sent != 1 {
		t.Errorf("the list was sent %d times, want once", sent)
	}
}
