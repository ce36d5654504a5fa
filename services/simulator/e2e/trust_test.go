package e2e_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

const tieredPools = `
pools:
  default: {labels: [modal], max: {cpu: 8}, secrets: [hub], oidc: true, untrusted: forks}
  closed: {labels: [closed], secrets: [hub]}
  forks: {labels: [modal-forks], untrusted: allow, network: {mode: block}}
`

// Whether a job is a fork's, GitHub says when it is asked: webhooks of jobs tell nothing of it.
func TestAJobOfAForkIsRefusedOrGetsASandboxWithoutSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(tieredPools), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Env: []string{"POOLS_FILE=" + path}})
	ctx := t.Context()
	s.do(s.Simulator.AddOwner(ctx, "mallory", false, "api"))
	s.do(s.Simulator.Make(ctx, fakemodal.Objects{Secrets: map[string]map[string]string{"hub": {"HUB_TOKEN": "t"}}}))
	fork := func(name string, labels ...string) string {
		t.Helper()
		given := task(name, 0)
		given.Labels = append([]string{"self-hosted"}, labels...)
		s.do(s.Simulator.Dispatch(ctx, world.Workflow{Repo: "acme/api", Head: "mallory/api", Event: "pull_request", Jobs: []world.JobSpec{given}}))
		return strconv.FormatInt(s.job(ctx, name).ID, 10)
	}

	const why = "its code is that of mallory/api (pull_request)"
	refused := fork("refused", "closed")
	told := s.concluded(refused, "failure")
	if !strings.Contains(told.Summary, "untrusted: "+why+", and pool closed refuses such jobs; an operator can") {
		t.Errorf("the author is told %s", told.Summary)
	}
	if shown := string(s.operator(ctx, "dead-letters", "show", refused)); !strings.Contains(shown, why) {
		t.Errorf("the operator is told %s", shown)
	}

	s.dispatch(ctx, "acme/api", task("own", 0))
	s.succeeds(soon, "own")
	taken := fork("taken", "modal", "cpu:8")
	s.succeeds(soon, "taken")
	if told := string(s.operator(ctx, "explain", taken)); !strings.Contains(told, "untrusted, for pool forks: "+why) ||
		!strings.Contains(told, "it gets 1 core for cpu:8: as an untrusted job, as much as pool forks lets it have") {
		t.Errorf("the operator is told %s", told)
	}
	made := map[string]sandbox.Record{}
	for _, one := range s.modal(ctx).Sandboxes {
		made[one.Tags["pool"]] = one
	}
	for _, secret := range []string{"HUB_TOKEN", "MODAL_IDENTITY_TOKEN"} {
		if !slices.Contains(made["default"].EnvKeys, secret) || slices.Contains(made["forks"].EnvKeys, secret) {
			t.Errorf("variable %s is in %v, or not in %v", secret, made["forks"].EnvKeys, made["default"].EnvKeys)
		}
	}
	if len(made) != 2 || made["forks"].Network != "allowlist" || made["forks"].Tags["job-id"] != taken {
		t.Errorf("made were %+v", made)
	}
}

// Who may be named in ALLOWED_REPOS need not be trusted with all that a pool has.
func TestAJobOfAPublicRepositoryGoesWhereItsPoolSendsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(tieredPools, "untrusted: forks", "untrusted: forks, distrust_public: true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, rig.Options{Env: []string{"POOLS_FILE=" + path, "ALLOWED_REPOS=acme/api,acme/site"}})
	ctx := t.Context()
	s.do(s.Simulator.AddPublic(ctx, "acme", "site"))
	s.do(s.Simulator.Make(ctx, fakemodal.Objects{Secrets: map[string]map[string]string{"hub": {"HUB_TOKEN": "t"}}}))
	s.dispatch(ctx, "acme/api", task("private", 0))
	s.dispatch(ctx, "acme/site", task("public", 0))
	s.succeeds(soon, "private", "public")
	secrets := map[string]bool{}
	for _, one := range s.modal(ctx).Sandboxes {
		secrets[one.Tags["repository"]+" in "+one.Tags["pool"]] = slices.Contains(one.EnvKeys, "HUB_TOKEN")
	}
	if want := map[string]bool{"acme/api in default": true, "acme/site in forks": false}; !maps.Equal(secrets, want) {
		t.Errorf("made were %v, want %v", secrets, want)
	}
	told := string(s.operator(ctx, "explain", strconv.FormatInt(s.job(ctx, "public").ID, 10)))
	if !strings.Contains(told, "untrusted, for pool forks: its repository is public") {
		t.Errorf("the operator is told %s", told)
	}
}
