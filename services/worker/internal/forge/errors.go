package forge

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// errBadKey is said in place of the parser's error, which may quote the key.
var errBadKey = errors.New("GITHUB_APP_PRIVATE_KEY: must be the PEM file that GitHub made for the App")

// errToken says that it is the installation's token that can't be had.
var errToken = errors.New("installation token")

// blindWait is how long to leave GitHub alone if it limits us without saying until when: "at least one minute"
// (docs.github.com, rate limits for the REST API).
const blindWait = time.Minute

// classify maps GitHub's answers:
//
//	403 or 429 of a rate limit     run.LimitedError
//	409                            run.ErrExists
//	403, 404, 422                  run.PermanentError with the advice of [Refusals], or run.LimitedError if it ends by itself
//	401                            retryable, with the advice of [Refusals]: a token that GitHub has just revoked is replaced
//	5xx, 422 on a busy runner, no answer   retryable
//
// What is classified already stays as it is: the budget's word, and the answer to the request for an installation's token.
func classify(err error, now time.Time) error {
	if _, advised := errors.AsType[*advisedError](err); advised || isClassified(err) {
		return err
	}
	if until, limited := rateLimit(err, now); limited {
		return &run.LimitedError{Until: until, Err: err}
	}
	var resp *http.Response
	var said string
	if e, ok := errors.AsType[*github.ErrorResponse](err); ok {
		resp, said = e.Response, messageOf(e)
	}
	if resp == nil {
		return err
	}
	if isBusy(resp) {
		return err
	}
	refusal, known := refusalOf(resp.StatusCode, said)
	switch {
	case known && refusal.Soon:
		return &advisedError{err, refusal.Advice}
	case known && refusal.Again > 0:
		return &run.LimitedError{Until: now.Add(refusal.Again), Err: fmt.Errorf("%w; %s", err, refusal.Advice)}
	case known:
		return &run.PermanentError{Err: err, Advice: refusal.Advice}
	case resp.StatusCode == http.StatusConflict:
		return fmt.Errorf("%w: %w", run.ErrExists, err)
	}
	return err
}

// rateLimit reports whether err is GitHub's word that it is asked too often, and until when that holds.
func rateLimit(err error, now time.Time) (until time.Time, limited bool) {
	if e, ok := errors.AsType[*github.RateLimitError](err); ok {
		return later(e.Rate.Reset.Time, now), true
	}
	if e, ok := errors.AsType[*github.AbuseRateLimitError](err); ok {
		return now.Add(orBlind(e.RetryAfter)), true
	}
	if e, ok := errors.AsType[*github.ErrorResponse](err); ok && e.Response != nil {
		return limitOf(e.Response, messageOf(e), now)
	}
	return time.Time{}, false
}

// limitOf reports whether an answer is one of a rate limit, and when that ends. go-github tells most of them.
func limitOf(resp *http.Response, said string, now time.Time) (until time.Time, limited bool) {
	after := retryAfter(resp)
	switch {
	case resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests:
		return time.Time{}, false
	case after != nil:
		return now.Add(*after), true
	case resp.Header.Get("X-Ratelimit-Remaining") == "0":
		reset, err := strconv.ParseInt(resp.Header.Get("X-Ratelimit-Reset"), 10, 64)
		if err != nil {
			reset = 0
		}
		return later(time.Unix(reset, 0), now), true
	}
	return now.Add(blindWait), resp.StatusCode == http.StatusTooManyRequests || strings.Contains(strings.ToLower(said), "rate limit")
}

func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*github.ErrorResponse](err)
	return ok && e.Response != nil && e.Response.StatusCode == status
}

func isClassified(err error) bool {
	_, limited := errors.AsType[*run.LimitedError](err)
	_, permanent := errors.AsType[*run.PermanentError](err)
	return limited || permanent
}

// advisedError is a refusal that is tried again like any failure, with the advice of [Refusals].
type advisedError struct {
	err    error
	advice string
}

func (e *advisedError) Error() string { return e.err.Error() + "; " + e.advice }

func (e *advisedError) Unwrap() error { return e.err }

// tokenError says that an installation's token can't be had. It hides GitHub's answer from [errors.As], since that says nothing of
// the runner or job that the token is for.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return errToken.Error() + ": " + e.err.Error() }

// Is reports whether it is errToken or what it is made of.
func (e *tokenError) Is(target error) bool { return target == errToken || errors.Is(e.err, target) }

// withoutToken is what the classified error of a request for a token means to the request that needs it.
func withoutToken(err error) error {
	if e, ok := errors.AsType[*run.LimitedError](err); ok {
		return &run.LimitedError{Until: e.Until, Err: &tokenError{e.Err}}
	}
	if e, ok := errors.AsType[*run.PermanentError](err); ok {
		return &run.PermanentError{Advice: e.Advice, Err: &tokenError{e.Err}}
	}
	return &tokenError{err}
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
