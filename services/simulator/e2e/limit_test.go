package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
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

// A limit holds whoever dies: what one worker promised and made is on record, and the others count it.
func TestALimitHoldsWhileWorkersAreKilled(t *testing.T) {
	for _, tt := range []struct {
		name                string
		jobs, most, workers int
	}{
		{"60 jobs, 6 at a time", 60, 6, 2},
		{"2000 jobs, 50 at a time", 2000, 50, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			long(t)
			file := filepath.Join(t.TempDir(), "pools.yaml")
			content := fmt.Sprintf("max_sandboxes: %d\npools: {default: {labels: [modal]}}\n", tt.most)
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s := start(t, rig.Options{Workers: tt.workers, Env: []string{"POOLS_FILE=" + file}})
			struck, every := 0, tt.jobs/10
			s.serve(workload.Options{Jobs: tt.jobs, Seed: 1}, func(now report.Report) error {
				if now.Counts().Done() < (struck+1)*every || struck == 9 {
					return nil
				}
				struck++
				n := struck % tt.workers
				if err := s.Worker(n).Kill(); err != nil {
					return err
				}
				return s.StartWorker(t.Context(), n)
			})
			if struck < 9 {
				t.Errorf("only %d workers were killed", struck)
			}
			if at := peak(s.modal(t.Context()).Sandboxes); at > tt.most {
				t.Errorf("%d sandboxes ran at a time, %d are allowed", at, tt.most)
			} else if at < tt.most {
				t.Errorf("%d sandboxes ran at a time while jobs waited, %d are allowed", at, tt.most)
			}
		})
	}
}

// peak is how many sandboxes there were at a time, by what Modal saw.
func peak(sandboxes []sandbox.Record) int {
	type change struct {
		at time.Time
		by int
	}
	var changes []change
	for _, s := range sandboxes {
		changes = append(changes, change{s.CreatedAt, 1}, change{s.EndedAt, -1})
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.by, b.by)) })
	now, most := 0, 0
	for _, c := range changes {
		now += c.by
		most = max(most, now)
	}
	return most
}
