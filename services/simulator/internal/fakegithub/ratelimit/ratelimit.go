// Package ratelimit keeps the limits of the simulated GitHub's API, per caller: the hourly budget, the points of a
// minute, and the requests at the same time. It also counts what was asked, because staying within the limits is what
// the services under test promise. It does not know what a request is for.
//
// Source: GitHub Docs, "Rate limits for the REST API".
package ratelimit

import (
	"cmp"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/reply"
)

// Limits of the REST API for one caller. A zero field takes GitHub's value; a negative one means no limit.
type Limits struct {
	PerHour         int // requests; default 5000, and 60 for anonymous callers
	PointsPerMinute int // GET 1, others 5; default 900 (GitHub Docs, "Rate limits for the REST API")
	Concurrent      int // requests at the same time; default 100
	Status          int // of a refusal; 403 (default) or 429, GitHub documents both
}

const (
	anonymousPerHour = 60
	writePoints      = 5
	retryAfter       = time.Minute
)

// Stats tells what was asked of the API.
type Stats struct {
	// Calls by operation and status.
	Calls map[string]map[int]int `json:"calls"`
	// PeakPointsPerMinute of the busiest caller, refused requests included.
	PeakPointsPerMinute int `json:"peak_points_per_minute"`
	// PrimaryRefusals and SecondaryRefusals count requests over a limit.
	PrimaryRefusals   int `json:"primary_refusals"`
	SecondaryRefusals int `json:"secondary_refusals"`
}

// Caller is whose budget a request counts against.
type Caller struct {
	Name      string // as GitHub names it in its refusals: "installation ID 5"
	Anonymous bool
}

// Limiter is safe for concurrent use.
type Limiter struct {
	limits Limits

	mu      sync.Mutex
	callers map[string]*meter
	counted Stats
}

// meter counts for one caller.
type meter struct {
	resets   time.Time
	used     int
	spent    []spending // of the last minute
	inFlight int
}

type spending struct {
	at     time.Time
	points int
}

// New makes a Limiter; zero fields of l take GitHub's values.
func New(l Limits) *Limiter {
	return &Limiter{
		limits: Limits{
			PerHour: cmp.Or(l.PerHour, 5000), PointsPerMinute: cmp.Or(l.PointsPerMinute, 900),
			Concurrent: cmp.Or(l.Concurrent, 100), Status: cmp.Or(l.Status, http.StatusForbidden),
		},
		callers: map[string]*meter{}, counted: Stats{Calls: map[string]map[int]int{}},
	}
}

// Admit counts a request against its caller's limits and sets the x-ratelimit headers. A free request costs points but
// no budget. The error is a *reply.Error; without one, release must be called at the request's end.
func (l *Limiter) Admit(h http.Header, who Caller, method string, free bool) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	m := l.meter(who.Name, now)
	if !free {
		m.used++
	}
	limit := l.perHour(who)
	over := limit >= 0 && m.used > limit
	if over {
		m.used = limit
	}
	h.Set("X-Ratelimit-Resource", "core")
	for name, n := range rate(limit, m) {
		h.Set("X-Ratelimit-"+name, strconv.FormatInt(n, 10))
	}
	points := 1
	if method != http.MethodGet && method != http.MethodHead {
		points = writePoints
	}
	m.spent = append(m.spent, spending{now, points})
	sum := 0
	for _, s := range m.spent {
		sum += s.points
	}
	l.counted.PeakPointsPerMinute = max(l.counted.PeakPointsPerMinute, sum)
	switch {
	case over:
		l.counted.PrimaryRefusals++
		return nil, &reply.Error{
			Status: l.limits.Status, Message: "API rate limit exceeded for " + who.Name + ".", Doc: "/overview/rate-limits-for-the-rest-api",
		}
	case l.limits.PointsPerMinute >= 0 && sum > l.limits.PointsPerMinute, l.limits.Concurrent >= 0 && m.inFlight >= l.limits.Concurrent:
		l.counted.SecondaryRefusals++
		return nil, Secondary(l.limits.Status)
	}
	m.inFlight++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		m.inFlight--
	}, nil
}

// Secondary is GitHub's answer to who asks too fast. Clients know it by the end of the documentation's address.
func Secondary(status int) error {
	return &reply.Error{
		Status: status, RetryAfter: retryAfter, Doc: "/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
		Message: "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
	}
}

func (l *Limiter) meter(bucket string, now time.Time) *meter {
	m, ok := l.callers[bucket]
	if !ok {
		m = &meter{}
		l.callers[bucket] = m
	}
	if !now.Before(m.resets) {
		m.resets, m.used = now.Add(time.Hour), 0
	}
	for len(m.spent) > 0 && now.Sub(m.spent[0].at) >= time.Minute {
		m.spent = m.spent[1:]
	}
	return m
}

func (l *Limiter) perHour(who Caller) int {
	if who.Anonymous && l.limits.PerHour >= 0 {
		return min(anonymousPerHour, l.limits.PerHour)
	}
	return l.limits.PerHour
}

// rate is a caller's budget as headers and GET /rate_limit show it. Without a limit it never shrinks.
func rate(limit int, m *meter) map[string]int64 {
	used := int64(m.used)
	if limit < 0 {
		limit, used = 5000, 0
	}
	return map[string]int64{"Limit": int64(limit), "Remaining": int64(limit) - used, "Used": used, "Reset": m.resets.Unix()}
}

// Budget reads a caller's hourly budget: Limit, Remaining, Used, and Reset in Unix seconds.
func (l *Limiter) Budget(who Caller) map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return rate(l.perHour(who), l.meter(who.Name, time.Now()))
}

// Count records how an operation was answered.
func (l *Limiter) Count(op string, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counted.Calls[op] == nil {
		l.counted.Calls[op] = map[int]int{}
	}
	l.counted.Calls[op][status]++
}

// Stats reads the counters.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.counted
	out.Calls = make(map[string]map[int]int, len(l.counted.Calls))
	for op, statuses := range l.counted.Calls {
		out.Calls[op] = maps.Clone(statuses)
	}
	return out
}
