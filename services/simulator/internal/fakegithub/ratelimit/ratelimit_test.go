package ratelimit_test

import (
	"net/http"
	"testing"

	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
)

func TestCallersDoNotShareLimits(t *testing.T) {
	l := ratelimit.New(ratelimit.Limits{PerHour: 1})
	for _, name := range []string{"a", "b"} {
		if _, err := l.Admit(http.Header{}, ratelimit.Caller{Name: name}, http.MethodGet, false); err != nil {
			t.Errorf("first request of %s: %v", name, err)
		}
	}
	if _, err := l.Admit(http.Header{}, ratelimit.Caller{Name: "a"}, http.MethodGet, false); err == nil {
		t.Error("the second request of a was let in over its budget of 1")
	}
}

func TestRequestsAtTheSameTimeAreLimited(t *testing.T) {
	l := ratelimit.New(ratelimit.Limits{Concurrent: 1})
	who := ratelimit.Caller{Name: "a"}
	release, err := l.Admit(http.Header{}, who, http.MethodGet, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Admit(http.Header{}, who, http.MethodGet, false); err == nil {
		t.Error("a second request was let in beside the first")
	}
	release()
	if _, err := l.Admit(http.Header{}, who, http.MethodGet, false); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
}

func TestAnonymousCallersHaveSixtyAnHour(t *testing.T) {
	l := ratelimit.New(ratelimit.Limits{})
	if got := l.Budget(ratelimit.Caller{Name: "127.0.0.1", Anonymous: true})["Limit"]; got != 60 {
		t.Errorf("anonymous limit %d, want 60", got)
	}
	if got := l.Budget(ratelimit.Caller{Name: "installation ID 1"})["Limit"]; got != 5000 {
		t.Errorf("installation limit %d, want 5000", got)
	}
}

func TestNegativeMeansNoLimit(t *testing.T) {
	l := ratelimit.New(ratelimit.Limits{PerHour: -1, PointsPerMinute: -1, Concurrent: -1})
	for range 2000 {
		if _, err := l.Admit(http.Header{}, ratelimit.Caller{Name: "a"}, http.MethodPost, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Stats().PeakPointsPerMinute; got != 10000 {
		t.Errorf("counted a peak of %d points, want 10000", got)
	}
}
