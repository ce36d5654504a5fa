package forge_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

// ofRun is a job of the workflow run 5, created a while ago.
func ofRun(id int64) run.Job {
	return run.Job{ID: id, RunID: 5, Owner: "o", Repo: "r", Private: true, CreatedAt: time.Now().Add(-time.Hour)}
}

func TestGitHubSaysWhereTheCodeOfAJobComesFrom(t *testing.T) {
	type object = map[string]any
	base, public := object{"id": 7, "full_name": "o/r", "private": true}, object{"id": 7, "full_name": "o/r", "private": false}
	fork := object{"id": 8, "full_name": "mallory/r", "private": false, "fork": true}
	for name, test := range map[string]struct {
		answer object
		want   run.Origin
	}{
		"a commit of its own":    {object{"event": "push", "repository": base, "head_repository": base}, run.Origin{Private: true, Head: "o/r", Event: "push"}},
		"a public repository's":  {object{"event": "push", "repository": public, "head_repository": public}, run.Origin{Head: "o/r", Event: "push"}},
		"a fork's":               {object{"event": "pull_request", "repository": base, "head_repository": fork}, run.Origin{Private: true, Foreign: true, Head: "mallory/r", Event: "pull_request"}},
		"that of a fork, gone":   {object{"event": "pull_request", "repository": base, "head_repository": nil}, run.Origin{Private: true, Foreign: true, Event: "pull_request"}},
		"nothing is not trusted": {object{}, run.Origin{Foreign: true}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSweepGitHub(t)
			g.HandleFunc("GET /repos/o/r/actions/runs/5", func(w http.ResponseWriter, _ *http.Request) { answer(t, w, http.StatusOK, test.answer) })
			o, budget := g.options(t), &fakeBudget{}
			o.Budget = budget
			got, err := forge.New(o).Origin(t.Context(), ofRun(1))
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v, %s", err, diff)
			}
			if want := []string{"token: 1, launch"}; !slices.Equal(budget.taken, want) {
				t.Errorf("it cost %q, want %q", budget.taken, want)
			}
		})
	}
}

func TestAllJobsOfAWorkflowRunShareOneAnswer(t *testing.T) {
	g := newSweepGitHub(t)
	asked, proceed := make(chan struct{}), make(chan struct{})
	g.HandleFunc("GET /repos/{owner}/{repo}/actions/runs/5", func(w http.ResponseWriter, _ *http.Request) {
		close(asked) // A second request panics.
		<-proceed
		answer(t, w, http.StatusOK, map[string]any{"repository": map[string]any{"id": 7}, "head_repository": map[string]any{"id": 7}})
	})
	f := g.forge(t)
	var all sync.WaitGroup
	for id := range int64(20) {
		all.Go(func() {
			j := ofRun(id)
			if id%2 == 0 {
				j.Owner, j.Repo = "O", "R"
			}
			if origin, err := f.Origin(t.Context(), j); err != nil || origin.Foreign {
				t.Errorf("got %+v, %v", origin, err)
			}
		})
	}
	<-asked
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Origin(impatient, ofRun(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("one that waits no longer gets %v", err)
	}
	close(proceed)
	all.Wait()
}

func TestWhatIsNotFoundOutIsAskedAgain(t *testing.T) {
	fresh := ofRun(1)
	fresh.CreatedAt = time.Now()
	created := func(ago time.Duration) run.Job {
		j := ofRun(1)
		j.CreatedAt = time.Now().Add(-ago)
		return j
	}
	for name, test := range map[string]struct {
		job                run.Job
		status             int
		retryAfter         string
		ahead              time.Duration // how far our clock is ahead of GitHub's, which created tells, too
		limited, permanent bool
	}{
		"an outage":                           {job: ofRun(1), status: http.StatusBadGateway},
		"a limit":                             {job: ofRun(1), status: http.StatusTooManyRequests, retryAfter: "7", limited: true},
		"a run that does not show itself yet": {job: fresh, status: http.StatusNotFound, limited: true},
		"a run that does not show itself yet, by a clock that is ahead": {
			job: created(5*time.Minute + time.Second), ahead: 5 * time.Minute, status: http.StatusNotFound, limited: true,
		},
		"a run that is gone":                            {job: ofRun(1), status: http.StatusNotFound, permanent: true},
		"a run that is gone, by a clock that is behind": {job: created(-50 * time.Minute), ahead: -time.Hour, status: http.StatusNotFound, permanent: true},
		"a permission that is missing":                  {job: ofRun(1), status: http.StatusForbidden, permanent: true},
		"a permission that is missing for a new one":    {job: fresh, status: http.StatusForbidden, permanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSweepGitHub(t)
			g.HandleFunc("GET /repos/{owner}/{repo}/actions/runs/{id}", func(w http.ResponseWriter, _ *http.Request) {
				if test.retryAfter != "" {
					w.Header().Set("Retry-After", test.retryAfter)
				}
				w.Header().Set("Date", time.Now().Add(-test.ahead).UTC().Format(http.TimeFormat))
				answer(t, w, test.status, map[string]any{"message": "no"})
			})
			f := g.forge(t)
			for range 2 {
				_, err := f.Origin(t.Context(), test.job)
				_, limited := errors.AsType[*run.LimitedError](err)
				_, permanent := errors.AsType[*run.PermanentError](err)
				if err == nil || limited != test.limited || permanent != test.permanent {
					t.Errorf("limited: %v, permanent: %v: %v", limited, permanent, err)
				}
			}
			if n := g.called("GET /repos/o/r/actions/runs/5"); n != 2 {
				t.Errorf("it was asked %d times, want twice", n)
			}
		})
	}
}

func TestARefusalToTellAJobsOriginComesWithItsOwnAdvice(t *testing.T) {
	for message, want := range map[string]string{
		"the `o` organization has an IP allow list enabled":   "add the address from which the workers reach GitHub to the list",
		"Resource protected by organization SAML enforcement": "authorize the token for the organization",
		"Resource not accessible by integration":              `lacks the repository permission "Actions: Read"`,
	} {
		g := newSweepGitHub(t)
		g.HandleFunc("GET /repos/{owner}/{repo}/actions/runs/{id}", func(w http.ResponseWriter, _ *http.Request) {
			answer(t, w, http.StatusForbidden, map[string]any{"message": message})
		})
		if _, err := g.forge(t).Origin(t.Context(), ofRun(1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", message, err, want)
		}
	}
}
