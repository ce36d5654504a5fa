package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/world"
)

func TestAJobWaitsForThePlaceThatThePoolsFileLeavesIt(t *testing.T) {
	dir := t.TempDir()
	path, gate := filepath.Join(dir, "pools.yaml"), filepath.Join(dir, "gate")
	if err := os.WriteFile(path, []byte("pools: {default: {labels: [modal], max_sandboxes: 1}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Env: []string{"POOLS_FILE=" + path}})
	first := task("first", 0)
	first.Steps = []world.StepSpec{{Run: "until [ -e '" + gate + "' ]; do sleep 0.1; done"}}
	s.dispatch(t.Context(), "acme/api", first)
	within(t, soon, "the first job runs", func(ctx context.Context) bool { return s.job(ctx, "first").Status == world.InProgress })

	s.dispatch(t.Context(), "acme/web", task("second", 0))
	id := strconv.FormatInt(s.job(t.Context(), "second").ID, 10)
	within(t, soon, "the second waits for a place", func(ctx context.Context) bool {
		return strings.Contains(string(s.operator(ctx, "jobs")), id) && // Of a job that is not on record yet, explain fails.
			strings.Contains(string(s.operator(ctx, "explain", id)), "pool default has as many sandboxes as it may: max_sandboxes is 1")
	})
	if made := len(s.modal(t.Context()).Sandboxes); made != 1 {
		t.Errorf("%d sandboxes were made while there was a place for one", made)
	}

	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.succeeds(soon, "first", "second")
	if ended, began := s.job(t.Context(), "first").CompletedAt, s.job(t.Context(), "second").StartedAt; began.Before(ended) {
		t.Errorf("the second job began at %v, before the first ended at %v", began, ended)
	}
	s.leavesNothing(soon)
}
