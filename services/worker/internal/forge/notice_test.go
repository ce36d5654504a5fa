package forge_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/run"
)

const (
	makeCheck   = "POST /repos/octo/repo/check-runs"
	changeCheck = "PATCH /repos/octo/repo/check-runs/"
	findChecks  = "GET /repos/octo/repo/commits/beef/check-runs?app_id=1234&check_name=Modal+runner%3A+build&filter=all&page=1&per_page=100"
)

// checkRun is one at GitHub, of which this App sees the names that it asks for.
type checkRun struct {
	ID         int    `json:"id"`
	ExternalID string `json:"external_id"`
	Name       string `json:"name"`
	HeadSHA    string `json:"head_sha"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	Output     struct {
		Title   string `json:"title"`
		Summary string `json:"summary"`
	} `json:"output"`
}

// checkGitHub keeps check runs as GitHub does, which looks for no double ones.
func checkGitHub(t *testing.T) (*launchGitHub, *[]checkRun) {
	t.Helper()
	g, all := newLaunchGitHub(t), &[]checkRun{}
	g.script = func(w http.ResponseWriter, r *http.Request) {
		last := &g.requests[len(g.requests)-1]
		status, changed := http.StatusOK, new(checkRun)
		switch r.Method {
		case http.MethodGet:
			listed, err := json.Marshal(map[string]any{"total_count": len(*all), "check_runs": *all})
			if err != nil {
				t.Error(err)
			}
			respond(w, http.StatusOK, string(listed))
			return
		case http.MethodPost:
			*all = append(*all, checkRun{ID: 7 + len(*all)})
			status, changed = http.StatusCreated, &(*all)[len(*all)-1]
		case http.MethodPatch:
			for n := range *all {
				if strings.HasSuffix(r.URL.Path, fmt.Sprint("/", (*all)[n].ID)) {
					changed = &(*all)[n]
				}
			}
		}
		if err := json.Unmarshal([]byte(last.body), changed); err != nil {
			t.Error(err)
		}
		respond(w, status, `{"id":7}`)
	}
	return g, all
}

func givenUp(id int64) run.Job {
	return run.Job{ID: id, RunID: 42, RunAttempt: 2, Owner: "octo", Repo: "repo", Installation: 77, Name: "build", HeadSHA: "beef"}
}

func inform(t *testing.T, f *forge.Forge, j run.Job, reason string) {
	t.Helper()
	if err := f.Inform(t.Context(), j, reason); err != nil {
		t.Fatal(err)
	}
}

// wantInformed checks what was counted, as "outcome number".
func (g *launchGitHub) wantInformed(t *testing.T, want ...string) {
	t.Helper()
	text := "# HELP worker_notices_total Tries to tell a job's author that it was given up, or that it was not after all: " +
		"told, withdrawn, limited, refused or error.\n# TYPE worker_notices_total counter\n"
	for _, w := range want {
		outcome, n, _ := strings.Cut(w, " ")
		text += fmt.Sprintf("worker_notices_total{outcome=%q} %s\n", outcome, n)
	}
	if err := testutil.GatherAndCompare(g.registry, strings.NewReader(text), "worker_notices_total"); err != nil {
		t.Error(err)
	}
}

// outcome is what is counted of an answer.
func (b becomes) outcome() string {
	switch {
	case b.wait > 0:
		return "limited 1"
	case b.permanent:
		return "refused 1"
	}
	return "error 1"
}

func TestAnAuthorIsToldByOneCheckRunOfTheCommit(t *testing.T) {
	g, all := checkGitHub(t)
	budget := &fakeBudget{}
	f := g.byApp(t, with(budget))
	inform(t, f, givenUp(9), "no ```such``` @group")
	inform(t, f, givenUp(9), "no ```such``` @group") // After an answer that got lost.
	if diff := cmp.Diff([]string{askToken, findChecks, makeCheck, findChecks}, g.sent()); diff != "" {
		t.Error(diff)
	}
	if len(*all) != 1 {
		t.Fatalf("made %+v, want one", *all)
	}
	made := (*all)[0]
	if made.ExternalID != "9" || made.HeadSHA != "beef" || made.Status != "completed" || made.Conclusion != "failure" || made.Name != "Modal runner: build" {
		t.Errorf("made %+v", made)
	}
	for _, want := range []string{"````text\nno ```such``` @group\n````", "Job 9 of workflow run 42, attempt 2", "`worker dead-letters replay 9`"} {
		if !strings.Contains(made.Output.Summary, want) {
			t.Errorf("the summary lacks %q: %s", want, made.Output.Summary)
		}
	}
	want := []string{"installation-77: 5, sweep", "app-1234: 5, sweep", "installation-77: 1, sweep", "installation-77: 5, sweep", "installation-77: 1, sweep"}
	if diff := cmp.Diff(want, budget.taken); diff != "" {
		t.Errorf("paid: %s", diff)
	}
}

func TestWhatAnAuthorWasToldIsChangedInItsPlace(t *testing.T) {
	tests := []struct {
		name       string
		reason     string
		conclusion string
		counted    []string
	}{
		{"another reason", "bang", "failure", []string{"told 3"}},
		{"no reason any more", "", "neutral", []string{"told 2", "withdrawn 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, all := checkGitHub(t)
			f := g.byApp(t)
			inform(t, f, givenUp(8), "of another job with the same name")
			inform(t, f, givenUp(9), "boom")
			other := (*all)[0]
			inform(t, f, givenUp(9), tt.reason)
			g.wantInformed(t, tt.counted...)
			if calls := g.sent(); calls[len(calls)-1] != changeCheck+"8" {
				t.Errorf("calls %v", calls)
			}
			got := (*all)[1]
			if len(*all) != 2 || (*all)[0] != other || got.Conclusion != tt.conclusion || !strings.Contains(got.Output.Summary, tt.reason) || strings.Contains(got.Output.Summary, "boom") {
				t.Errorf("now there are %+v", *all)
			}
		})
	}
}

func TestNothingIsTakenBackThatWasNotSaid(t *testing.T) {
	g, all := checkGitHub(t)
	inform(t, g.byApp(t), givenUp(9), "")
	if len(*all) != 0 || count(g.sent(), makeCheck) != 0 {
		t.Errorf("made %+v by %v", *all, g.sent())
	}
}

func TestALongReasonIsCut(t *testing.T) {
	g, all := checkGitHub(t)
	inform(t, g.byApp(t), givenUp(9), strings.Repeat("€", 5000))
	if summary := (*all)[0].Output.Summary; len(summary) > 6000 || !strings.Contains(summary, "€…") {
		t.Errorf("%d bytes: %.200s", len(summary), summary)
	}
}

func TestATokenTellsNobodyAndAsksNobody(t *testing.T) {
	g := newLaunchGitHub(t)
	err := g.byToken(t).Inform(t.Context(), givenUp(9), "boom")
	if !permanent(err) || !strings.Contains(err.Error(), "GITHUB_APP_ID") || len(g.sent()) != 0 {
		t.Errorf("got %v after %v", err, g.sent())
	}
}

func TestWhatGitHubAnswersToACheckRun(t *testing.T) {
	tests := []refusal{
		{"a permission that lacks", 403, nil, `{"message":"Resource not accessible by integration"}`, becomes{permanent: true, says: `"Checks: Read and write"`}},
		{"a repository that is gone", 404, nil, `{"message":"Not Found"}`, becomes{permanent: true, says: "does not know the job's commit"}},
		{"a commit that is gone", 422, nil, `{"message":"No commit found for SHA: beef"}`, becomes{permanent: true, says: "No commit found for SHA"}},
		{"a limit", 429, map[string]string{"Retry-After": "60"}, `{"message":"slow down"}`, becomes{wait: time.Minute}},
		{"an error of its own", 502, nil, `{"message":"Server Error"}`, becomes{says: "502"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				g, _ := checkGitHub(t)
				serve := g.script
				g.script = func(w http.ResponseWriter, r *http.Request) {
					if r.Method == method {
						tt.serve(w, r)
						return
					}
					serve(w, r)
				}
				tt.check(t, g.byApp(t).Inform(t.Context(), givenUp(9), "boom"))
				g.wantInformed(t, tt.outcome())
			}
		})
	}
	noRoom := errors.New("no room")
	full := &fakeBudget{full: &run.LimitedError{Err: noRoom}}
	g, _ := checkGitHub(t)
	if err := g.byApp(t, with(full)).Inform(t.Context(), givenUp(9), "boom"); !errors.Is(err, noRoom) {
		t.Errorf("without room: %v", err)
	}
}
