package fakegithub_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/world"
)

// checkRuns makes, changes and lists a check run of a commit as an App does; the client validates the answers.
func (r *rig) checkRuns(sha string) {
	r.t.Helper()
	c := r.asInstallation().Checks
	made, _, err := c.CreateCheckRun(r.t.Context(), "acme", "app", github.CreateCheckRunOptions{
		Name: "lint", HeadSHA: sha, ExternalID: new("7"), Status: new("completed"), Conclusion: new("failure"),
		Output: &github.CheckRunOutput{Title: new("no"), Summary: new("not at all")},
	})
	must(r.t, err)
	if made.GetStatus() != "completed" || made.GetConclusion() != "failure" || made.CompletedAt.IsZero() || made.GetApp().GetID() != appID {
		r.t.Errorf("made %v", made)
	}
	changed, _, err := c.UpdateCheckRun(r.t.Context(), "acme", "app", made.GetID(), github.UpdateCheckRunOptions{Name: "lint", Conclusion: new("neutral")})
	must(r.t, err)
	if changed.GetConclusion() != "neutral" || changed.GetOutput().GetSummary() != "not at all" || changed.GetExternalID() != "7" {
		r.t.Errorf("changed to %v, want neutral and all else as it was", changed)
	}
	listed, _, err := c.ListCheckRunsForRef(r.t.Context(), "acme", "app", sha, &github.ListCheckRunsOptions{AppID: new(int64(appID))})
	must(r.t, err)
	if listed.GetTotal() != 1 || listed.CheckRuns[0].GetID() != made.GetID() || listed.CheckRuns[0].GetConclusion() != "neutral" {
		r.t.Errorf("listed %v, want the one that was made", listed.CheckRuns)
	}
}

func TestCheckRunsOfACommitAreThoseOfAppsAndOfJobs(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	run, jobs := r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}}, world.JobSpec{Name: "lint", Labels: []string{"modal"}})
	var made []int64
	for range 2 { // Of one name.
		c, _, err := r.asInstallation().Checks.CreateCheckRun(t.Context(), "acme", "app", github.CreateCheckRunOptions{Name: "lint", HeadSHA: run.SHA})
		must(t, err)
		made = append(made, c.GetID())
	}
	tests := []struct {
		name string
		opts github.ListCheckRunsOptions
		want []int64
	}{
		{"the latest of each App and name", github.ListCheckRunsOptions{}, []int64{made[1], jobs[1].ID, jobs[0].ID}},
		{"all", github.ListCheckRunsOptions{Filter: new("all")}, []int64{made[1], made[0], jobs[1].ID, jobs[0].ID}},
		{"of a name", github.ListCheckRunsOptions{CheckName: new("lint")}, []int64{made[1], jobs[1].ID}},
		{"of an App", github.ListCheckRunsOptions{AppID: new(int64(15368))}, []int64{jobs[1].ID, jobs[0].ID}},
		{"of a status", github.ListCheckRunsOptions{Status: new("completed")}, nil},
		{"of a page", github.ListCheckRunsOptions{ListOptions: github.ListOptions{Page: 2, PerPage: 2}}, []int64{jobs[0].ID}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := r.asUser().Checks.ListCheckRunsForRef(t.Context(), "acme", "app", run.SHA, &tt.opts)
			must(t, err)
			var ids []int64
			for _, c := range got.CheckRuns {
				ids = append(ids, c.GetID())
			}
			if fmt.Sprint(ids) != fmt.Sprint(tt.want) {
				t.Errorf("listed %v, want %v", ids, tt.want)
			}
		})
	}
}

func TestCheckRunRefusals(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	run, jobs := r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}})
	token := func(permission string) string {
		issued, _, err := r.asApp().Apps.CreateInstallationToken(t.Context(), r.inst.ID, &github.InstallationTokenOptions{
			Permissions: &github.InstallationPermissions{Checks: new(permission)},
		})
		must(t, err)
		return "token " + issued.GetToken()
	}
	may, reads := token("write"), token("read")
	const path = "/repos/acme/app/check-runs"
	valid := fmt.Sprintf(`{"name":"lint","head_sha":%q`, run.SHA)
	tests := []struct {
		name, method, path, auth, body string
		status                         int
		message                        string
	}{
		{"a person", "POST", path, "token " + pat, valid + "}", 403, "You must authenticate via a GitHub App."},
		{"nobody", "POST", path, "", valid + "}", 401, "Requires authentication"},
		{"an App that may only read", "POST", path, reads, valid + "}", 403, "Resource not accessible by integration"},
		{"another owner's repository", "POST", "/repos/octo/hello/check-runs", may, valid + "}", 404, "Not Found"},
		{"no name", "POST", path, may, `{"head_sha":"x"}`, 422, "weren't supplied"},
		{"an unknown commit", "POST", path, may, `{"name":"lint","head_sha":"beef"}`, 422, "No commit found for SHA: beef"},
		{"the end without a conclusion", "POST", path, may, valid + `,"status":"completed"}`, 422, "conclusion"},
		{"a status that only Actions has", "POST", path, may, valid + `,"status":"waiting"}`, 422, "waiting is not a member of"},
		{"a conclusion that only GitHub gives", "POST", path, may, valid + `,"conclusion":"stale"}`, 422, "stale is not a member of"},
		{"an output without a summary", "POST", path, may, valid + `,"output":{"title":"x"}}`, 422, "weren't supplied"},
		{"a summary that is too long", "POST", path, may, valid + `,"output":{"title":"x","summary":"` + strings.Repeat("x", 65536) + `"}}`, 422, "exceeds a maximum of 65535"},
		{"a number for a name", "POST", path, may, `{"name":7}`, 422, "Invalid request"},
		{"broken JSON", "POST", path, may, "{", 400, "Problems parsing JSON"},
		{"a change by a person", "PATCH", path + "/1", "token " + pat, "{}", 403, "You must authenticate via a GitHub App."},
		{"a change of what is not there", "PATCH", path + "/1", may, "{}", 404, "Not Found"},
		{"a change of what is no id", "PATCH", path + "/x", may, "{}", 404, "Not Found"},
		{"a change of a job", "PATCH", path + "/" + itoa(jobs[0].ID), may, "{}", 403, "can only be modified by the GitHub App that created it"},
		{"a list of an unknown commit", "GET", "/repos/acme/app/commits/beef/check-runs", reads, "", 422, "No commit found for SHA: beef"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := call(r.GitHub, tt.method, tt.path, tt.auth, tt.body)
			if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.message) {
				t.Errorf("got %d %s, want %d with %q", rec.Code, rec.Body, tt.status, tt.message)
			}
		})
	}
	if rec := call(r.GitHub, http.MethodGet, "/repos/acme/app/commits/"+run.SHA+"/check-runs", reads, ""); !strings.Contains(rec.Body.String(), `"total_count":1`) {
		t.Errorf("after the refusals: %s, want the job alone", rec.Body)
	}
}
