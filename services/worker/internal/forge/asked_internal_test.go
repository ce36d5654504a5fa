package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-github/v66/github"

	"modal-github-runner/services/worker/internal/run"
)

// answers is a GitHub that takes a while and then says err, or "value" for an hour.
type answers struct {
	err   error
	calls atomic.Int64
}

func (g *answers) ask(ctx context.Context) (string, time.Time, error) {
	g.calls.Add(1)
	select {
	case <-time.After(500 * time.Millisecond):
		return "value", time.Now().Add(time.Hour), g.err
	case <-ctx.Done():
		return "", time.Time{}, ctx.Err()
	}
}

func answered(status int, header ...string) error {
	h := http.Header{}
	for n := 0; n < len(header); n += 2 {
		h.Set(header[n], header[n+1])
	}
	return &github.ErrorResponse{Response: &http.Response{StatusCode: status, Header: h, Request: &http.Request{Method: http.MethodPost}}}
}

func isLimited(err error) bool {
	_, ok := errors.AsType[*run.LimitedError](err)
	return ok
}

func TestAllWhoWaitShareWhatOneIsTold(t *testing.T) {
	full := &run.LimitedError{Until: time.Now().Add(time.Hour), Err: errors.New("no room")}
	for _, tt := range []struct {
		name  string
		err   error
		calls int64
	}{
		{"the value", nil, 1},
		{"an outage", answered(http.StatusServiceUnavailable), 1},
		{"a limit", answered(http.StatusTooManyRequests, "Retry-After", "300"), 1},
		{"a refusal", answered(http.StatusNotFound), 1},
		{"not that the budget kept a request back, which is its lane's alone", full, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, a := &answers{err: tt.err}, newAsked[string]()
				var waiting sync.WaitGroup
				for range 10 {
					waiting.Go(func() {
						if value, err := a.get(t.Context(), g.ask); (err == nil) != (tt.err == nil) || err == nil && value != "value" {
							t.Errorf("got %q, %v", value, err)
						}
					})
				}
				waiting.Wait()
				if got := g.calls.Load(); got != tt.calls {
					t.Errorf("GitHub was asked %d times, want %d", got, tt.calls)
				}
			})
		})
	}
}

// Hundreds of launches need a token all the time, in six hours in which GitHub answers nothing of use.
func TestAnOutageIsAskedAboutOnceAMinuteAndItsEndIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a := &answers{err: answered(http.StatusBadGateway)}, newAsked[string]()
		for began := time.Now(); time.Since(began) < 6*time.Hour; time.Sleep(200 * time.Millisecond) {
			if err := a.paused(); err != nil && !isLimited(err) {
				t.Fatalf("paused: %v", err)
			}
			_, err := a.get(t.Context(), g.ask)
			if err == nil {
				t.Fatal("no error")
			}
		}
		if calls := g.calls.Load(); calls < 350 || calls > 370 {
			t.Errorf("GitHub was asked %d times, want once a minute", calls)
		}
		g.err = nil
		time.Sleep(maxPause)
		if value, err := a.get(t.Context(), g.ask); value != "value" || err != nil {
			t.Errorf("after the outage: %q, %v", value, err)
		}
		if err := a.paused(); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

func TestThePauseGrowsWhileGitHubFailsAndBeginsAnewOnceItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a := &answers{}, newAsked[string]()
		pause := func(err error) time.Duration {
			t.Helper()
			g.err = err
			a.forget()
			if _, got := a.get(t.Context(), g.ask); (got == nil) != (err == nil) {
				t.Fatalf("got %v, want %v", got, err)
			}
			limited, ok := errors.AsType[*run.LimitedError](a.paused())
			if !ok {
				return 0
			}
			defer time.Sleep(time.Until(limited.Until))
			return time.Until(limited.Until)
		}
		outage, down := answered(http.StatusServiceUnavailable), errors.New("connection refused")
		for _, tt := range []struct {
			name string
			err  error
			want time.Duration
		}{
			{"first", outage, time.Second},
			{"then", down, 2 * time.Second},
			{"a limit's own", answered(http.StatusTooManyRequests, "Retry-After", "300"), 5 * time.Minute},
			{"after it", outage, 4 * time.Second},
			{"none after an answer", nil, 0},
			{"first again", outage, time.Second},
			{"none after a refusal, which may be mended", answered(http.StatusNotFound), 0},
			{"first after that", outage, time.Second},
		} {
			if got := pause(tt.err); got != tt.want {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
		}
	})
}

// Whoever asks may give up: then the next one asks, and nobody is told of a failure that was none of GitHub's.
func TestWhoGivesUpAskingLeavesItToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a := &answers{}, newAsked[string]()
		impatient, giveUp := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { _, err := a.get(impatient, g.ask); ended <- err }()
		synctest.Wait()
		go func() { _, err := a.get(t.Context(), g.ask); ended <- err }()
		late, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, fmt.Errorf("late"))
		defer cancel()
		if _, err := a.get(late, g.ask); err == nil {
			t.Error("waits longer than it may")
		}
		giveUp()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		if err := <-ended; err != nil || g.calls.Load() != 2 {
			t.Errorf("the next one got %v after %d calls", err, g.calls.Load())
		}
	})
}
