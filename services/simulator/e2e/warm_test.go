package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakemodal"
)

const warmPools = `
pools:
  cpu: {labels: [modal], warm: {count: 1}}
  gpu: {labels: [modal, gpu], gpu: T4, warm: {count: 1}}
`

// TestAJobHasTheSandboxThatWaitsAndAnotherOneWaitsThen has real programs in the sandboxes, with Modal's own SDK between.
func TestAJobHasTheSandboxThatWaitsAndAnotherOneWaitsThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(warmPools), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Env: []string{"POOLS_FILE=" + path}})
	// waiting are the sandboxes of a pool that are to wait, and wait still.
	waiting := func(ctx context.Context, pool string) (found []fakemodal.SandboxRecord) {
		for _, made := range s.modal(ctx).Sandboxes {
			if made.Tags["pool"] == pool && made.Tags["warm"] == "1" && made.Tags["runner"] == "" && !made.Ended() {
				found = append(found, made)
			}
		}
		return found
	}
	ready := func(ctx context.Context, pool string) bool {
		return len(waiting(ctx, pool)) == 1 && strings.Contains(getURL(ctx, t, s.AdminURLs()[1]+"/metrics").body, `worker_warm_sandboxes{pool="`+pool+`"} 1`)
	}
	for pool, labels := range map[string][]string{"cpu": {"modal"}, "gpu": {"modal", "gpu"}} {
		within(t, soon, "a sandbox of pool "+pool+" waits", func(ctx context.Context) bool { return ready(ctx, pool) })
		if out := string(s.operator(t.Context(), "places")); !regexp.MustCompile(`(?m)^pool/` + pool + ` +1 +1 +-`).MatchString(out) {
			t.Errorf("the operator is shown\n%s", out)
		}
		before := waiting(t.Context(), pool)[0]
		job := task(pool, 0)
		job.Labels = labels
		s.dispatch(t.Context(), "acme/api", job)
		s.succeeds(soon, pool)
		all := s.modal(t.Context()).Sandboxes
		ran := all[slices.IndexFunc(all, func(r fakemodal.SandboxRecord) bool { return r.ID == before.ID })]
		if !strings.HasPrefix(ran.Tags["runner"], "mgr-") || ran.Tags["repository"] != "acme/api" || slices.Contains(ran.EnvKeys, "ACTIONS_RUNNER_INPUT_JITCONFIG") {
			t.Errorf("the one that waited is %+v", ran)
		}
		if n := slices.IndexFunc(all, func(r fakemodal.SandboxRecord) bool { return strings.HasPrefix(r.Name, "mgr-") }); n >= 0 {
			t.Errorf("another one was made for the job: %+v", all[n])
		}
		within(t, soon, "another one waits", func(ctx context.Context) bool { return ready(ctx, pool) && waiting(ctx, pool)[0].ID != before.ID })
	}
	if err := os.WriteFile(path, []byte("pools:\n  cpu: {labels: [modal]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.leavesNothing(2 * time.Minute)
}
