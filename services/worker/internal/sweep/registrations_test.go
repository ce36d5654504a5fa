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

func registrations(w *world) *sweep.Registrations {
	return &sweep.Registrations{Registrar: w, Ledger: w, Reader: w, Now: time.Now, Scope: scopeOf}
}

const place = "octo/repo"

func TestARegistrationGoesOnceItsRunnerHasEnded(t *testing.T) {
	known := run.Run{Job: job(1), State: run.Done}
	ended := func(since time.Duration) run.Runner {
		return run.Runner{Name: name(1), State: run.Ended, EndedAt: ago(since), Scope: place, Job: job(1)}
	}
	in := func(s run.RunnerState) func() run.Runner {
		return func() run.Runner { return run.Runner{Name: name(1), State: s, Scope: place, Job: job(1)} }
	}
	overdue := func() run.Runner { return ended(old) }
	tests := []struct {
		name         string
		registration sweep.Registration
		job          run.Run
		runner       func() run.Runner
		goes         bool
	}{
		{"its runner ended", sweep.Registration{}, known, overdue, true},
		{"not one that is online", sweep.Registration{Online: true}, known, overdue, false},
		{"not one that is busy", sweep.Registration{Busy: true}, known, overdue, false},
		{"not one whose runner has just ended", sweep.Registration{}, known, func() run.Runner { return ended(young) }, false},
		{"not one whose runner is launched", sweep.Registration{}, known, in(run.Launching), false},
		{"not one whose runner is on its way", sweep.Registration{}, known, in(run.Launched), false},
		{"not one whose runner has a job", sweep.Registration{}, known, in(run.Busy), false},
		{"its runner ended, and its job is not on record", sweep.Registration{}, run.Run{Job: job(2), State: run.Done}, overdue, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				found := tt.registration
				found.Name, found.ID = name(1), 77
				w := &world{
					registrations: map[string][]sweep.Registration{place: {found}},
					runs:          []sweep.Record[run.Run]{record(tt.job, time.Hour)},
					runners:       []sweep.Record[run.Runner]{record(tt.runner(), time.Hour)},
				}
				report, err := registrations(w).RunOnce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if went := len(w.registrations[place]) == 0; went != tt.goes || report.Found[sweep.Unregistered] != 1-len(w.registrations[place]) {
					t.Errorf("gone: %v; %v", went, report)
				}
			})
		})
	}
}

// The ledger was restored from a backup, or is another deployment's.
func TestARegistrationWithoutARecordGoesOnceItHasGoneUnusedForLong(t *testing.T) {
	faultstest.Cover(t, "F60")
	found := sweep.Registration{Name: name(1), ID: 77}
	online, busy, other := found, found, found
	online.Online, busy.Busy, other.ID = true, true, 78
	tests := []struct {
		name   string
		known  bool // its job is on record
		before sweep.Registration
		wait   time.Duration // from one look to the next
		goes   bool
	}{
		{"its job is on record", true, found, 2 * time.Minute, true},
		{"not within the time in which GitHub's list may be old", true, found, 2*time.Minute - 1, false},
		{"not if it was online the last time", true, online, time.Hour, false},
		{"not if it was busy the last time", true, busy, time.Hour, false},
		{"not if another of its name was unused the last time", true, other, time.Hour, false},
		{"nobody can start its runner any more", false, found, time.Hour, true},
		{"not while another deployment may start its runner", false, found, time.Hour - 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{registrations: map[string][]sweep.Registration{place: {tt.before}}}
				g := registrations(w)
				g.Named = []sweep.Repo{{Owner: "octo", Name: "repo"}}
				if tt.known {
					w.runs = []sweep.Record[run.Run]{record(run.Run{Job: job(1), State: run.Done}, time.Hour)}
				}
				if _, err := g.RunOnce(t.Context()); err != nil || len(w.registrations[place]) != 1 {
					t.Fatalf("at the first look: %v, %v", w.registrations, err)
				}
				time.Sleep(tt.wait)
				w.registrations[place][0] = found
				if _, err := g.RunOnce(t.Context()); err != nil || len(w.registrations[place]) == 0 != tt.goes {
					t.Errorf("left are %v, %v", w.registrations, err)
				}
			})
		})
	}
}

func TestWherePlacesToAskAboutComeFrom(t *testing.T) {
	byOrg := job(2)
	byOrg.Owner, byOrg.OrgOwned = "acme", true
	theirs := job(3)
	theirs.Repo, theirs.Pool = "theirs", ""
	w := &world{
		runs: []sweep.Record[run.Run]{
			record(run.Run{Job: job(1), State: run.Done}, time.Hour), record(run.Run{Job: byOrg, State: run.Done}, time.Hour),
			record(run.Run{Job: theirs, State: run.Done}, time.Hour),
		},
		runners: []sweep.Record[run.Runner]{record(run.Runner{Name: name(4), State: run.Ended, Scope: "Octo/moved"}, time.Hour)},
	}
	g := registrations(w)
	g.Named = []sweep.Repo{{Owner: "named", Name: "one"}, {Owner: "OCTO", Name: "Repo"}}
	if _, err := g.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(w.calls)
	asked := []string{
		"registrations of OCTO", "registrations of Octo/moved", "registrations of acme", "registrations of named", "registrations of named/one",
		"registrations of octo/repo", "runners", "runs",
	}
	if diff := cmp.Diff(asked, w.calls); diff != "" {
		t.Error(diff)
	}
}

func TestRegistrationsAreLeftAloneWhenAnythingFails(t *testing.T) {
	faultstest.Cover(t, "F50")
	for _, broken := range []string{"runs", "runners", "registrations of " + place, "load run", "load runner", "deregister"} {
		t.Run(broken, func(t *testing.T) {
			w := &world{
				fail:          map[string]error{broken: errAway},
				registrations: map[string][]sweep.Registration{place: {{Name: name(1), ID: 1}, {Name: name(2), ID: 2}}},
				runs:          []sweep.Record[run.Run]{record(run.Run{Job: job(1), State: run.Done}, time.Hour), record(run.Run{Job: job(2), State: run.Done}, time.Hour)},
				runners: []sweep.Record[run.Runner]{
					record(run.Runner{Name: name(1), State: run.Ended, Scope: place, Job: job(1)}, time.Hour),
					record(run.Runner{Name: name(2), State: run.Ended, Scope: place, Job: job(2)}, time.Hour),
				},
			}
			report, err := registrations(w).RunOnce(t.Context())
			if !errors.Is(err, errAway) || report.Found != nil || len(w.registrations[place]) != 2 {
				t.Errorf("got %v, %v; left are %v", report, err, w.registrations)
			}
		})
	}
}

// scoped is a world with runners in so many repositories.
func scoped(n int) *world {
	w := &world{}
	for j := range n {
		w.runners = append(w.runners, record(run.Runner{Name: name(int64(j + 1)), State: run.Ended, Scope: fmt.Sprintf("octo/r%02d", j)}, time.Hour))
	}
	return w
}

func TestAllRepositoriesHaveTheirTurnTwentyARun(t *testing.T) {
	w := scoped(45)
	w.runners = append(w.runners, record(run.Runner{Name: name(99), State: run.Ended}, time.Hour)) // Of which nothing is known.
	g := registrations(w)
	for range 9 { // Four rounds.
		if _, err := g.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for j := range 45 {
		if n := w.count(fmt.Sprintf("registrations of octo/r%02d", j)); n != 4 {
			t.Errorf("repository %d was asked about %d times, want 4", j, n)
		}
	}
}

func TestARepositoryThatIsGoneKeepsNobodyFromTheOthers(t *testing.T) {
	w := scoped(3)
	w.fail = map[string]error{"registrations of octo/r01": &run.PermanentError{Err: errAway, Advice: "look"}}
	report, err := registrations(w).RunOnce(t.Context())
	if diff := cmp.Diff(map[sweep.Kind]int{sweep.Unreadable: 1}, report.Found); diff != "" || err != nil || w.count("registrations of octo/r02") != 1 {
		t.Errorf("%v, %s", err, diff)
	}
}

func TestALimitKeepsTheOthersFromBeingAsked(t *testing.T) {
	w := scoped(3)
	w.fail = map[string]error{"registrations of octo/r01": &run.LimitedError{Until: time.Now(), Err: errAway}}
	if _, err := registrations(w).RunOnce(t.Context()); !errors.Is(err, errAway) || w.count("registrations of octo/r02") != 0 {
		t.Errorf("%v", err)
	}
}
