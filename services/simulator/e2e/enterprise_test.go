package e2e_test

import (
	"path/filepath"
	"testing"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
)

// One runner group of the enterprise serves all its organizations, whoever tells of their jobs.
func TestJobsOfAnEnterprisesOrganizationsRunOnItsRunners(t *testing.T) {
	s := start(t, rig.Options{Env: []string{
		"GITHUB_APP_ID=", "GITHUB_APP_PRIVATE_KEY_FILE=", "GITHUB_TOKEN_FILE=" + filepath.Join(t.ArtifactDir(), string(rig.GitHubToken)),
		"RUNNER_SCOPE=enterprise", "RUNNER_ENTERPRISE=octo-corp", "RUNNER_GROUP=modal",
	}})
	ctx := t.Context()
	s.do(s.Simulator.AddEnterprise(ctx, "octo-corp", "globex", "app"))
	s.do(s.Simulator.AddEnterprise(ctx, "octo-corp", "initech", "web"))
	s.do(s.Simulator.AddGroup(ctx, "enterprises/octo-corp", "modal"))
	s.do(s.Simulator.AddHook(ctx, hooks.Enterprise, "octo-corp", s.WebhookURL(), s.Secrets.Webhook))
	s.do(s.Simulator.AddHook(ctx, hooks.Organization, "initech", s.WebhookURL(), s.Secrets.Webhook))

	s.dispatch(ctx, "globex/app", task("told-by-the-enterprise", 0))
	s.dispatch(ctx, "initech/web", task("told-by-both", 0))
	s.succeeds(soon, "told-by-the-enterprise", "told-by-both")
	for _, name := range []string{"told-by-the-enterprise", "told-by-both"} {
		if group := s.job(ctx, name).GroupName; group != "modal" {
			t.Errorf("job %s ran on a runner of the group %q", name, group)
		}
	}
	s.leavesNothing(soon)
	if made := len(s.modal(ctx).Sandboxes); made != 2 {
		t.Errorf("%d sandboxes were made for two jobs", made)
	}
}
