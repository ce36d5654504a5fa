package run_test

import (
	"testing"

	"modal-github-runner/services/worker/internal/run"
)

func TestToRunnersOfWhichScopesGitHubMayGiveAJob(t *testing.T) {
	t.Parallel()
	ofOrg, ofUser := run.Job{Owner: "octo", Repo: "app", OrgOwned: true}, run.Job{Owner: "octo", Repo: "app"}
	corp := run.EnterpriseScope("octo-corp")
	for _, test := range []struct {
		what  string
		job   run.Job
		scope string
		want  bool
	}{
		{"of its repository", ofOrg, "Octo/App", true},
		{"of its organization", ofOrg, "OCTO", true},
		{"of the enterprise", ofOrg, corp, true},
		{"of another repository", ofOrg, "octo/web", false},
		{"of another organization", ofOrg, "acme", false},
		{"of a user's repository", ofUser, "octo/app", true},
		{"of the enterprise, which has no users' repositories", ofUser, corp, false},
	} {
		if got := test.job.Reaches(test.scope); got != test.want {
			t.Errorf("%s: %v", test.what, got)
		}
	}
	for scope, want := range map[string]string{corp: "octo-corp", "octo-corp": "", "octo/enterprises": "", "": ""} {
		if got, ok := run.EnterpriseOf(scope); got != want || ok != (want != "") {
			t.Errorf("the enterprise of %q is %q, %v", scope, got, ok)
		}
	}
}

// A spare runner of the enterprise serves a job of any of its organizations, as GitHub has it.
func TestASpareRunnerOfTheEnterpriseWillDoForAnotherOrganizationsJob(t *testing.T) {
	t.Parallel()
	spare := run.Runner{Name: runner(2, 1), State: run.Launched, Job: job(2), Scope: run.EnterpriseScope("octo-corp"), For: 2}
	spare.Job.Owner, spare.Job.OrgOwned = "acme", true
	for _, ofOrg := range []bool{true, false} {
		before := waiting(func(r *run.Run) { r.Job.OrgOwned = ofOrg })
		after, _ := run.Decide(before, run.Lost{Runner: runner(1, 1), Spare: spare, From: 2}, now)
		if counted := after.Runner == spare.Name; counted != ofOrg {
			t.Errorf("of an organization: %v; counts on %v", ofOrg, after.Runner)
		}
	}
}
