package adminapi_test

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"modal-github-runner/services/worker/internal/adminapi"
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
