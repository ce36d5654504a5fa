package forge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

// fakeBudget remembers what it was asked and told. It has room for everything, until it is full.
type fakeBudget struct {
	full error
	only string // whom full is for; all, if empty

	mu    sync.Mutex
	taken []string
	stops []string
	left  []string
	open  int // requests that are not done
}

func (b *fakeBudget) Take(_ context.Context, caller string, r forge.Request) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full != nil && (b.only == "" || b.only == caller) {
		return nil, b.full
	}
	b.taken = append(b.taken, fmt.Sprintf("%s: %d, %s", caller, r.Points, r.Lane))
	b.open++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
	}, nil
}

func (b *fakeBudget) Room(_ context.Context, caller string, _ forge.Request) error {
	if b.only == "" || b.only == caller {
		return b.full
	}
	return nil
}

func (b *fakeBudget) Stop(_ context.Context, caller string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stops = append(b.stops, fmt.Sprintf("%s for %v", caller, time.Until(until).Round(time.Minute)))
}

func (b *fakeBudget) Left(caller string, limit, remaining int, reset time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = append(b.left, fmt.Sprintf("%s: %d of %d for %v", caller, remaining, limit, time.Until(reset).Round(time.Minute)))
}

func with(b forge.Budget) func(*forge.Options) { return func(o *forge.Options) { o.Budget = b } }

func TestEachRequestIsPaidByItsCallerInItsLane(t *testing.T) {
	look := func(f *forge.Forge) error {
		_, err := f.Runners(t.Context(), newRunner(1).Job, "octo/repo")
		return err
	}
	tests := []struct {
		name string
		app  bool
		ask  func(f *forge.Forge) error
		want []string
	}{
		{"a launch", true, func(f *forge.Forge) error { _, _, err := f.Register(t.Context(), newRunner(1)); return err }, []string{"installation-77: 5, launch", "app-1234: 5, launch", "installation-77: 5, launch"}},
		{"a launch whose installation is not known", true, func(f *forge.Forge) error {
			r := newRunner(1)
			r.Job.Installation = 0
			_, _, err := f.Register(t.Context(), r)
			return err
		}, []string{"app-1234: 1, launch", "installation-77: 5, launch", "app-1234: 5, launch", "installation-77: 5, launch"}},
		{"a launch with a token", false, func(f *forge.Forge) error { _, _, err := f.Register(t.Context(), newRunner(1)); return err }, []string{"token: 5, launch"}},
		{"a deletion by name", true, func(f *forge.Forge) error { return f.Deregister(t.Context(), newRunner(7)) }, []string{"installation-77: 5, delete", "app-1234: 5, delete", "installation-77: 1, delete", "installation-77: 5, delete"}},
		{"a deletion that a launch waits for", true, func(f *forge.Forge) error {
			r := newRunner(7)
			r.State = run.Launching
			return f.Deregister(t.Context(), r)
		}, []string{"installation-77: 5, launch", "app-1234: 5, launch", "installation-77: 1, launch", "installation-77: 5, launch"}},
		{"a deletion by id", true, func(f *forge.Forge) error { return f.DeregisterID(t.Context(), newRunner(1).Job, "octo/repo", 7) }, []string{"installation-77: 5, delete", "app-1234: 5, delete", "installation-77: 5, delete"}},
		{"a look", true, look, []string{"installation-77: 5, sweep", "app-1234: 5, sweep", "installation-77: 1, sweep"}},
		{"a look at a job", false, func(f *forge.Forge) error { _, err := f.Sight(t.Context(), newRunner(1).Job); return err }, []string{"token: 1, sweep"}},
		{"a look at a job that has no runner until then", false, func(f *forge.Forge) error {
			_, err := f.Sight(f.Urgent(t.Context()), newRunner(1).Job)
			return err
		}, []string{"token: 1, launch"}},
		{"the runner's release", false, func(f *forge.Forge) error { _, _ = f.Release(t.Context(), forge.Latest); return nil }, []string{"token: 1, launch"}},
		{"the runner's release for an App, which counts against nobody here", true, func(f *forge.Forge) error { _, _ = f.Release(t.Context(), forge.Latest); return nil }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, b := newLaunchGitHub(t), &fakeBudget{}
			g.installed["octo/repo"], g.runners["mgr-289782451-7"] = 77, 7
			newForge := g.byToken
			if tt.app {
				newForge = g.byApp
			}
			f := newForge(t, with(b))
			if err := tt.ask(f); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.taken); diff != "" || b.open != 0 {
				t.Errorf("%d requests are not done, (-want +got):\n%s", b.open, diff)
			}
		})
	}
}

func TestWithoutRoomNothingIsSent(t *testing.T) {
	until := time.Now().Add(time.Hour)
	g := newLaunchGitHub(t)
	f := g.byApp(t, with(&fakeBudget{full: &run.LimitedError{Until: until, Err: errors.New("no room")}}))
	_, _, err := f.Register(t.Context(), newRunner(1))
	e, ok := errors.AsType[*run.LimitedError](err)
	if !ok || !e.Until.Equal(until) {
		t.Errorf("got %v, want the budget's own word", err)
	}
	if calls := g.sent(); len(calls) != 0 { // Nor is a token asked for.
		t.Errorf("GitHub got %v", calls)
	}
}

func TestWhatGitHubSaysOfItsLimitsIsPassedOn(t *testing.T) {
	faultstest.Cover(t, "F10")
	in := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }
	const secondary = `{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
	core := func(remaining string, more ...string) map[string]string {
		h := map[string]string{"X-RateLimit-Resource": "core", "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": in(10 * time.Minute)}
		for n := 0; n < len(more); n += 2 {
			h[more[n]] = more[n+1]
		}
		return h
	}
	tests := []struct {
		name        string
		status      int
		header      map[string]string
		body        string
		stops, left []string
	}{
		{"the primary limit", 403, core("0"), `{}`, []string{"token for 10m0s"}, nil},
		{"a secondary limit", 403, core("4000", "Retry-After", "300"), secondary, []string{"token for 5m0s"}, nil},
		{"a secondary limit without a time", 403, nil, secondary, []string{"token for 1m0s"}, nil},
		{"a 429", 429, core("4000", "Retry-After", "300"), `{}`, []string{"token for 5m0s"}, nil},
		{"a permission that lacks, which is no limit", 403, core("4000"), `{}`, nil, []string{"token: 4000 of 5000 for 10m0s"}},
		{
			"a runner group that is full, to which others do not belong", 403,
			core("4000"),
			`{"message":"The runner group has reached max limit of runners."}`, nil,
			[]string{"token: 4000 of 5000 for 10m0s"},
		},
		{"what is left", 404, core("17"), `{}`, nil, []string{"token: 17 of 5000 for 10m0s"}},
		{"the last of what was left", 404, core("0"), `{}`, []string{"token for 10m0s"}, []string{"token: 0 of 5000 for 10m0s"}},
		{"the last of another limit's", 404, core("0", "X-RateLimit-Resource", "actions_runner_registration"), `{}`, []string{"token for 10m0s"}, nil},
		{"a limit that has just been set back", 404, core("0", "X-RateLimit-Reset", in(-time.Minute)), `{}`, nil, []string{"token: 0 of 5000 for -1m0s"}},
		{"a server without limits", 404, nil, `{}`, nil, nil},
		{"words where numbers belong", 404, core("many"), `{}`, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, b := newLaunchGitHub(t), &fakeBudget{}
			f := g.byToken(t, with(b))
			g.script = func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.header {
					w.Header().Set(name, value)
				}
				respond(w, tt.status, tt.body)
			}
			if _, _, err := f.Register(t.Context(), newRunner(1)); err == nil {
				t.Error("no error")
			}
			if diff := cmp.Diff([][]string{tt.stops, tt.left}, [][]string{b.stops, b.left}); diff != "" {
				t.Errorf("stops, and what is left (-want +got):\n%s", diff)
			}
		})
	}
}

// untilBudget remembers until when it is told to stop.
type untilBudget struct {
	fakeBudget

	until time.Time
	rest  time.Duration
}

func (b *untilBudget) Stop(_ context.Context, _ string, until time.Time) { b.until = until }

func (b *untilBudget) Left(_ string, _, _ int, reset time.Time) { b.rest = time.Until(reset) }

// GitHub tells the end of a limit by its own clock.
func TestALimitLastsAsLongAsGitHubSaysHoweverWrongAWorkersClockIs(t *testing.T) {
	for _, ahead := range []time.Duration{-5 * time.Minute, -30 * time.Second, 0, 30 * time.Second, 5 * time.Minute} {
		for _, tt := range []struct {
			name              string
			status, remaining int
			waits             func(*untilBudget, error) map[string]time.Duration
		}{
			{"a refusal", http.StatusForbidden, 0, func(b *untilBudget, err error) map[string]time.Duration {
				return map[string]time.Duration{"the job": limited(err), "everybody": time.Until(b.until)}
			}},
			{"the last of what was left", http.StatusNotFound, 0, func(b *untilBudget, _ error) map[string]time.Duration {
				return map[string]time.Duration{"everybody": time.Until(b.until)}
			}},
			{"what is left", http.StatusNotFound, 17, func(b *untilBudget, _ error) map[string]time.Duration {
				return map[string]time.Duration{"who leaves it to others": b.rest}
			}},
		} {
			t.Run(fmt.Sprintf("GitHub's clock is %v ahead, %s", ahead, tt.name), func(t *testing.T) {
				g, b := newLaunchGitHub(t), &untilBudget{}
				f := g.byToken(t, with(b))
				g.script = func(w http.ResponseWriter, _ *http.Request) {
					theirs := time.Now().Add(ahead)
					for name, value := range map[string]string{
						"Date": theirs.UTC().Format(http.TimeFormat), "X-RateLimit-Resource": "core", "X-RateLimit-Limit": "5000",
						"X-RateLimit-Remaining": fmt.Sprint(tt.remaining), "X-RateLimit-Reset": fmt.Sprint(theirs.Add(2 * time.Minute).Unix()),
					} {
						w.Header().Set(name, value)
					}
					respond(w, tt.status, `{"message":"API rate limit exceeded"}`)
				}
				for range 2 { // The second is go-github's own word, as far as there is a limit.
					_, _, err := f.Register(t.Context(), newRunner(1))
					for who, wait := range tt.waits(b, err) {
						if wait < 2*time.Minute-patience/3 || wait > 2*time.Minute+3*time.Second {
							t.Errorf("%s must wait for %v, want two minutes", who, wait)
						}
					}
				}
			})
		}
	}
}

// A token's life is told by GitHub's clock, too: an old one is not sent.
func TestATokenThatHasExpiredIsReplacedHoweverWrongAWorkersClockIs(t *testing.T) {
	g := newLaunchGitHub(t)
	f := g.byApp(t)
	g.tokens = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(5*time.Minute).UTC().Format(http.TimeFormat))
		g.life = 5*time.Minute + 20*time.Second // By GitHub's clock 20 s: too short to begin a call with.
		g.issue(w)
	}
	registered(t, f, 1)
	registered(t, f, 2)
	if diff := cmp.Diff([]string{askToken, askJIT, askToken, askJIT}, g.sent()); diff != "" {
		t.Error(diff)
	}
}
