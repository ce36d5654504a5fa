package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// What a check run of ours says (docs.github.com, REST API endpoints for check runs).
const (
	noticePrefix   = "Modal runner: "
	statusComplete = "completed"
	// toldConclusion is red in the list of checks, and merges nothing away unless somebody requires a check of this name.
	toldConclusion      = "failure"
	withdrawnConclusion = "neutral"
	toldTitle           = "No runner for this job: it was given up"
	withdrawnTitle      = "This job has got its runner after all"
	// maxReason bounds the reason, in bytes: GitHub takes 65,535 characters, and nobody reads as many.
	maxReason = 4000
)

// errNoChecks says that GitHub lets nobody but an App make a check run.
var errNoChecks = errors.New("a token can't make check runs")

// Inform makes a completed check run on the job's commit that says for what reason the job was given up, or changes the one
// that there is. Without a reason it makes the one that there is say that a runner took the job after all, and makes none. Its
// external id is the job's, by which it is found again; two calls at once for one job could make two.
//
// It needs an App whose installation has the permission "Checks: Read and write"; a run.PermanentError says so if that is
// missing. It counts against the least urgent part of the budget. The reason is shown to everybody who can see the repository.
func (f *Forge) Inform(ctx context.Context, j run.Job, reason string) error {
	err := f.inform(ctx, j, reason)
	f.Metrics.notices.WithLabelValues(outcomeOf(err, reason)).Inc()
	return err
}

func outcomeOf(err error, reason string) string {
	_, limited := errors.AsType[*run.LimitedError](err)
	_, permanent := errors.AsType[*run.PermanentError](err)
	switch {
	case limited:
		return "limited"
	case permanent:
		return "refused"
	case err != nil:
		return "error"
	case reason == "":
		return "withdrawn"
	default:
		return "told"
	}
}

func (f *Forge) inform(ctx context.Context, j run.Job, reason string) error {
	if len(f.Apps) == 0 {
		return &run.PermanentError{Err: errNoChecks, Advice: "GitHub lets only a GitHub App do that (GITHUB_APP_ID)"}
	}
	old, err := f.notice(ctx, j)
	if err != nil {
		return adviseNotice("look for check run", err)
	}
	conclusion, title, summary := toldConclusion, toldTitle, toldSummary(j, reason)
	if reason == "" {
		conclusion, title, summary = withdrawnConclusion, withdrawnTitle, withdrawnSummary(j)
	}
	if same := old.GetConclusion() == conclusion && old.GetOutput().GetSummary() == summary; same || old == nil && reason == "" {
		return nil
	}
	name, output := noticeName(j), &github.CheckRunOutput{Title: &title, Summary: &summary}
	err = f.callFirst(ctx, j, func(ctx context.Context, c *github.Client) (err error) {
		if old != nil {
			opts := github.UpdateCheckRunOptions{Name: name, Conclusion: &conclusion, Output: output}
			_, _, err = c.Checks.UpdateCheckRun(ctx, j.Owner, j.Repo, old.GetID(), opts)
			return err
		}
		_, _, err = c.Checks.CreateCheckRun(ctx, j.Owner, j.Repo, github.CreateCheckRunOptions{
			Name: name, HeadSHA: j.HeadSHA, ExternalID: new(strconv.FormatInt(j.ID, 10)), Status: new(statusComplete),
			Conclusion: &conclusion, CompletedAt: &github.Timestamp{Time: time.Now()}, Output: output,
		})
		return err
	})
	if err != nil {
		return adviseNotice("make check run", err)
	}
	return nil
}

// notice finds the check run that was made for the job. Nil if there is none.
func (f *Forge) notice(ctx context.Context, j run.Job) (*github.CheckRun, error) {
	found, err := readAll((*github.CheckRun).GetID, func(number int) (p page[*github.CheckRun], err error) {
		opts := &github.ListCheckRunsOptions{
			CheckName: new(noticeName(j)), AppID: &f.Apps[0].ID, Filter: new("all"), // The latest of the name need not be this job's.
			ListOptions: github.ListOptions{Page: number, PerPage: pageSize},
		}
		err = f.callFirst(ctx, j, func(ctx context.Context, c *github.Client) error {
			runs, resp, err := c.Checks.ListCheckRunsForRef(ctx, j.Owner, j.Repo, j.HeadSHA, opts)
			if err != nil {
				return err
			}
			p = page[*github.CheckRun]{items: runs.CheckRuns, total: runs.GetTotal(), next: resp.NextPage}
			return nil
		})
		return p, err
	})
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		if r.GetExternalID() == strconv.FormatInt(j.ID, 10) {
			return r, nil
		}
	}
	return nil, nil //nolint:nilnil // none is no error
}

// adviseNotice puts the advice that helps here in place of that which helps with runners.
func adviseNotice(what string, err error) error {
	permanent, ok := errors.AsType[*run.PermanentError](err)
	if !ok {
		return fmt.Errorf("%s: %w", what, err)
	}
	advice := "GitHub does not know the job's commit, or does not accept the check run"
	if isStatus(err, http.StatusForbidden) {
		advice = `to have authors told why their jobs were given up, give the App the repository permission "Checks: Read and write" ` +
			"and accept it for the installation"
	}
	return &run.PermanentError{Err: fmt.Errorf("%s: %w", what, permanent.Err), Advice: advice}
}

func noticeName(j run.Job) string { return noticePrefix + j.Name }

func toldSummary(j run.Job, reason string) string {
	return fmt.Sprintf(`Job %d of workflow run %d, attempt %d, got no self-hosted runner and waits for none any more. The reason:

%s

Nothing is wrong with the commit, and the other jobs of the workflow run go on. Ask whoever operates the runners: once the
cause is mended, they can have this job tried once more (%s) while GitHub keeps it queued, that is for
24 hours. Or cancel the workflow run, and run it again later.
`, j.ID, j.RunID, j.RunAttempt, fenced(shortened(reason)), "`worker dead-letters replay "+strconv.FormatInt(j.ID, 10)+"`")
}

func withdrawnSummary(j run.Job) string {
	return fmt.Sprintf("Job %d of workflow run %d, attempt %d, had been given up. A runner took it after all; how it ended is shown there.\n",
		j.ID, j.RunID, j.RunAttempt)
}

// fenced is text that GitHub shows as it is, whatever is in it: it may come from a log.
func fenced(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "text\n" + text + "\n" + fence
}

// shortened cuts text, between characters.
func shortened(text string) string {
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "…"
}
