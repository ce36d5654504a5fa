package operator

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
)

// jobPath is a job's page at GitHub: below its run, or, as the checks of a commit link it, below its repository.
var jobPath = regexp.MustCompile(`^/[^/]+/[^/]+/(?:actions/runs/\d+/job|runs)/(\d+)/?$`)

// JobID is the id of a job: digits, or the URL of the job's page at GitHub or at a GitHub Enterprise Server. It implements
// encoding.TextUnmarshaler for command lines.
type JobID int64

// UnmarshalText accepts both forms. The URL of a run names no job, and is refused.
func (id *JobID) UnmarshalText(text []byte) error {
	digits := string(text)
	if page, err := url.Parse(digits); err == nil && (page.Scheme == "https" || page.Scheme == "http") {
		found := jobPath.FindStringSubmatch(page.Path)
		if found == nil {
			return errJobID(digits)
		}
		digits = found[1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 {
		return errJobID(string(text))
	}
	*id = JobID(n)
	return nil
}

var errForm = errors.New("must be a job's id or URL, such as https://github.com/OWNER/REPO/actions/runs/RUN/job/JOB")

func errJobID(text string) error { return fmt.Errorf("%w (got %q)", errForm, text) }
