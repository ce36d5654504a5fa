package forge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// Lane says how urgent a request is, for the Budget.
type Lane string

// The lanes. What is only looked at can be looked at later, also in a launch, which goes on without.
const (
	LaneLaunch Lane = "launch"
	LaneDelete Lane = "delete"
	LaneSweep  Lane = "sweep"
)

// Budget keeps within GitHub's rate limits, which are per caller: an installation, a token, or the App itself.
type Budget interface {
	// Take takes the points of one request, which is then sent at once; done is called when it was answered. It waits only
	// while too many requests are under way, and for a moment if a launch's points are free soon. Without room for the request it
	// returns a run.LimitedError.
	Take(ctx context.Context, caller string, r Request) (done func(), err error)
	// Room returns what Take would if it is known that there is no room, and else nil. It asks nobody and takes nothing. Whoever is
	// let pass is expected to Take within a second, unless ctx is done.
	Room(ctx context.Context, caller string, r Request) error
	// Stop has nobody send requests of the caller until then.
	Stop(ctx context.Context, caller string, until time.Time)
	// Left tells how many of the hourly limit of requests remain until reset.
	Left(caller string, limit, remaining int, reset time.Time)
}

// Request is what one request to GitHub takes of a Budget.
type Request struct {
	Lane   Lane
	Points int
	// Of is the repository or organization that it is for; empty if it is for none.
	Of string
}

// What requests cost (docs.github.com, "Rate limits for the REST API").
const (
	readPoints  = 1
	writePoints = 5
)

// budgetTransport sends the requests for which there is room, and hears what GitHub says of its limits.
type budgetTransport struct {
	budget Budget
	caller string
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t budgetTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	done, err := t.budget.Take(req.Context(), t.caller, requestOf(req.Context(), pointsOf(req.Method)))
	if err != nil {
		return nil, unsent(req, err)
	}
	defer done()
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		t.heed(req.Context(), resp)
	}
	return resp, err
}

// heed stops everybody if GitHub says so, or will say so to the next request.
func (t budgetTransport) heed(ctx context.Context, resp *http.Response) {
	now := time.Now()
	if until, limited := rateLimit(github.CheckResponse(resp), now); limited {
		t.budget.Stop(ctx, t.caller, until)
		return
	}
	number := func(name string) (int, error) { return strconv.Atoi(resp.Header.Get("X-Ratelimit-" + name)) }
	limit, errLimit := number("Limit")
	remaining, errRemaining := number("Remaining")
	seconds, errReset := number("Reset")
	if errors.Join(errLimit, errRemaining, errReset) != nil {
		return // A GitHub Enterprise Server says none of this unless its administrator has set limits.
	}
	reset := time.Unix(int64(seconds), 0)
	if remaining == 0 && reset.After(now) {
		t.budget.Stop(ctx, t.caller, reset)
	}
	if resp.Header.Get("X-Ratelimit-Resource") == resourceCore {
		t.budget.Left(t.caller, limit, remaining, reset)
	}
}

func pointsOf(method string) int {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return readPoints
	}
	return writePoints
}

type (
	laneKey struct{}
	jobKey  struct{}
)

// inLane has the requests made with the context be of that lane. They are of LaneSweep otherwise.
func inLane(ctx context.Context, l Lane) context.Context { return context.WithValue(ctx, laneKey{}, l) }

// Urgent has what is looked at with the context be of LaneLaunch: a job can't have a runner without.
func (*Forge) Urgent(ctx context.Context) context.Context { return inLane(ctx, LaneLaunch) }

// forJob has the requests made with the context be for the job's repository or organization.
func forJob(ctx context.Context, j run.Job) context.Context {
	return context.WithValue(ctx, jobKey{}, place(j))
}

func requestOf(ctx context.Context, points int) Request {
	of, _ := ctx.Value(jobKey{}).(string)
	return Request{laneOf(ctx), points, of}
}

func laneOf(ctx context.Context) Lane {
	if l, ok := ctx.Value(laneKey{}).(Lane); ok {
		return l
	}
	return LaneSweep
}
