package forge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
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

func (b *fakeBudget) Take(_ context.Context, caller string, lane forge.Lane, points int) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full != nil && (b.only == "" || b.only == caller) {
		return nil, b.full
	}
	b.taken = append(b.taken, fmt.Sprintf("%s: %d, %s", caller, points, lane))
	b.open++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
	}, nil
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
		{"a launch", true, func(f *forge.Forge) error { _, _, err := f.Register(t.Context(), newRunner(1)); return err }, []string{"installation-77: 5, launch"}},
		{"a launch whose installation is not known", true, func(f *forge.Forge) error {
			r := newRunner(1)
			r.Job.Installation = 0
			_, _, err := f.Register(t.Context(), r)
			return err
		}, []string{"app-1234: 1, launch", "installation-77: 5, launch"}},
		{"a launch with a token", false, func(f *forge.Forge) error { _, _, err := f.Register(t.Context(), newRunner(1)); return err }, []string{"token: 5, launch"}},
		{"a deletion by name", true, func(f *forge.Forge) error { return f.Deregister(t.Context(), newRunner(7)) }, []string{"installation-77: 1, delete", "installation-77: 5, delete"}},
		{"a deletion by id", true, func(f *forge.Forge) error { return f.DeregisterID(t.Context(), newRunner(1).Job, "octo/repo", 7) }, []string{"installation-77: 5, delete"}},
		{"a look", true, look, []string{"installation-77: 1, sweep"}},
		{"the runner's release, which counts against nobody here", true, func(f *forge.Forge) error { _, _ = f.Release(t.Context(), forge.Latest); return nil }, nil},
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
	// The installation's token was asked for: that is the App's request.
	if calls := g.sent(); slices.ContainsFunc(calls, func(c string) bool { return c != "POST /app/installations/77/access_tokens" }) {
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
