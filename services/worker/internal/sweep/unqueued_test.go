package sweep_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

func unqueued(w *world, named ...sweep.Repo) *sweep.Unqueued {
	return &sweep.Unqueued{
		Jobs: w, Ledger: w, Reader: w, Queue: w, Now: time.Now, Named: named,
		Pool: func(labels []string) string {
			if slices.Contains(labels, "modal") {
				return "default"
			}
			return ""
		},
		Admit: func(j run.Job) error {
			if j.Private {
				return nil
			}
			return errors.New("it is public")
		},
	}
}

// listed is a job as GitHub lists it: nobody has found its pool yet.
func listed(id int64, changes ...func(*run.Job)) run.Job {
	j := job(id)
	j.Pool, j.CreatedAt = "", ago(time.Minute)
	for _, change := range changes {
		change(&j)
	}
	return j
}

func TestAQueuedJobThatNobodyToldOfIsHeard(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		job   func() run.Job
		known run.State
		heard bool
	}{
		{"one of which nothing is known", func() run.Job { return listed(2) }, run.New, true},
		{"one that was held when we heard last", func() run.Job { return listed(2) }, run.OnHold, true},
		{"not one that waits", func() run.Job { return listed(2) }, run.Waiting, false},
		{"not one that has run", func() run.Job { return listed(2) }, run.Running, false},
		{"not one that is over", func() run.Job { return listed(2) }, run.Done, false},
		{"not one that was given up", func() run.Job { return listed(2) }, run.Dead, false},
		{"not one that asks for other labels", func() run.Job { return listed(2, func(j *run.Job) { j.Labels = []string{"ubuntu-latest"} }) }, run.New, false},
		{"not one of a repository that may not use us", func() run.Job { return listed(2, func(j *run.Job) { j.Private = false }) }, run.New, false},
		{"not one whose webhook may be on its way", func() run.Job { return listed(2, func(j *run.Job) { j.CreatedAt = ago(time.Minute - 1) }) }, run.New, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					runs:   []sweep.Record[run.Run]{record(run.Run{Job: job(1), State: run.Done}, time.Hour)},
					queued: map[string][]run.Job{"octo/repo": {tt.job()}},
				}
				revision := uint64(0)
				if tt.known != run.New {
					w.runs = append(w.runs, record(run.Run{Job: job(2), State: tt.known}, time.Hour))
					revision = 7
				}
				report, err := unqueued(w).RunOnce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var want []told
				if tt.heard {
					j := tt.job()
					j.Pool = "default"
					want = []told{{Event: run.Queued{Job: j, At: now, Event: run.AskedGitHub}, Revision: revision}}
				}
				if diff := cmp.Diff(want, w.told); diff != "" || report.Found[sweep.Unheard] != len(want) {
					t.Errorf("%v: %s", report, diff)
				}
			})
		})
	}
}

func TestTheRepositoriesAskedAboutAreThoseThatWeKnow(t *testing.T) {
	in := func(repo string, id int64, changes ...func(*run.Job)) run.Run {
		j := job(id)
		j.Repo = repo
		for _, change := range changes {
			change(&j)
		}
		return run.Run{Job: j, State: run.Done}
	}
	w := &world{runs: []sweep.Record[run.Run]{
		record(in("known", 1), time.Hour), record(in("KNOWN", 2), time.Hour), record(in("left", 3), 7*24*time.Hour),
		record(in("public", 4, func(j *run.Job) { j.Private = false }), time.Hour),
	}}
	if _, err := unqueued(w, sweep.Repo{Owner: "octo", Name: "Known"}, sweep.Repo{Owner: "octo", Name: "named"}).RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"runs", "queued of octo/known", "queued of octo/named"}, w.calls); diff != "" {
		t.Error(diff)
	}
}

func TestTwentyRepositoriesAreAskedAboutARun(t *testing.T) {
	var named []sweep.Repo
	for n := range 30 {
		named = append(named, sweep.Repo{Owner: "octo", Name: fmt.Sprintf("r%02d", n)})
	}
	w := &world{}
	u := unqueued(w, named...)
	for range 3 {
		if _, err := u.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range named {
		if n := w.count("queued of octo/" + r.Name); n != 2 {
			t.Errorf("%s was asked about %d times, want 2", r.Name, n)
		}
	}
}

func TestNoDemandIsRaisedOnAFailure(t *testing.T) {
	for _, broken := range []string{"runs", "load run", "report"} {
		t.Run(broken, func(t *testing.T) {
			w := &world{fail: map[string]error{broken: errAway}, queued: map[string][]run.Job{"octo/repo": {listed(2), listed(3)}}}
			report, err := unqueued(w, sweep.Repo{Owner: "octo", Name: "repo"}).RunOnce(t.Context())
			if !errors.Is(err, errAway) || report.Found != nil || len(w.told) != 0 {
				t.Errorf("got %v, %v, %v", w.told, report, err)
			}
		})
	}
}

func TestAPartOfAListIsBetterThanNone(t *testing.T) {
	w := &world{fail: map[string]error{"queued of octo/repo": errAway}, queued: map[string][]run.Job{"octo/repo": {listed(2), listed(3)}}}
	report, err := unqueued(w, sweep.Repo{Owner: "octo", Name: "repo"}).RunOnce(t.Context())
	if !errors.Is(err, errAway) || report.Found[sweep.Unheard] != 1 || len(w.told) != 1 {
		t.Errorf("got %v, %v, %v; want the job that was listed told of, and the failure", w.told, report, err)
	}
}

func TestARepositoryThatIsGoneIsPassedOver(t *testing.T) {
	faultstest.Cover(t, "F14")
	w := &world{
		fail:   map[string]error{"queued of octo/a": &run.PermanentError{Err: errAway, Advice: "look"}},
		queued: map[string][]run.Job{"octo/b": {listed(2)}},
	}
	report, err := unqueued(w, sweep.Repo{Owner: "octo", Name: "a"}, sweep.Repo{Owner: "octo", Name: "b"}).RunOnce(t.Context())
	if diff := cmp.Diff(map[sweep.Kind]int{sweep.Unreadable: 1, sweep.Unheard: 1}, report.Found); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
}

func TestALimitKeepsTheNextRepositoriesFromBeingAsked(t *testing.T) {
	w := &world{fail: map[string]error{"queued of octo/a": &run.LimitedError{Until: time.Now(), Err: errAway}}}
	_, err := unqueued(w, sweep.Repo{Owner: "octo", Name: "a"}, sweep.Repo{Owner: "octo", Name: "b"}).RunOnce(t.Context())
	if !errors.Is(err, errAway) || w.count("queued of octo/b") != 0 {
		t.Errorf("%v", err)
	}
}
