package adminapi_test

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
)

func TestWhatWasPausedCanBeResumedThoughThePoolsFileHasItNoMore(t *testing.T) {
	pools := []string{"gpu", "other"}
	s := store{}
	h := serve(adminapi.Options{
		Ledger: s, Queue: s, Handler: s, Places: &placestest.Memory{}, Rules: placestest.Rules{},
		Pools: func() []string { return pools }, Log: slog.New(slog.DiscardHandler),
	})
	for _, path := range []string{"/paused/pool/gpu", "/paused/pool/other"} {
		if status, _ := ask[adminapi.Paused](t, h, http.MethodPut, path); status != http.StatusOK {
			t.Fatal(path, status)
		}
	}
	pools = []string{"default"}
	for _, tt := range []struct {
		method, path string
		want         int
		left         []string // that are paused
	}{
		{http.MethodDelete, "/paused/pool/typo", http.StatusNotFound, []string{"pool/gpu", "pool/other"}},
		{http.MethodDelete, "/paused/pool/gpu", http.StatusOK, []string{"pool/other"}},
		{http.MethodDelete, "/paused/pool/gpu", http.StatusNotFound, []string{"pool/other"}},
		{http.MethodPut, "/paused/pool/gpu", http.StatusNotFound, []string{"pool/other"}},
		{http.MethodDelete, "/paused/pool/default", http.StatusOK, []string{"pool/other"}},
	} {
		if status, answer := ask[map[string]any](t, h, tt.method, tt.path); status != tt.want {
			t.Errorf("%s %s: %d %v, want %d", tt.method, tt.path, status, answer, tt.want)
		}
		_, now := ask[adminapi.Paused](t, h, http.MethodGet, "/paused")
		var left []string
		for _, p := range now.Paused {
			left = append(left, p.Scope)
		}
		if !slices.Equal(left, tt.left) {
			t.Errorf("after %s %s %v are paused, want %v", tt.method, tt.path, left, tt.left)
		}
	}
}

func TestWhatCanBeNoRepositoryIsNotPaused(t *testing.T) {
	s, held := store{}, &placestest.Memory{}
	h := serve(adminapi.Options{
		Ledger: s, Queue: s, Handler: s, Places: held, Rules: placestest.Rules{},
		Pools: func() []string { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	for path, want := range map[string]int{
		"/paused/repo/*/app": http.StatusBadRequest, "/paused/repo/octo/*": http.StatusBadRequest, "/paused/repo/octo/a%20b": http.StatusBadRequest,
		"/paused/owner/*": http.StatusBadRequest, "/paused/owner/octo": http.StatusOK, "/paused/repo/octo/app": http.StatusOK,
	} {
		if status, answer := ask[map[string]any](t, h, http.MethodPut, path); status != want {
			t.Errorf("PUT %s: %d %v, want %d", path, status, answer, want)
		}
	}
	record, _, err := held.Read(t.Context())
	if len(record.Paused) != 2 || err != nil {
		t.Errorf("%v, %v are paused", record.Paused, err)
	}
	if _, err := held.Change(t.Context(), func(r places.Record) places.Record { return r.Pause("repo/*/app", true, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	if status, answer := ask[map[string]any](t, h, http.MethodDelete, "/paused/repo/*/app"); status != http.StatusOK {
		t.Errorf("what was paused before: %d %v", status, answer)
	}
}
