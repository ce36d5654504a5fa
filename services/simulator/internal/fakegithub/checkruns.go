package fakegithub

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"modal-github-runner/services/simulator/internal/fakegithub/access"
	"modal-github-runner/services/simulator/internal/fakegithub/checks"
	"modal-github-runner/services/simulator/internal/fakegithub/reply"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/world"
)

const (
	// actionsApp is the App that makes a check run of each job.
	actionsApp, actionsSlug = 15368, "github-actions"
	completed               = "completed"
	// maxSummary is in characters (GitHub's OpenAPI description).
	maxSummary = 65535
)

// Values of a check run that an App may set (GitHub's OpenAPI description).
//
//nolint:gochecknoglobals // constant lists
var (
	checkStatuses    = [...]string{"queued", "in_progress", completed}
	checkConclusions = [...]string{"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}
)

// checkRequest has pointers where a missing key leaves what there is.
type checkRequest struct {
	Name        *string    `json:"name"`
	HeadSHA     *string    `json:"head_sha"`
	DetailsURL  *string    `json:"details_url"`
	ExternalID  *string    `json:"external_id"`
	Status      *string    `json:"status"`
	Conclusion  *string    `json:"conclusion"`
	StartedAt   *time.Time `json:"started_at"`
	CompletedAt *time.Time `json:"completed_at"`
	Output      *struct {
		Title   *string `json:"title"`
		Summary *string `json:"summary"`
		Text    string  `json:"text"`
	} `json:"output"`
}

// checkRequest reads what an App wants to say. Nobody but an App may say anything.
func (c *call) checkRequest() (in checkRequest, err error) {
	if c.who.Role != access.Installed {
		return in, &reply.Error{Status: http.StatusForbidden, Message: "You must authenticate via a GitHub App.", Doc: "/checks/runs"}
	}
	if err := json.NewDecoder(c.Body).Decode(&in); err != nil {
		if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); wrongType {
			return in, reply.Fail(http.StatusUnprocessableEntity, "Invalid request.\n\n%s", err)
		}
		return in, reply.Fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	return in, in.check()
}

func (in checkRequest) check() error {
	invalid := func(format string, args ...any) error {
		return reply.Fail(http.StatusUnprocessableEntity, "Invalid request.\n\n"+format, args...)
	}
	switch {
	case in.Status != nil && !slices.Contains(checkStatuses[:], *in.Status):
		return invalid("%s is not a member of %v", *in.Status, checkStatuses)
	case in.Conclusion != nil && !slices.Contains(checkConclusions[:], *in.Conclusion):
		return invalid("%s is not a member of %v", *in.Conclusion, checkConclusions)
	case in.Conclusion == nil && (in.CompletedAt != nil || in.Status != nil && *in.Status == completed):
		return invalid(`"conclusion" wasn't supplied.`)
	case in.Output != nil && (in.Output.Title == nil || in.Output.Summary == nil):
		return invalid(`"title", "summary" weren't supplied.`)
	case in.Output != nil && utf8.RuneCountInString(*in.Output.Summary) > maxSummary:
		return invalid("summary exceeds a maximum of %d characters", maxSummary)
	}
	return nil
}

// apply changes r as the request says.
func (in checkRequest) apply(r *checks.Run) {
	r.Name, r.DetailsURL, r.ExternalID = or(in.Name, r.Name), or(in.DetailsURL, r.DetailsURL), or(in.ExternalID, r.ExternalID)
	r.Status, r.StartedAt = or(in.Status, r.Status), or(in.StartedAt, r.StartedAt)
	if in.Output != nil {
		r.Title, r.Summary, r.Text = *in.Output.Title, *in.Output.Summary, in.Output.Text
	}
	if in.Conclusion != nil {
		r.Status, r.Conclusion, r.CompletedAt = completed, *in.Conclusion, or(in.CompletedAt, time.Now())
	}
}

func or[T any](given *T, otherwise T) T {
	if given != nil {
		return *given
	}
	return otherwise
}

// createCheckRun serves POST /repos/{owner}/{repo}/check-runs.
func createCheckRun(c *call) (answer, error) {
	in, err := c.checkRequest()
	if err != nil {
		return answer{}, err
	}
	repo, err := c.repo()
	if err != nil {
		return answer{}, err
	}
	if in.Name == nil || in.HeadSHA == nil {
		return answer{}, reply.Fail(http.StatusUnprocessableEntity, "Invalid request.\n\n\"name\", \"head_sha\" weren't supplied.")
	}
	if _, err := c.commit(repo, *in.HeadSHA); err != nil {
		return answer{}, err
	}
	r := checks.Run{App: c.who.App, Repo: strings.ToLower(repo.FullName()), SHA: *in.HeadSHA, Status: "queued", StartedAt: time.Now()}
	in.apply(&r)
	return answer{status: http.StatusCreated, body: c.renderCheck(c.gh.checks.Add(r), repo)}, nil
}

// updateCheckRun serves PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}.
func updateCheckRun(c *call) (answer, error) {
	in, err := c.checkRequest()
	if err != nil {
		return answer{}, err
	}
	repo, err := c.repo()
	if err != nil {
		return answer{}, err
	}
	id, err := c.id("check_run_id")
	if err != nil {
		return answer{}, err
	}
	if job, isJob := c.gh.World.Job(id); isJob && strings.EqualFold(job.Repo, repo.FullName()) {
		return answer{}, reply.Fail(http.StatusForbidden,
			"Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", actionsApp)
	}
	if made, found := c.gh.checks.Find(strings.ToLower(repo.FullName()), id); found && made.App != c.who.App {
		return answer{}, reply.Fail(http.StatusForbidden,
			"Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", made.App)
	}
	r, found := c.gh.checks.Change(strings.ToLower(repo.FullName()), id, in.apply)
	if !found {
		return answer{}, errNotFound
	}
	return ok(c.renderCheck(r, repo))
}

// listCheckRuns serves GET /repos/{owner}/{repo}/commits/{ref}/check-runs. A ref is the SHA of a commit here. The jobs are check
// runs, too.
func listCheckRuns(c *call) (answer, error) {
	repo, err := c.repo()
	if err != nil {
		return answer{}, err
	}
	workflows, err := c.commit(repo, c.PathValue("ref"))
	if err != nil {
		return answer{}, err
	}
	all := c.gh.checks.Of(strings.ToLower(repo.FullName()), c.PathValue("ref"))
	for _, w := range workflows {
		for _, j := range slices.Backward(c.gh.World.RunJobs(w.ID, true)) {
			all = append(all, checkOf(j, w))
		}
	}
	q, latest := c.URL.Query(), map[string]bool{}
	all = slices.DeleteFunc(all, func(r checks.Run) bool {
		key := fmt.Sprint(r.App, r.Name)
		older := latest[key] && q.Get("filter") != "all"
		latest[key] = true
		is := func(key, value string) bool { return !q.Has(key) || q.Get(key) == value }
		return older || !is("check_name", r.Name) || !is("app_id", strconv.FormatInt(r.App, 10)) || !is("status", r.Status)
	})
	return list(c, "check_runs", all, func(r checks.Run) shape.Object { return c.renderCheck(r, repo) }), nil
}

// commit finds the workflow runs of a commit. No other commits are known here.
func (c *call) commit(repo world.Repo, sha string) ([]world.Run, error) {
	runs := slices.DeleteFunc(c.gh.World.Runs(repo.FullName()), func(r world.Run) bool { return r.SHA != sha })
	if len(runs) == 0 {
		return nil, reply.Fail(http.StatusUnprocessableEntity, "No commit found for SHA: %s", sha)
	}
	return runs, nil
}

// checkOf is the check run that GitHub Actions makes of a job.
func checkOf(j world.Job, w world.Run) checks.Run {
	return checks.Run{
		ID: j.ID, Suite: w.ID, App: actionsApp, Repo: strings.ToLower(j.Repo), SHA: w.SHA, Name: j.Name, Status: string(j.Status),
		Conclusion: string(j.Conclusion), StartedAt: cmp.Or(j.StartedAt, j.CreatedAt), CompletedAt: j.CompletedAt,
	}
}

func (c *call) renderCheck(r checks.Run, repo world.Repo) shape.Object {
	api := fmt.Sprintf("%s/repos/%s/check-runs/%d", c.links.API, repo.FullName(), r.ID)
	page := fmt.Sprintf("%s/%s/runs/%d", c.links.HTML, repo.FullName(), r.ID)
	app := c.renderApp(r.App, appSlug)
	if r.App == actionsApp {
		app = c.renderApp(r.App, actionsSlug)
	}
	return shape.Object{
		"id": r.ID, "node_id": shape.NodeID("CheckRun", r.ID), "head_sha": r.SHA, "external_id": r.ExternalID, "name": r.Name,
		"url": api, "html_url": page, "details_url": cmp.Or(r.DetailsURL, page), "status": r.Status, "conclusion": orNull(r.Conclusion),
		"started_at": shape.Time(r.StartedAt), "completed_at": shape.Time(r.CompletedAt), "check_suite": shape.Object{"id": r.Suite},
		"app": app, "pull_requests": []shape.Object{},
		"output": shape.Object{
			"title": orNull(r.Title), "summary": orNull(r.Summary), "text": orNull(r.Text),
			"annotations_count": 0, "annotations_url": api + "/annotations",
		},
	}
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// CheckRuns lists those that the App made, oldest first.
func (g *GitHub) CheckRuns() []checks.Run { return g.checks.All() }
