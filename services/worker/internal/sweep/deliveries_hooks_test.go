package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// errDenied is what GitHub answers about what we may not see.
var errDenied = &run.PermanentError{Err: errors.New("404"), Advice: "grant it"}

// sender is GitHub as far as it sends webhooks, and the bucket of the cursors, in memory. The answers of a call whose name is
// in fail are errors.
type sender struct {
	fail  map[string]error
	calls []string
	// hooks are those of each place, by "owner/name" or "owner/"; deliveries are by the id of their hook, in the order of time.
	hooks      map[string][]sweep.Hook
	deliveries map[int64][]sweep.Delivery
	cursors    map[int64]time.Time
	// sent are the deliveries that were sent again. They arrive if ingress is up.
	sent []int64
	up   bool
	// since is from when on deliveries were listed last.
	since time.Time
}

func newSender() *sender {
	return &sender{
		fail: map[string]error{}, hooks: map[string][]sweep.Hook{}, deliveries: map[int64][]sweep.Delivery{}, cursors: map[int64]time.Time{},
	}
}

func (s *sender) call(name string) error {
	s.calls = append(s.calls, name)
	return s.fail[name]
}

// asked are the places and hooks that GitHub was asked about since the last time.
func (s *sender) asked() (asked []string) {
	for _, c := range s.calls {
		if of, ok := strings.CutPrefix(c, "hooks of "); ok {
			asked = append(asked, of)
		}
		if of, ok := strings.CutPrefix(c, "deliveries of "); ok {
			asked = append(asked, of)
		}
	}
	s.calls = nil
	return asked
}

// add has a place get a webhook, with an event that failed an hour ago.
func (s *sender) add(owner, repo string, id int64) {
	place := owner + "/" + repo
	s.hooks[place] = append(s.hooks[place], sweep.Hook{Owner: owner, Repo: repo, ID: id})
	s.deliveries[id] = []sweep.Delivery{{ID: id, GUID: fmt.Sprint(id), Event: "workflow_job", At: ago(time.Hour)}}
}

func (s *sender) Hooks(_ context.Context, in sweep.Repo) ([]sweep.Hook, error) {
	place := in.Owner + "/" + in.Name
	return s.hooks[place], s.call("hooks of " + place)
}

func (s *sender) Deliveries(_ context.Context, hook sweep.Hook, since time.Time) ([]sweep.Delivery, error) {
	var found []sweep.Delivery
	s.since = since
	for _, d := range slices.Backward(s.deliveries[hook.ID]) { // Newest first.
		if !d.At.Before(since) {
			found = append(found, d)
		}
	}
	if err := s.call(fmt.Sprintf("deliveries of %d", hook.ID)); err != nil {
		return found[:len(found)/2], err // What a failed list holds is not to be used.
	}
	return found, nil
}

// Redeliver sends an event again.
func (s *sender) Redeliver(_ context.Context, hook sweep.Hook, id int64) error {
	if err := s.call("redeliver"); err != nil {
		return err
	}
	all := s.deliveries[hook.ID]
	n := slices.IndexFunc(all, func(d sweep.Delivery) bool { return d.ID == id })
	if n < 0 {
		return errors.New("no such delivery")
	}
	again := all[n]
	again.ID, again.At, again.OK = int64(10000*(len(all)+1))+hook.ID, time.Now(), s.up
	again.Unreadable = again.Unreadable && !s.up
	s.deliveries[hook.ID] = append(all, again)
	s.sent = append(s.sent, id)
	return nil
}

func (s *sender) Cursor(_ context.Context, hook int64) (time.Time, error) {
	return s.cursors[hook], s.call(fmt.Sprintf("cursor of %d", hook))
}

func (s *sender) SetCursor(_ context.Context, hook int64, at time.Time) error {
	if err := s.call(fmt.Sprintf("set cursor of %d", hook)); err != nil {
		return err
	}
	s.cursors[hook] = at
	return nil
}

// byToken is the sweep of a worker that has a token; named are repositories of octo, "" stands for octo itself.
func byToken(s *sender, named ...string) *sweep.Deliveries {
	d := deliveries(s)
	d.App = false
	d.Admit = func(j run.Job) error {
		if j.Private {
			return nil
		}
		return errors.New("it is public")
	}
	for _, repo := range named {
		d.Named = append(d.Named, sweep.Repo{Owner: "octo", Name: repo})
	}
	return d
}

func TestWhichWebhooksAreLookedAt(t *testing.T) {
	const week = 7 * 24 * time.Hour
	type known struct {
		job run.Job
		age time.Duration
	}
	seen := func(owner, repo string, age time.Duration, changes ...func(*run.Job)) known {
		j := job(1)
		j.Owner, j.Repo = owner, repo
		for _, change := range changes {
			change(&j)
		}
		return known{j, age}
	}
	ofOrg := func(j *run.Job) { j.OrgOwned = true }
	public := func(j *run.Job) { j.Private = false }
	tests := []struct {
		name     string
		app      bool
		orgs     bool
		theApps  error // what GitHub says about the App's webhook
		switched bool  // off: nothing comes by the App's webhook
		runs     []known
		named    []string
		want     []string
		err      error
	}{
		{name: "an App's own, and no other", app: true, orgs: true, named: []string{"a"}, want: []string{"0"}},
		{name: "others, too, if nothing comes by the App's", app: true, switched: true, named: []string{"a"}, want: []string{"0", "octo/a"}},
		{name: "no other if the App's can't be read now", app: true, theApps: errAway, named: []string{"a"}, want: []string{"0"}, err: errAway},
		{name: "those of repositories if the App has none", app: true, theApps: errDenied, named: []string{"a"}, want: []string{"0", "octo/a"}},
		{name: "with a token those of repositories that are named", named: []string{"b", "a"}, want: []string{"octo/a", "octo/b"}},
		{name: "and of those that had jobs within a week", runs: []known{
			seen("octo", "young", week-1), seen("octo", "old", week), seen("octo", "public", old, public),
		}, want: []string{"octo/young"}},
		{name: "once, however their names are written", runs: []known{seen("Octo", "A", old)}, named: []string{"a"}, want: []string{"Octo/A"}},
		{name: "not those of an organization whose runners are its repositories'", runs: []known{seen("octo", "a", old, ofOrg)}, want: []string{"octo/a"}},
		{
			name: "those of organizations if they have runners, but not of users", orgs: true,
			runs: []known{seen("org", "a", old, ofOrg), seen("user", "b", old)}, want: []string{"org/", "org/a", "user/b"},
		},
		{name: "those of an owner who may be an organization", orgs: true, named: []string{"a"}, want: []string{"octo/", "octo/a"}},
		{name: "those of an organization that is named", orgs: true, named: []string{""}, want: []string{"octo/"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.fail["deliveries of 0"] = tt.theApps
				if !tt.switched {
					s.deliveries[0] = []sweep.Delivery{{GUID: "ping", Event: "ping", OK: true, At: ago(23 * time.Hour)}}
				}
				d := byToken(s, tt.named...)
				w := &world{}
				for _, r := range tt.runs {
					w.runs = append(w.runs, record(run.Run{Job: r.job, State: run.Done}, r.age))
				}
				d.App, d.Orgs, d.Ledger = tt.app, tt.orgs, w
				if _, err := d.RunOnce(t.Context()); !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				if diff := cmp.Diff(tt.want, s.asked()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestEachWebhookHasACursorOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		for id, at := range map[int64]time.Duration{1: 3 * time.Hour, 2: 2 * time.Hour, 3: 30 * time.Minute} {
			s.add("octo", "a", id)
			s.cursors[id] = ago(at)
		}
		s.deliveries[2][0].OK = true
		report, err := byToken(s, "a").RunOnce(t.Context())
		if err != nil || report.Found[sweep.Undelivered] != 1 || !slices.Equal(s.sent, []int64{1}) {
			t.Errorf("got %v, %v, sent %v; want that of the first: the second arrived, the third was settled before", report, err, s.sent)
		}
		want := map[int64]time.Time{1: ago(time.Hour + 2*time.Minute), 2: ago(time.Hour + 2*time.Minute), 3: ago(30 * time.Minute)}
		if !maps.Equal(s.cursors, want) {
			t.Errorf("the cursors are at %v, want %v", s.cursors, want)
		}
	})
}

func TestWebhooksThatAreNotOursToSeeAreToldOfOnce(t *testing.T) {
	for _, call := range []string{"hooks of octo/a", "deliveries of 1", "redeliver"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.add("octo", "a", 1)
				s.deliveries[1] = append(s.deliveries[1], sweep.Delivery{ID: 9, GUID: "9", Event: "workflow_job", At: ago(time.Hour)})
				var log bytes.Buffer
				d := byToken(s, "a", "b")
				d.Log = slog.New(slog.NewTextHandler(&log, nil))
				s.fail[call] = errDenied
				for n := range 3 {
					report, err := d.RunOnce(t.Context())
					if first := n == 0; err != nil || (report.Found[sweep.Unreadable] == 1) != first {
						t.Errorf("run %d: got %v, %v, want it told of by the first, and no failure", n, report, err)
					}
					if !slices.Contains(s.asked(), "octo/b") {
						t.Errorf("run %d ended there", n)
					}
				}
				if n := strings.Count(log.String(), "place=octo/a "); n != 1 || !strings.Contains(log.String(), "grant it") {
					t.Errorf("it was logged %d times: %s", n, &log)
				}
				if len(s.cursors) != 0 {
					t.Errorf("it was settled: %v", s.cursors)
				}
				delete(s.fail, call)
				if report, err := d.RunOnce(t.Context()); err != nil || report.Found[sweep.Undelivered] != 2 {
					t.Errorf("once it is ours to see: got %v, %v, want both sent", report, err)
				}
				s.fail["hooks of octo/a"] = errDenied
				if report, err := d.RunOnce(t.Context()); err != nil || report.Found[sweep.Unreadable] != 1 {
					t.Errorf("when it is not any more: got %v, %v, want it told again", report, err)
				}
				place := d.Named[0]
				d.Named = d.Named[1:]
				if report, err := d.RunOnce(t.Context()); err != nil || report.Found[sweep.Unreadable] != 0 {
					t.Errorf("once it is none of ours: got %v, %v, want nothing told", report, err)
				}
				d.Named = append(d.Named, place)
				if report, err := d.RunOnce(t.Context()); err != nil || report.Found[sweep.Unreadable] != 1 {
					t.Errorf("when it is ours again: got %v, %v, want it told again", report, err)
				}
			})
		})
	}
}

func TestNothingIsSaidOfWebhooksThatMayNotBeInUse(t *testing.T) {
	s := newSender()
	d := byToken(s, "a")
	d.App = true
	s.fail["hooks of octo/a"] = errDenied
	if report, err := d.RunOnce(t.Context()); err != nil || report.Found[sweep.Unreadable] != 0 || !slices.Contains(s.asked(), "octo/a") {
		t.Errorf("the App's webhook was silent for a day: got %v, %v", report, err)
	}
}

func TestOneWebhookThatFailsDoesNotKeepUsFromTheOthers(t *testing.T) {
	for call, want := range map[string][]int64{"hooks of octo/a": {3}, "cursor of 1": {2, 3}, "deliveries of 1": {2, 3}, "set cursor of 1": {1, 2, 3}} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.add("octo", "a", 1)
				s.add("octo", "a", 2)
				s.add("octo", "b", 3)
				s.fail[call] = errAway
				report, err := byToken(s, "a", "b").RunOnce(t.Context())
				if !errors.Is(err, errAway) || !slices.Equal(s.sent, want) || report.Found[sweep.Undelivered] != len(want) {
					t.Errorf("got %v, %v, sent %v, want %v", report, err, s.sent, want)
				}
			})
		})
	}
	t.Run("but without the ledger nothing is known", func(t *testing.T) {
		s := newSender()
		d := byToken(s, "a")
		d.Ledger = &world{fail: map[string]error{"runs": errAway}}
		if _, err := d.RunOnce(t.Context()); !errors.Is(err, errAway) || len(s.calls) != 0 {
			t.Errorf("got %v, asked for %v", err, s.calls)
		}
	})
}

func TestALimitEndsTheRunAndTheNextGoesOnBehindIt(t *testing.T) {
	for _, call := range []string{"hooks of octo/b", "deliveries of 2", "redeliver"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.add("octo", "b", 2)
				s.add("octo", "b", 3)
				s.fail[call] = &run.LimitedError{Until: time.Now().Add(time.Hour), Err: errAway}
				d := byToken(s, "a", "b", "c")
				if _, err := d.RunOnce(t.Context()); !errors.Is(err, errAway) {
					t.Errorf("got %v", err)
				}
				if asked := s.asked(); asked[0] != "octo/a" || slices.Contains(asked, "octo/c") || slices.Contains(asked, "3") {
					t.Errorf("asked about %v, want nothing after the limit", asked)
				}
				if _, err := d.RunOnce(t.Context()); !errors.Is(err, errAway) {
					t.Errorf("got %v", err)
				}
				if asked := s.asked(); asked[0] != "octo/c" {
					t.Errorf("asked about %v, want c first", asked)
				}
			})
		})
	}
}

func TestIngressIsNotFloodedByManyWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		s.up = true
		var repos []string
		for place := range int64(3) {
			repo := fmt.Sprint("r", place)
			repos = append(repos, repo)
			s.add("octo", repo, place+1)
			for n := range int64(45) {
				id := 100*(place+1) + n
				s.deliveries[place+1] = append(s.deliveries[place+1], sweep.Delivery{ID: id, GUID: fmt.Sprint(id), Event: "workflow_job", At: ago(time.Hour)})
			}
			s.deliveries[place+1] = append(s.deliveries[place+1], sweep.Delivery{GUID: "now", Event: "workflow_job", OK: true, At: ago(time.Minute)})
		}
		d := byToken(s, repos...)
		for n, want := range []struct {
			sent  int
			asked []string
		}{
			{60, []string{"octo/r0", "1", "octo/r1", "2"}},
			{60, []string{"octo/r2", "3", "octo/r0", "1", "octo/r1", "2"}},
			{18, []string{"octo/r2", "3", "octo/r0", "1", "octo/r1", "2"}},
		} {
			report, err := d.RunOnce(t.Context())
			if err != nil || report.Found[sweep.Undelivered] != want.sent {
				t.Errorf("run %d: got %v, %v, want %d sent", n, report, err, want.sent)
			}
			if diff := cmp.Diff(want.asked, s.asked()); diff != "" {
				t.Errorf("run %d asked about more than it could send: %s", n, diff)
			}
		}
		if sent := slices.Compact(slices.Sorted(slices.Values(s.sent))); len(sent) != 138 {
			t.Errorf("%d were sent, want all 138", len(sent))
		}
	})
}

func TestManyPlacesTakeTurns(t *testing.T) {
	s := newSender()
	var repos []string
	for n := range 45 {
		repos = append(repos, fmt.Sprintf("r%02d", n))
	}
	d := byToken(s, repos...)
	seen := map[string]bool{}
	for range 3 {
		if _, err := d.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked := s.asked()
		if len(asked) != 20 {
			t.Errorf("one run asked about %d places, want 20", len(asked))
		}
		for _, place := range asked {
			seen[place] = true
		}
	}
	if len(seen) != len(repos) {
		t.Errorf("%d of %d were looked at", len(seen), len(repos))
	}
}
