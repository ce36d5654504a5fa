package fakegithub_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/simulator/internal/fakegithub"
	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// TestAnswersFollowTheDescription calls every operation with go-github; the client's transport validates each answer.
func TestAnswersFollowTheDescription(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	ctx := t.Context()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	r.AddAppHook(receiver.URL, secret)
	repoHook, err := r.AddRepoHook("acme", "app", receiver.URL, secret)
	must(t, err)
	orgHook, err := r.AddOrgHook("acme", receiver.URL, secret)
	must(t, err)

	inst, user, app := r.asInstallation(), r.asUser(), r.asApp()
	req := &github.GenerateJITConfigRequest{Name: "r1", RunnerGroupID: 1, Labels: []string{"Modal", "x64"}}
	jit, _, err := inst.Actions.GenerateRepoJITConfig(ctx, "acme", "app", req)
	must(t, err)
	if got := jit.Runner; got.GetStatus() != "offline" || got.GetOS() != "unknown" || got.Labels[0].GetName() != "modal" {
		t.Errorf("new runner %+v, want offline, unknown, labels in lower case", got)
	}
	orgJIT, _, err := inst.Actions.GenerateOrgJITConfig(ctx, "acme", req)
	must(t, err)
	_, _, err = inst.Actions.ListRunners(ctx, "acme", "app", nil)
	must(t, err)
	_, _, err = inst.Actions.ListOrganizationRunners(ctx, "acme", nil)
	must(t, err)
	_, _, err = inst.Actions.GetRunner(ctx, "acme", "app", jit.Runner.GetID())
	must(t, err)
	_, _, err = inst.Actions.GetOrganizationRunner(ctx, "acme", orgJIT.Runner.GetID())
	must(t, err)
	_, err = inst.Actions.RemoveRunner(ctx, "acme", "app", jit.Runner.GetID())
	must(t, err)
	_, err = inst.Actions.RemoveOrganizationRunner(ctx, "acme", orgJIT.Runner.GetID())
	must(t, err)

	run, jobs := r.dispatch("acme/app", world.JobSpec{Name: "build", Labels: []string{"modal"}}, world.JobSpec{Name: "d", Labels: []string{"modal"}, Environment: "prod"})
	job, _, err := inst.Actions.GetWorkflowJobByID(ctx, "acme", "app", jobs[0].ID)
	must(t, err)
	if job.GetStatus() != "queued" || job.GetRunAttempt() != 1 {
		t.Errorf("job is %q in attempt %d, want queued in 1", job.GetStatus(), job.GetRunAttempt())
	}
	for _, status := range []string{"queued", "completed"} {
		runs, _, err := inst.Actions.ListRepositoryWorkflowRuns(ctx, "acme", "app", &github.ListWorkflowRunsOptions{Status: status})
		must(t, err)
		if want := map[string]int{"queued": 1, "completed": 0}[status]; runs.GetTotalCount() != want {
			t.Errorf("%d runs are %s, want %d", runs.GetTotalCount(), status, want)
		}
	}
	own, _, err := inst.Actions.GetWorkflowRunByID(ctx, "acme", "app", run.ID)
	must(t, err)
	if own.GetHeadRepository().GetID() != own.GetRepository().GetID() || !own.GetRepository().GetPrivate() {
		t.Errorf("a run of acme/app is of a commit of %s", own.GetHeadRepository().GetFullName())
	}
	forked, _, err := r.World.Dispatch(world.Workflow{Repo: "acme/app", Head: "Octo/hello", Event: "pull_request", Jobs: []world.JobSpec{{Name: "f", Labels: []string{"other"}}}})
	must(t, err)
	fork, _, err := inst.Actions.GetWorkflowRunByID(ctx, "acme", "app", forked.ID)
	must(t, err)
	if head := fork.GetHeadRepository(); head.GetFullName() != "octo/hello" || !head.GetFork() || head.GetID() == fork.GetRepository().GetID() {
		t.Errorf("a run of a fork's commit is of one of %s", head.GetFullName())
	}
	r.checkRuns(run.SHA)
	must(t, r.World.CancelRun(run.ID))
	list, _, err := inst.Actions.ListWorkflowJobs(ctx, "acme", "app", run.ID, nil)
	must(t, err)
	if got := list.Jobs[0]; got.GetConclusion() != "cancelled" || got.RunnerID == nil || got.GetRunnerID() != 0 || len(got.Steps) != 0 {
		t.Errorf("job cancelled in the queue: %+v, want cancelled with runner 0 and no steps", got)
	}
	_, _, err = inst.Repositories.GetLatestRelease(ctx, "actions", "runner")
	must(t, err)
	_, _, err = inst.RateLimit.Get(ctx)
	must(t, err)

	eventually(t, "all webhooks are delivered", func() bool { return r.Hooks.Stats().Pending == 0 })
	appList, _, err := app.Apps.ListHookDeliveries(ctx, nil)
	must(t, err)
	_, _, err = app.Apps.GetHookDelivery(ctx, appList[0].GetID())
	must(t, err)
	_, _, err = app.Apps.RedeliverHookDelivery(ctx, appList[0].GetID())
	accepted(t, err)
	repoHooks, _, err := user.Repositories.ListHooks(ctx, "acme", "app", nil)
	must(t, err)
	orgHooks, _, err := user.Organizations.ListHooks(ctx, "acme", nil)
	must(t, err)
	for want, got := range map[int64][]*github.Hook{repoHook.ID: repoHooks, orgHook.ID: orgHooks} {
		if len(got) != 1 || got[0].GetID() != want || !got[0].GetActive() || got[0].Events[0] != "workflow_job" || got[0].GetConfig().GetURL() != receiver.URL {
			t.Errorf("listed %v, want hook %d alone", got, want)
		}
	}
	repoList, _, err := user.Repositories.ListHookDeliveries(ctx, "acme", "app", repoHook.ID, nil)
	must(t, err)
	_, _, err = user.Repositories.GetHookDelivery(ctx, "acme", "app", repoHook.ID, repoList[0].GetID())
	must(t, err)
	_, _, err = user.Repositories.RedeliverHookDelivery(ctx, "acme", "app", repoHook.ID, repoList[0].GetID())
	accepted(t, err)
	orgList, _, err := user.Organizations.ListHookDeliveries(ctx, "acme", orgHook.ID, nil)
	must(t, err)
	_, _, err = user.Organizations.GetHookDelivery(ctx, "acme", orgHook.ID, orgList[0].GetID())
	must(t, err)
	_, _, err = user.Organizations.RedeliverHookDelivery(ctx, "acme", orgHook.ID, orgList[0].GetID())
	accepted(t, err)

	notServed := []string{"POST /app-manifests/{code}/conversions", "GET /meta"}
	for template, item := range r.check.doc.Paths.Map() {
		for method := range item.Operations() {
			if name := method + " " + template; !r.check.seen[name] && !slices.Contains(notServed, name) {
				t.Errorf("%s of the description was not called", name)
			}
		}
	}
}

// accepted knows that go-github turns every 202 into an error.
func accepted(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*github.AcceptedError](err); !ok {
		t.Errorf("got error %v, want an AcceptedError", err)
	}
}

func TestJITConfigRefusals(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	r.jit("taken", "modal")
	valid := `{"name":"r","runner_group_id":1,"labels":["modal"]}`
	many := `{"name":"r","runner_group_id":1,"labels":["` + strings.Repeat(`x","`, 100) + `x"]}`
	tests := []struct {
		name, path, token, body string
		status                  int
		message                 string
	}{
		{"no credentials", "/repos/acme/app", "", valid, 401, "Requires authentication"},
		{"wrong credentials", "/repos/acme/app", "token nope", valid, 401, "Bad credentials"},
		{"a hosted group", "/repos/acme/app", "token " + pat, strings.Replace(valid, ":1", ":2", 1), 403, "Runners cannot be added"},
		{"an unknown group", "/repos/acme/app", "token " + pat, strings.Replace(valid, ":1", ":99999", 1), 404, "Not Found"},
		{"an unknown repository", "/repos/acme/nope", "token " + pat, valid, 404, "Not Found"},
		{"a user as an organization", "/orgs/octo", "token " + pat, valid, 404, "Not Found"},
		{"a name that is taken", "/repos/acme/app", "token " + pat, strings.Replace(valid, `"r"`, `"taken"`, 1), 409, "Already exists - A runner with the name taken already exists."},
		{"no group", "/repos/acme/app", "token " + pat, `{"name":"r","labels":["modal"]}`, 422, "missing required key: runner_group_id"},
		{"no name", "/repos/acme/app", "token " + pat, `{"runner_group_id":1,"labels":["modal"]}`, 422, "missing required key: name"},
		{"no labels", "/repos/acme/app", "token " + pat, `{"name":"r","runner_group_id":1,"labels":[]}`, 422, "labels must have 1 to 100 items (got 0)"},
		{"too many labels", "/repos/acme/app", "token " + pat, many, 422, "(got 101)"},
		{"a group that is no number", "/repos/acme/app", "token " + pat, strings.Replace(valid, ":1", `:"1"`, 1), 422, "Invalid input"},
		{"broken JSON", "/repos/acme/app", "token " + pat, "{", 400, "Problems parsing JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := call(r.GitHub, http.MethodPost, tt.path+"/actions/runners/generate-jitconfig", tt.token, tt.body)
			if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.message) || !strings.Contains(rec.Body.String(), "documentation_url") {
				t.Errorf("got %d %s, want %d with %q", rec.Code, rec.Body, tt.status, tt.message)
			}
			if rec.Header().Get("X-Github-Request-Id") == "" {
				t.Error("no request id")
			}
		})
	}
}

func call(h http.Handler, method, path, auth, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestAppAuthentication(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	now := time.Now()
	sign := func(method jwt.SigningMethod, key any, issuer string, issued, expires time.Time) string {
		out, err := jwt.NewWithClaims(method, jwt.RegisteredClaims{
			Issuer: issuer, IssuedAt: jwt.NewNumericDate(issued), ExpiresAt: jwt.NewNumericDate(expires),
		}).SignedString(key)
		must(t, err)
		return "Bearer " + out
	}
	past, future := now.Add(-time.Minute), now.Add(time.Minute)
	tests := []struct {
		name, auth string
		status     int
		message    string
	}{
		{"a good JWT", sign(jwt.SigningMethodRS256, appKey(), "4711", past, future), 200, "modal-github-runner"},
		{"no credentials", "", 401, "could not be decoded"},
		{"a token instead of a JWT", "token " + pat, 401, "could not be decoded"},
		{"another algorithm", sign(jwt.SigningMethodHS256, []byte("x"), "4711", past, future), 401, "could not be decoded"},
		{"another App", sign(jwt.SigningMethodRS256, appKey(), "1", past, future), 401, "'Issuer' claim"},
		{"issued in the future", sign(jwt.SigningMethodRS256, appKey(), "4711", future, future), 401, "'Issued at' claim"},
		{"expired", sign(jwt.SigningMethodRS256, appKey(), "4711", past, past), 401, "'Expiration time' claim ('exp') must be"},
		{"valid for too long", sign(jwt.SigningMethodRS256, appKey(), "4711", past, now.Add(11*time.Minute)), 401, "too far in the future"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := call(r.GitHub, http.MethodGet, "/app", tt.auth, "")
			if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.message) {
				t.Errorf("got %d %s, want %d with %q", rec.Code, rec.Body, tt.status, tt.message)
			}
		})
	}
}

func TestInstallationTokens(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	app, ctx := r.asApp(), t.Context()
	token, _, err := app.Apps.CreateInstallationToken(ctx, r.inst.ID, &github.InstallationTokenOptions{
		Permissions: &github.InstallationPermissions{Actions: new("read")},
	})
	must(t, err)
	if n := len(token.GetToken()); n < 400 || !strings.HasPrefix(token.GetToken(), "ghs_4711_") {
		t.Errorf("the token has %d characters, want GitHub's long form", n)
	}
	auth := "token " + token.GetToken()
	tests := []struct {
		name, path string
		status     int
	}{
		{"reads what it was given", "/repos/acme/app/actions/runs", 200},
		{"does not read what it was not given", "/repos/acme/app/actions/runners", 403},
		{"does not see another owner's repository", "/repos/octo/hello/actions/runs", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if rec := call(r.GitHub, http.MethodGet, tt.path, auth, ""); rec.Code != tt.status {
				t.Errorf("got %d %s, want %d", rec.Code, rec.Body, tt.status)
			}
		})
	}
	for name, o := range map[string]*github.InstallationTokenOptions{
		"more permissions than the App has": {Permissions: &github.InstallationPermissions{Contents: new("write")}},
		"an unknown repository":             {Repositories: []string{"nope"}},
	} {
		if _, resp, err := app.Apps.CreateInstallationToken(ctx, r.inst.ID, o); err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %v, want 422", name, err)
		}
	}
	found, resp, err := app.Apps.CreateInstallationToken(ctx, 1, nil)
	if err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown installation: got %v, %v, want 404", found, err)
	}
}

// bubble makes a GitHub without a listener, for tests that live in a synctest bubble.
func bubble(t *testing.T, o fakegithub.Options) *fakegithub.GitHub {
	o.AppID, o.AppKey, o.Tokens = appID, &appKey().PublicKey, []string{pat}
	gh, err := fakegithub.New(o)
	must(t, err)
	t.Cleanup(gh.Close)
	_, err = gh.World.AddOwner("acme", true)
	must(t, err)
	_, err = gh.World.AddRepo("acme", "app", true)
	must(t, err)
	_, err = gh.World.Install("acme")
	must(t, err)
	return gh
}

func TestInstallationTokenExpires(t *testing.T) {
	appKey() // outside the bubble: it is shared
	synctest.Test(t, func(t *testing.T) {
		gh := bubble(t, fakegithub.Options{})
		signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
			Issuer: "4711", IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Minute)),
		}).SignedString(appKey())
		must(t, err)
		id := gh.World.Installations()[0].ID
		rec := call(gh, http.MethodPost, "/app/installations/"+itoa(id)+"/access_tokens", "Bearer "+signed, "")
		token := field[string](t, rec, "token")
		path := "/repos/acme/app/actions/runs"
		time.Sleep(time.Hour - 2*time.Second)
		if rec := call(gh, http.MethodGet, path, "token "+token, ""); rec.Code != http.StatusOK {
			t.Errorf("before its end the token gives %d, want 200", rec.Code)
		}
		time.Sleep(2 * time.Second)
		if rec := call(gh, http.MethodGet, path, "token "+token, ""); rec.Code != http.StatusUnauthorized {
			t.Errorf("after its end the token gives %d, want 401", rec.Code)
		}
	})
}

func TestRateLimits(t *testing.T) {
	appKey()
	get := func(gh *fakegithub.GitHub, path string) *httptest.ResponseRecorder {
		return call(gh, http.MethodGet, path, "token "+pat, "")
	}
	t.Run("the hourly budget ends and comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gh := bubble(t, fakegithub.Options{Limits: ratelimit.Limits{PerHour: 2}})
			for want := 1; want >= 0; want-- {
				if got := get(gh, "/repos/acme/app/actions/runs").Header().Get("X-Ratelimit-Remaining"); got != itoa(int64(want)) {
					t.Errorf("remaining %s, want %d", got, want)
				}
			}
			rec := get(gh, "/repos/acme/app/actions/runs")
			if rec.Code != http.StatusForbidden || rec.Header().Get("X-Ratelimit-Remaining") != "0" || !strings.Contains(rec.Body.String(), "API rate limit exceeded") {
				t.Errorf("over the budget: %d %s", rec.Code, rec.Body)
			}
			if rec := get(gh, "/rate_limit"); rec.Code != http.StatusOK {
				t.Errorf("GET /rate_limit gives %d, want 200: it is free", rec.Code)
			}
			time.Sleep(time.Hour)
			if rec := get(gh, "/repos/acme/app/actions/runs"); rec.Code != http.StatusOK {
				t.Errorf("an hour later: %d, want 200", rec.Code)
			}
		})
	})
	t.Run("900 points a minute are 180 writes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gh := bubble(t, fakegithub.Options{Limits: ratelimit.Limits{Status: http.StatusTooManyRequests}})
			served := 0
			for n := range 181 {
				body := `{"name":"r` + itoa(int64(n)) + `","runner_group_id":1,"labels":["modal"]}`
				rec := call(gh, http.MethodPost, "/repos/acme/app/actions/runners/generate-jitconfig", "token "+pat, body)
				if rec.Code == http.StatusCreated {
					served++
				} else if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") != "60" || !strings.Contains(rec.Body.String(), "secondary-rate-limits") {
					t.Errorf("refusal %d %s", rec.Code, rec.Body)
				}
			}
			stats := gh.APIStats()
			if served != 180 || stats.SecondaryRefusals != 1 || stats.PeakPointsPerMinute != 905 {
				t.Errorf("served %d with %+v, want 180, one refusal, a peak of 905", served, stats)
			}
			time.Sleep(time.Minute)
			if rec := get(gh, "/repos/acme/app/actions/runs"); rec.Code != http.StatusOK {
				t.Errorf("a minute later: %d, want 200", rec.Code)
			}
		})
	})
}

func TestFaults(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	body := `{"name":"r","runner_group_id":1,"labels":["modal"]}`
	post := func() *httptest.ResponseRecorder {
		return call(r.GitHub, http.MethodPost, "/repos/acme/app/actions/runners/generate-jitconfig", "token "+pat, body)
	}
	must(t, r.Faults.Set([]fault.Rule{{Op: "github.generate-jitconfig", Times: 1, Error: "503"}, {Op: "github.generate-jitconfig", Times: 1, Error: "502", After: true}}))
	if rec := post(); rec.Code != http.StatusServiceUnavailable || len(r.World.Runners(world.Scope{})) != 0 {
		t.Errorf("fault before the act: %d with %d runners, want 503 with none", rec.Code, len(r.World.Runners(world.Scope{})))
	}
	if rec := post(); rec.Code != http.StatusBadGateway || len(r.World.Runners(world.Scope{})) != 1 {
		t.Errorf("fault after the act: %d with %d runners, want 502 with one", rec.Code, len(r.World.Runners(world.Scope{})))
	}
	if rec := post(); rec.Code != http.StatusConflict {
		t.Errorf("the repeated request gives %d, want 409 as at GitHub", rec.Code)
	}
	if got := r.APIStats().Calls["github.generate-jitconfig"]; got[503] != 1 || got[502] != 1 || got[409] != 1 {
		t.Errorf("counted %v, want one of each", got)
	}
}

func TestRunnerListIsPagedAndFiltered(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	for n := range 5 {
		r.jit("r"+itoa(int64(n)), "modal")
	}
	var names []string
	opts := &github.ListRunnersOptions{ListOptions: github.ListOptions{PerPage: 2}}
	for {
		got, resp, err := r.asInstallation().Actions.ListRunners(t.Context(), "acme", "app", opts)
		must(t, err)
		for _, runner := range got.Runners {
			names = append(names, runner.GetName())
		}
		if resp.NextPage == 0 {
			break
		}
		opts.Page = resp.NextPage
	}
	if got := strings.Join(names, " "); got != "r0 r1 r2 r3 r4" {
		t.Errorf("pages gave %q", got)
	}
	got, _, err := r.asInstallation().Actions.ListRunners(t.Context(), "acme", "app", &github.ListRunnersOptions{Name: new("r3")})
	must(t, err)
	if got.TotalCount != 1 || got.Runners[0].GetName() != "r3" {
		t.Errorf("filter gave %+v, want r3 alone", got)
	}
}

// The description in testdata has no runner groups. The group of hosted runners is none of an organization's own.
func TestRunnerGroupsOfAnOrganizationAreListed(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	id, err := r.World.AddGroup("acme", "gpu")
	must(t, err)
	c := r.client(&http.Transport{}).WithAuthToken(pat)
	var got []string
	for opts := (&github.ListOrgRunnerGroupOptions{ListOptions: github.ListOptions{Page: 1, PerPage: 1}}); opts.Page != 0; {
		groups, resp, err := c.Actions.ListOrganizationRunnerGroups(t.Context(), "acme", opts)
		must(t, err)
		for _, g := range groups.RunnerGroups {
			got = append(got, fmt.Sprintf("%d of %d: %d %s %s %v", opts.Page, groups.TotalCount, g.GetID(), g.GetName(), g.GetVisibility(), g.GetDefault()))
		}
		opts.Page = resp.NextPage
	}
	want := []string{"1 of 2: 1 Default all true", fmt.Sprintf("2 of 2: %d gpu all false", id)}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, owner := range []string{"octo", "nobody"} { // A user has no groups.
		_, resp, err := c.Actions.ListOrganizationRunnerGroups(t.Context(), owner, nil)
		if err == nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %v, want 404", owner, err)
		}
	}
}

// GitHub lets people manage an enterprise's runners, and no App.
func TestRunnersOfAnEnterprise(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	_, err := r.World.Join("acme", "octo-corp")
	must(t, err)
	group, err := r.World.AddGroup("enterprises/octo-corp", "gpu")
	must(t, err)
	ctx, c := t.Context(), r.client(&http.Transport{}).WithAuthToken(pat)
	req := &github.GenerateJITConfigRequest{Name: "r", RunnerGroupID: group, Labels: []string{"Modal"}}
	made, _, err := c.Enterprise.GenerateEnterpriseJITConfig(ctx, "octo-corp", req)
	must(t, err)
	if _, resp, err := c.Enterprise.GenerateEnterpriseJITConfig(ctx, "Octo-Corp", req); err == nil || resp.StatusCode != http.StatusConflict {
		t.Errorf("the same again: %v, want 409", err)
	}
	groups, _, err := c.Enterprise.ListRunnerGroups(ctx, "octo-corp", nil)
	must(t, err)
	if len(groups.RunnerGroups) != 2 || groups.RunnerGroups[1].GetName() != "gpu" || groups.RunnerGroups[1].GetID() != group {
		t.Errorf("groups: %+v", groups)
	}
	found, _, err := c.Enterprise.ListRunners(ctx, "octo-corp", &github.ListRunnersOptions{Name: new("r")})
	must(t, err)
	if found.TotalCount != 1 || found.Runners[0].GetID() != made.GetRunner().GetID() {
		t.Errorf("runners: %+v", found)
	}
	if elsewhere, _, err := c.Actions.ListOrganizationRunners(ctx, "acme", nil); err != nil || elsewhere.TotalCount != 0 {
		t.Errorf("the organization has %+v, %v", elsewhere, err)
	}
	_, err = c.Enterprise.RemoveRunner(ctx, "octo-corp", made.GetRunner().GetID())
	must(t, err)
	for name, try := range map[string]func() (*github.Response, error){
		"an App": func() (*github.Response, error) {
			installed, err := ghinstallation.New(&http.Transport{}, appID, r.inst.ID, appKeyPEM()) // The description in testdata has no enterprises.
			must(t, err)
			installed.BaseURL = r.url + "/api/v3"
			_, resp, err := r.client(installed).Enterprise.GenerateEnterpriseJITConfig(ctx, "octo-corp", req)
			return resp, err
		},
		"an enterprise that is not there": func() (*github.Response, error) { return c.Enterprise.RemoveRunner(ctx, "other", 1) },
		"a runner that is gone": func() (*github.Response, error) {
			return c.Enterprise.RemoveRunner(ctx, "octo-corp", made.GetRunner().GetID())
		},
	} {
		want := http.StatusNotFound
		if name == "an App" {
			want = http.StatusForbidden
		}
		if resp, err := try(); err == nil || resp.StatusCode != want {
			t.Errorf("%s: got %v, want %d", name, err, want)
		}
	}
}

// Its runners serve its organizations, and its webhook tells of their jobs.
func TestAnEnterpriseHasItsOrganizationsJobs(t *testing.T) {
	r := newRig(t, fakegithub.Options{})
	_, err := r.World.Join("acme", "octo-corp")
	must(t, err)
	_, acme, err := r.World.Dispatch(world.Workflow{Repo: "acme/app", Jobs: []world.JobSpec{{Name: "a", Labels: []string{"modal"}}}})
	must(t, err)
	_, octo, err := r.World.Dispatch(world.Workflow{Repo: "octo/hello", Jobs: []world.JobSpec{{Name: "o", Labels: []string{"modal"}}}})
	must(t, err)
	corp := world.Scope{Enterprise: "OCTO-corp"}
	if !corp.Covers(acme[0]) || corp.Covers(octo[0]) || (world.Scope{Enterprise: "other"}).Covers(acme[0]) {
		t.Errorf("runners of the enterprise may get %+v and %+v", acme[0], octo[0])
	}
	if _, err := r.World.Join("octo", "octo-corp"); !errors.Is(err, world.ErrNotFound) {
		t.Errorf("a user joins an enterprise: %v", err)
	}
	if _, err := r.AddEnterpriseHook("other", "http://127.0.0.1", ""); !errors.Is(err, world.ErrNotFound) {
		t.Errorf("a webhook of an enterprise that is not there: %v", err)
	}
}

func TestNewRefusesOptions(t *testing.T) {
	if _, err := fakegithub.New(fakegithub.Options{}); err == nil || !strings.Contains(err.Error(), "AppKey, Tokens") {
		t.Errorf("no credentials: got %v", err)
	}
	if _, err := fakegithub.New(fakegithub.Options{AppKey: &appKey().PublicKey}); err == nil || !strings.Contains(err.Error(), "AppID: must be positive") {
		t.Errorf("no App id: got %v", err)
	}
}
