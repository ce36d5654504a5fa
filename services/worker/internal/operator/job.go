package operator

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	// jobPath is a job's page at GitHub: below its run (.../job/ in browsers, .../jobs/ in webhooks and the API), or, as the
	// checks of a commit link it, below its repository.
	jobPath = regexp.MustCompile(`^/[^/]+/[^/]+/(?:(?:actions/)?runs/\d+/jobs?|runs)/(\d+)/?$`)
	// runPath is the page of a run, or one below it that shows no single job.
	runPath = regexp.MustCompile(`^/[^/]+/[^/]+/actions/runs/\d+(?:/|$)`)
	// checksPath is the tab of a pull request that shows a job.
	checksPath = regexp.MustCompile(`^/[^/]+/[^/]+/pull/\d+/checks/?$`)
)

var (
	errForm = errors.New("must be a job's id or URL, such as https://github.com/OWNER/REPO/actions/runs/RUN/job/JOB")
	errRun  = errors.New("must name a job, not the run that it belongs to: open the job there, and take the URL of its page")
)

// JobID is the id of a job: digits, or the URL of a page that shows the job at GitHub or at a GitHub Enterprise Server. It
// implements encoding.TextUnmarshaler for command lines.
type JobID int64

// UnmarshalText accepts both forms.
func (id *JobID) UnmarshalText(text []byte) error {
	digits, err := string(text), error(nil)
	if page, notURL := url.Parse(digits); notURL == nil && (page.Scheme == "https" || page.Scheme == "http") {
		digits, err = shown(page)
	}
	if err != nil {
		return fmt.Errorf("%w (got %q)", err, text)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("%w (got %q)", errForm, text)
	}
	*id = JobID(n)
	return nil
}

// LetterID is the id of a dead letter as it is listed, or the URL of a page that shows its job, as JobID takes it. It implements
// encoding.TextUnmarshaler for command lines.
type LetterID string

// UnmarshalText accepts both forms.
func (id *LetterID) UnmarshalText(text []byte) error {
	*id = LetterID(text)
	if !strings.Contains(string(text), "/") { // No id has one.
		return nil
	}
	var job JobID
	err := job.UnmarshalText(text)
	*id = LetterID(strconv.FormatInt(int64(job), 10))
	return err
}

// shown is the id of the job that a page of GitHub's shows, or why it shows none. A job's id is that of its check run
// (check_run_url of workflow_job).
func shown(page *url.URL) (digits string, err error) {
	switch found := jobPath.FindStringSubmatch(page.Path); {
	case found != nil:
		return found[1], nil
	case checksPath.MatchString(page.Path):
		return page.Query().Get("check_run_id"), nil
	case runPath.MatchString(page.Path):
		return "", errRun
	}
	return "", errForm
}
