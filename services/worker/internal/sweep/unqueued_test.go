package sweep_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// cyrillic is a label that only looks like "modal".
const cyrillic = "m\u043edal"

func unqueued(w *world, named ...sweep.Repo) *sweep.Unqueued {
	return &sweep.Unqueued{
		Jobs: w, Ledger: w, Reader: w, Queue: w, Now: time.Now, Named: named, Log: slog.New(slog.DiscardHandler),
		Pool: func(labels []string) string {
			if slices.Contains(labels, "modal") {
				return "default"
			}
			return ""
		},
		LooksLike: func(labels []string) string {
			if slices.Contains(labels, cyrillic) {
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

// What ingress refuses must not come in by another door, nor keep others out.
func TestAJobThatIngressRefusesForItsLabelsIsToldOfAndNotTaken(t *testing.T) {
	labels := func(labels ...string) func(*run.Job) { return func(j *run.Job) { j.Labels = labels } }
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := &world{queued: map[string][]run.Job{"octo/repo": {
			listed(1, labels("modal", "")), listed(2, labels("modal", "a\nb")), listed(3, labels("modal", strings.Repeat("x", 1<<20))),
			listed(4, labels(slices.Repeat([]string{"modal"}, 101)...)),
			listed(5, labels("ubuntu-latest", "")), listed(6, labels("modal", ""), func(j *run.Job) { j.Private = false }),
			listed(7, labels("modal", strings.Repeat("x", 256))), listed(8, labels("linux", cyrillic)),
			listed(9, labels(cyrillic), func(j *run.Job) { j.CreatedAt = time.Now().Add(3 * time.Hour) }), // Its webhook may be on its way.
		}}}
		u := unqueued(w, sweep.Repo{Owner: "octo", Name: "repo"})
		u.Log = slog.New(slog.NewTextHandler(&log, nil))
		for range 3 {
			report, err := u.RunOnce(t.Context())
			if diff := cmp.Diff(map[sweep.Kind]int{sweep.Unheard: 1}, report.Found); diff != "" || err != nil {
				t.Errorf("%v, %s", err, diff)
			}
			time.Sleep(time.Hour)
		}
		if len(w.told) != 3 || run.JobOf(w.told[0].Event.(run.Queued)).ID != 7 {
			t.Errorf("%d reports, want the job with good labels thrice: %v", len(w.told), w.told)
		}
		want := []string{
			`job_id=1 run_id=0 repo=octo/repo err="workflow_job.labels[1]: must be 1 to 256 printable bytes (got 0)"`,
			`job_id=2 run_id=0 repo=octo/repo err="workflow_job.labels[1]: must be 1 to 256 printable bytes (got 3)"`,
			`job_id=3 run_id=0 repo=octo/repo err="workflow_job.labels[1]: must be 1 to 256 printable bytes (got 1048576)"`,
			`job_id=4 run_id=0 repo=octo/repo err="workflow_job.labels: must be at most 100 (got 101)"`,
			`job_id=8 run_id=0 repo=octo/repo err="label that only looks like ours, of pool default"`,
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		for n, line := range lines {
			if n >= len(want) || !strings.HasSuffix(line, `level=WARN msg="queued job refused" `+want[n]) {
				t.Errorf("line %d: %s", n+1, line)
			}
		}
		if len(lines) != len(want) {
			t.Errorf("%d lines, want one for each job: %d", len(lines), len(want))
		}
	})
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
