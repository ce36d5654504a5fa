package forge

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// errBadKey is said in place of the parser's error, which may quote the key.
var errBadKey = errors.New("GITHUB_APP_PRIVATE_KEY: must be the PEM file that GitHub made for the App")

// blindWait is how long to leave GitHub alone if it limits us without saying until when: "at least one minute"
// (docs.github.com, rate limits for the REST API).
const blindWait = time.Minute

// classify maps GitHub's answers:
//
//	403 or 429 of a rate limit     run.LimitedError
//	409                            run.ErrExists
//	403, 404, 422                  run.PermanentError: a permission, a group or the repository is not there
//	401                            retryable: a token that GitHub has just revoked is replaced
//	5xx, 422 on a busy runner, no answer   retryable
//
// An answer to the request for an installation's token is classified alike.
func classify(err error, now time.Time) error {
	if e, ok := errors.AsType[*github.RateLimitError](err); ok {
		return &run.LimitedError{Until: later(e.Rate.Reset.Time, now), Err: err}
	}
	if e, ok := errors.AsType[*github.AbuseRateLimitError](err); ok {
		return &run.LimitedError{Until: now.Add(orBlind(e.RetryAfter)), Err: err}
	}
	var resp *http.Response
	if e, ok := errors.AsType[*github.ErrorResponse](err); ok {
		resp = e.Response
	} else if e, ok := errors.AsType[*ghinstallation.HTTPError](err); ok && e.Response != nil {
		resp = e.Response
		err = fmt.Errorf("installation token: %w", err)
	}
	if resp == nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusConflict:
		return fmt.Errorf("%w: %w", run.ErrExists, err)
	case http.StatusTooManyRequests:
		return &run.LimitedError{Until: now.Add(orBlind(retryAfter(resp))), Err: err}
	case http.StatusForbidden:
		if after := retryAfter(resp); after != nil {
			return &run.LimitedError{Until: now.Add(*after), Err: err}
		}
		return &run.PermanentError{Err: err, Advice: "the App or token lacks a permission (repository runners: " +
			"administration write; organization runners: organization_self_hosted_runners write), the runner group is not allowed, " +
			"or GitHub Actions is disabled there"}
	case http.StatusNotFound:
		return &run.PermanentError{Err: err, Advice: "the repository or organization, the runner group " +
			"(RUNNER_GROUP_ID) or the App's installation does not exist, or the token can't see it"}
	case http.StatusUnprocessableEntity:
		if resp.Request != nil && resp.Request.Method == http.MethodDelete {
			return err // The runner is busy, which ends.
		}
		return &run.PermanentError{Err: err, Advice: "GitHub does not accept these labels, this name or this runner group (RUNNER_GROUP_ID)"}
	}
	return err
}

func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*github.ErrorResponse](err)
	return ok && e.Response != nil && e.Response.StatusCode == status
}

// isTokenRefused reports whether GitHub refused to make a token of the installation.
func isTokenRefused(err error) bool {
	e, ok := errors.AsType[*ghinstallation.HTTPError](err)
	return ok && e.Response != nil
}

func retryAfter(resp *http.Response) *time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return nil
	}
	d := time.Duration(seconds) * time.Second
	return &d
}

func orBlind(d *time.Duration) time.Duration {
	if d == nil {
		return blindWait
	}
	return *d
}

func later(t, now time.Time) time.Time {
	if t.After(now) {
		return t
	}
	return now.Add(blindWait)
}
