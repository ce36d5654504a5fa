package forge

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-github/v66/github"
)

// sameClock is by how much our clock may seem ahead of a server's that is right, which tells whole seconds, and whose answer takes a while.
const sameClock = 2 * time.Second

// lead is how far our clock is ahead of that of the server that answered, up to a second less than this and the answer's way; zero if
// the answer does not tell.
func lead(h http.Header, now time.Time) time.Duration {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return now.Sub(date)
}

// leadOf is the lead over the server whose answer err is.
func leadOf(err error, now time.Time) time.Duration {
	answer, ok := errors.AsType[*github.ErrorResponse](err)
	if !ok || answer.Response == nil {
		return 0
	}
	return lead(answer.Response.Header, now)
}

// clockTransport has the end of a rate limit, which GitHub tells by its clock, be by ours: one may be wrong. All that
// hears of limits gets the answer from here, go-github's own memory of them included.
type clockTransport struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t clockTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	const name = "X-Ratelimit-Reset"
	ahead := lead(resp.Header, time.Now())
	reset, err := strconv.ParseInt(resp.Header.Get(name), 10, 64)
	if err != nil || ahead < sameClock && ahead > -time.Second {
		return resp, nil //nolint:nilerr // it says nothing of limits
	}
	if ahead > 0 {
		ahead += time.Second - 1 // Rather a second too late than too early.
	}
	resp.Header.Set(name, strconv.FormatInt(reset+int64(ahead/time.Second), 10))
	return resp, nil
}
