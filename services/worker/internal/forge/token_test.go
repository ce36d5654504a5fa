package forge_test

import (
	"math/bits"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/forge"
)

// As a launch, each looks for room first.
func TestInAnOutageManyLaunchesAskForOneToken(t *testing.T) {
	for _, tt := range []struct {
		name string
		call string
		of   func(*launchGitHub)
	}{
		{"a token", askToken, func(g *launchGitHub) {
			g.tokens = func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusServiceUnavailable, `{}`) }
		}},
		{"an installation", askInstalls, func(g *launchGitHub) {
			g.script = func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusServiceUnavailable, `{}`) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newLaunchGitHub(t)
			f := g.byApp(t)
			tt.of(g)
			began := time.Now()
			var launching sync.WaitGroup
			for n := range 200 {
				launching.Go(func() {
					r := newRunner(n + 1)
					if tt.call == askInstalls {
						r.Job.Installation = 0
					}
					if f.Room(t.Context(), r.Job) != nil {
						return
					}
					if _, _, err := f.Register(t.Context(), r); err == nil || permanent(err) {
						t.Errorf("got %v", err)
					}
				})
			}
			launching.Wait()
			// At once, and after one second, two, four.
			most := 1 + bits.Len(uint(time.Since(began)/time.Second))
			if got := count(g.sent(), tt.call); got == 0 || got > most {
				t.Errorf("200 launches asked %d times, want at most %d", got, most)
			}
			r := newRunner(1)
			if tt.call == askInstalls {
				r.Job.Installation = 0
			}
			if wait := limited(f.Room(t.Context(), r.Job)); wait > time.Minute {
				t.Errorf("the next launch is to wait for %v", wait)
			}
		})
	}
}

func TestTheLimitOfARequestForATokenIsTheAppsAndStopsNoInstallation(t *testing.T) {
	g, b := newLaunchGitHub(t), &fakeBudget{}
	f := g.byApp(t, with(b))
	g.tokens = refusal{status: http.StatusTooManyRequests, header: map[string]string{"Retry-After": "300"}}.serve
	for range 3 {
		_, _, err := f.Register(t.Context(), newRunner(1))
		becomes{wait: 5 * time.Minute, says: "installation token"}.check(t, err)
	}
	if diff := cmp.Diff([]string{"app-1234 for 5m0s"}, b.stops); diff != "" || count(g.sent(), askToken) != 1 {
		t.Errorf("GitHub got %v; stops (-want +got):\n%s", g.sent(), diff)
	}
	if wait := limited(f.Room(t.Context(), newRunner(1).Job)); wait < 4*time.Minute {
		t.Errorf("the next launch waits for %v, want five minutes", wait)
	}
}

// A 404 for the token is none for the runner.
func TestWithoutATokenNoRunnerIsTakenForGone(t *testing.T) {
	for name, remove := range map[string]func(f *forge.Forge) error{
		"by name": func(f *forge.Forge) error { return f.Deregister(t.Context(), newRunner(1)) },
		"by id":   func(f *forge.Forge) error { return f.DeregisterID(t.Context(), newRunner(1).Job, "octo/repo", 7) },
	} {
		g := newLaunchGitHub(t)
		g.removed = "77"
		if err := remove(g.byApp(t)); !permanent(err) {
			t.Errorf("%s: %v, want that the installation is gone", name, err)
		}
	}
}
