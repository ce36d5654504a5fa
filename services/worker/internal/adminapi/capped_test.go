package adminapi_test

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/run"
)

func TestOnlyOfAnUntrustedJobIsItSaidWhatItGetsLessOf(t *testing.T) {
	t.Parallel()
	s := store{runs: []run.Run{
		{Job: run.Job{ID: 1, Pool: "forks", Untrusted: "its code is that of mallory/repo"}, State: run.Running},
		{Job: run.Job{ID: 2, Pool: "default"}, State: run.Running},
	}}
	h := serve(adminapi.Options{
		Ledger: s, Queue: s, Handler: s, Pools: noPools, Log: slog.New(slog.DiscardHandler),
		Capped: func(j run.Job) []string { return []string{"4 cores for cpu:16 in " + j.Pool} },
	})
	for path, want := range map[string][]string{"/jobs/1": {"4 cores for cpu:16 in forks"}, "/jobs/2": nil} {
		if status, got := ask[adminapi.Explanation](t, h, http.MethodGet, path); status != http.StatusOK || !slices.Equal(got.Capped, want) {
			t.Errorf("%s: %d, %q", path, status, got.Capped)
		}
	}
}
