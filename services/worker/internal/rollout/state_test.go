package rollout_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modal-github-runner/services/worker/internal/rollout"
	"modal-github-runner/services/worker/internal/run"
)

const day = 24 * time.Hour

var (
	now   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	one   = release("2.331.0", now.Add(-10*day))
	two   = release("2.332.0", now.Add(-2*day))
	three = release("2.333.0", now)
	tries = run.Name{Job: 7, Attempt: 1}
	other = run.Name{Job: 8, Attempt: 1}
	third = run.Name{Job: 9, Attempt: 1}
)

func release(version string, at time.Time) run.RunnerRelease {
	return run.RunnerRelease{Version: version, URL: "https://host.invalid/" + version, SHA256: "ab", PublishedAt: at}
}

// refused is what is on record once r was tried in vain by as many runners as it takes.
func refused(good, r run.RunnerRelease, at time.Time) rollout.State {
	return rollout.State{
		Good: good, Refused: r, RefusedAt: at, Runner: tries, Failed: []run.Name{other, third, tries}, FailedAt: at, Why: "it ended",
	}
}

// failed is what is on record once two was tried in vain by these.
func failed(names ...run.Name) rollout.State {
	return rollout.State{Good: one, Candidate: two, Runner: names[len(names)-1], Failed: names, FailedAt: now, Why: "it ended"}
}

func TestWhatIsToBeTriedFollowsFromWhatGitHubSaysIsTheNewest(t *testing.T) {
	t.Parallel()
	moved := two
	moved.URL += "/elsewhere"
	trying := rollout.State{Good: one, Candidate: two, Trying: true, Runner: tries}
	for name, test := range map[string]struct {
		before rollout.State
		newest run.RunnerRelease
		want   rollout.State
	}{
		"the first there is, is taken at once":        {rollout.State{}, one, rollout.State{Good: one}},
		"the same is nothing new":                     {rollout.State{Good: one}, one, rollout.State{Good: one}},
		"a newer one is to be tried":                  {rollout.State{Good: one}, two, rollout.State{Good: one, Candidate: two}},
		"a trial goes on":                             {trying, two, trying},
		"the archive of one that is tried has moved":  {trying, moved, rollout.State{Good: one, Candidate: moved, Trying: true, Runner: tries}},
		"one that is tried is outdated":               {trying, three, rollout.State{Good: one, Candidate: three, Runner: tries}},
		"one that is tried was withdrawn":             {trying, one, rollout.State{Good: one, Runner: tries}},
		"what failed once is to be tried on":          {failed(other), two, failed(other)},
		"one that is newer than what failed once":     {failed(tries), three, rollout.State{Good: one, Candidate: three, Runner: tries}},
		"a refused one is not tried again":            {refused(one, two, now), two, refused(one, two, now)},
		"one that is newer than a refused one is":     {refused(one, two, now), three, rollout.State{Good: one, Candidate: three, Runner: tries}},
		"the one in use is the newest after all":      {refused(one, two, now), one, rollout.State{Good: one, Runner: tries}},
		"the one in use was withdrawn for an old one": {rollout.State{Good: two}, one, rollout.State{Good: two, Candidate: one}},
	} {
		if diff := cmp.Diff(test.want, test.before.Offered(test.newest)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOneRunnerAtATimeTriesACandidate(t *testing.T) {
	t.Parallel()
	waiting := rollout.State{Good: one, Candidate: two}
	trying := rollout.State{Good: one, Candidate: two, Trying: true, Runner: tries}
	void := rollout.State{Good: one, Candidate: two, Runner: tries}
	sibling := run.Name{Job: tries.Job, Attempt: 2}
	since := func(s rollout.State, d time.Duration) rollout.State {
		s.FailedAt = now.Add(-d)
		return s
	}
	failedBy := func(last run.Name, names ...run.Name) rollout.State {
		s := failed(names...)
		s.Runner = last
		return s
	}
	retrying := since(failedBy(tries, other), 10*time.Minute)
	retrying.Trying = true
	for name, test := range map[string]struct {
		before  rollout.State
		version string
		want    rollout.State
		tries   bool
	}{
		"nothing is to be tried":                       {rollout.State{Good: one}, "", rollout.State{Good: one}, false},
		"the image with it is not built here":          {waiting, "", waiting, false},
		"the image here has an older candidate":        {waiting, one.Version, waiting, false},
		"a candidate that nobody tries":                {waiting, two.Version, trying, true},
		"it tries it already":                          {trying, two.Version, trying, true},
		"whoever takes its launch over lacks an image": {trying, "", void, false},
		"whoever takes its launch over has an old one": {trying, one.Version, void, false},
		"another one tries it": {
			rollout.State{Good: one, Candidate: two, Trying: true, Runner: other},
			two.Version,
			rollout.State{Good: one, Candidate: two, Trying: true, Runner: other},
			false,
		},
		"the trial of another one proved nothing": {rollout.State{Good: one, Candidate: two, Runner: other}, two.Version, trying, true},
		"it was refused":                          {refused(one, two, now), two.Version, refused(one, two, now), false},
		"it failed a moment ago":                  {failed(other), two.Version, failed(other), false},
		"it failed for a while":                   {since(failed(other), 10*time.Minute-1), two.Version, since(failed(other), 10*time.Minute-1), false},
		"it failed once, ten minutes ago":         {since(failed(other), 10*time.Minute), two.Version, retrying, true},
		"that was a runner for the same job":      {since(failed(sibling), day), two.Version, since(failed(sibling), day), false},
		"so was one of two":                       {since(failed(sibling, other), day), two.Version, since(failed(sibling, other), day), false},
		"it is the second and tries it already":   {retrying, two.Version, retrying, true},
		"it is the second and the image was lost": {retrying, "", since(failedBy(tries, other), 10*time.Minute), false},
	} {
		got, does := test.before.Begun(tries, test.version, now)
		if diff := cmp.Diff(test.want, got); diff != "" || does != test.tries {
			t.Errorf("%s: tries it: %t: %s", name, does, diff)
		}
	}
}

func TestATrialIsJudgedByWhetherTheRunnerTookAJob(t *testing.T) {
	t.Parallel()
	trying := rollout.State{Good: one, Candidate: two, Trying: true, Runner: tries}
	taken := rollout.State{Good: two, Runner: tries}
	open := rollout.State{Good: one, Candidate: two, Runner: tries}
	no := failed(tries)
	ended := run.Runner{Name: tries, State: run.Ended, For: 7, SandboxID: "sb-1", Reason: "it ended"}
	with := func(change func(*run.Runner)) run.Runner {
		r := ended
		change(&r)
		return r
	}
	for name, test := range map[string]struct {
		runner run.Runner
		sick   bool
		want   rollout.State
	}{
		"it is being launched":                 {run.Runner{Name: tries, State: run.Launching, For: 7}, false, trying},
		"it has no job yet":                    {run.Runner{Name: tries, State: run.Launched, For: 7, SandboxID: "sb-1"}, false, trying},
		"nobody counts on it now":              {run.Runner{Name: tries, State: run.Launched, SandboxID: "sb-1"}, false, trying},
		"it took its job":                      {run.Runner{Name: tries, State: run.Busy, For: 7, Took: 7}, false, taken},
		"it took another job":                  {run.Runner{Name: tries, State: run.Busy, For: 7, Took: 9}, false, taken},
		"it took a job and ended":              {with(func(r *run.Runner) { r.Took = 7 }), false, taken},
		"it has a job that no webhook told of": {run.Runner{Name: tries, State: run.Launched, For: 7, OccupiedSince: now}, false, taken},
		"it took a job in a pool that fails":   {run.Runner{Name: tries, State: run.Busy, Took: 7}, true, taken},
		"it ended without a job":               {ended, false, no},
		"it ended, as others of its pool do":   {ended, true, open},
		"its job was cancelled":                {with(func(r *run.Runner) { r.For = 0 }), false, open},
		"its sandbox was never made":           {with(func(r *run.Runner) { r.SandboxID = "" }), false, open},
		"the ledger has forgotten it":          {run.Runner{}, false, open},
		"the record is another runner's":       {run.Runner{Name: other, State: run.Busy, Took: 8}, false, trying},
	} {
		if diff := cmp.Diff(test.want, trying.Judged(test.runner, !test.sick, now)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		// What was judged stays so, whatever else is found out.
		for _, over := range []rollout.State{taken, open, no} {
			if diff := cmp.Diff(over, over.Judged(test.runner, !test.sick, now)); diff != "" {
				t.Errorf("%s, once it is judged: %s", name, diff)
			}
		}
	}
}

func TestARefusedVersionIsTriedAgainIfAnOperatorSaysSoOrIfThereWillBeNoOther(t *testing.T) {
	t.Parallel()
	old := release("2.331.0", now.Add(-28*day))
	for name, test := range map[string]struct {
		before rollout.State
		aged   bool
	}{
		"the one in use is good for days":             {refused(one, two, now.Add(-9*day)), false},
		"GitHub is about to refuse it":                {refused(old, two, now.Add(-time.Hour)), true},
		"so it is, and the trial failed a moment ago": {refused(old, two, now.Add(-59*time.Minute)), false},
	} {
		again := rollout.State{Good: test.before.Good, Candidate: two, Runner: tries}
		want := test.before
		if test.aged {
			want = again
		}
		if diff := cmp.Diff(want, test.before.Aged(now)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(again, test.before.Again()); diff != "" {
			t.Errorf("%s, and an operator says so: %s", name, diff)
		}
	}
	for _, nothing := range []rollout.State{{}, {Good: old}, {Good: old, Candidate: two, Trying: true, Runner: tries}} {
		if diff := cmp.Diff(nothing, nothing.Again()) + cmp.Diff(nothing, nothing.Aged(now)); diff != "" {
			t.Errorf("where none is refused: %s", diff)
		}
	}
}

// One failure may be that of a sandbox that was lost, or of a minute in which GitHub gave out no jobs.
func TestAVersionIsRefusedOnceThreeRunnersInARowTriedItInVain(t *testing.T) {
	t.Parallel()
	ended := func(name run.Name) run.Runner {
		return run.Runner{Name: name, State: run.Ended, For: name.Job, SandboxID: "sb-1", Reason: "it ended"}
	}
	at, s := now, rollout.State{Good: one, Candidate: two}
	for n, name := range []run.Name{other, third, tries} {
		var does bool
		if s, does = s.Begun(name, two.Version, at); !does || s.Refused.Version != "" || len(s.Failed) != n {
			t.Fatalf("trial %d: %t, %+v", n+1, does, s)
		}
		// A trial that proves nothing is none.
		if s, does = s.Judged(run.Runner{Name: name, State: run.Ended, SandboxID: "sb-1"}, true, at).Begun(name, two.Version, at); !does {
			t.Fatalf("trial %d, anew: %+v", n+1, s)
		}
		proved := s.Judged(run.Runner{Name: name, State: run.Busy, Took: name.Job}, true, at)
		if diff := cmp.Diff(rollout.State{Good: two, Runner: name}, proved); diff != "" {
			t.Errorf("trial %d succeeds: %s", n+1, diff)
		}
		s = s.Judged(ended(name), true, at)
		if diff := cmp.Diff(s, s.Judged(ended(name), true, at.Add(time.Minute))); diff != "" {
			t.Errorf("trial %d counts twice: %s", n+1, diff)
		}
		at = at.Add(10 * time.Minute)
	}
	if diff := cmp.Diff(refused(one, two, now.Add(20*time.Minute)), s); diff != "" {
		t.Error(diff)
	}
	// Again is as at first.
	at = s.RefusedAt.Add(time.Minute)
	s = s.Again()
	for n, name := range []run.Name{other, third, tries} {
		var does bool
		if s, does = s.Begun(name, two.Version, at); !does || s.Refused.Version != "" {
			t.Fatalf("trial %d, again: %t, %+v", n+1, does, s)
		}
		s, at = s.Judged(ended(name), true, at), at.Add(10*time.Minute)
		if _, does = s.Begun(run.Name{Job: 99, Attempt: 1}, two.Version, at.Add(-time.Nanosecond)); does {
			t.Errorf("trial %d, again: the next is too soon", n+1)
		}
	}
	if diff := cmp.Diff(refused(one, two, now.Add(41*time.Minute)), s); diff != "" {
		t.Errorf("again: %s", diff)
	}
	// Workers of before refused at once.
	old := rollout.State{Good: one, Refused: two, RefusedAt: now, Runner: tries, Why: "it ended"}
	if diff := cmp.Diff(old, old.Offered(two)); diff != "" || old.Again().Candidate != two {
		t.Errorf("an older record: %s", diff)
	}
}

// Whatever happens in whatever order: a version is in use only if it was the first, or a runner that tried it has taken a job.
func TestNoVersionIsInUseThatNoRunnerHasTried(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s rollout.State
		proved := map[string]bool{}
		made := map[run.Name]string{} // What each runner's sandbox has.
		names := []run.Name{tries, other, third, {Job: 8, Attempt: 2}}
		for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := rapid.SampledFrom(names).Draw(t, "runner")
			before, at := s, now.Add(time.Duration(n)*time.Duration(rapid.IntRange(0, 10).Draw(t, "minutes"))*time.Minute)
			switch rapid.SampledFrom([]string{"offer", "create", "create without image", "take", "end", "again", "age"}).Draw(t, fmt.Sprint(n)) {
			case "offer":
				s = s.Offered(rapid.SampledFrom([]run.RunnerRelease{one, two, three}).Draw(t, "newest"))
			case "create":
				var does bool
				if s, does = s.Begun(name, s.Candidate.Version, at); does {
					made[name] = s.Candidate.Version
				} else {
					made[name] = s.Good.Version
				}
			case "create without image":
				if s, _ = s.Begun(name, "", at); made[name] == "" {
					made[name] = s.Good.Version
				}
			case "take":
				if made[name] != "" {
					proved[made[name]] = true
					s = s.Judged(run.Runner{Name: name, State: run.Busy, Took: name.Job}, true, now)
				}
			case "end":
				s = s.Judged(run.Runner{Name: name, State: run.Ended, For: name.Job, SandboxID: "sb"}, rapid.Bool().Draw(t, "well"), at)
				delete(made, name)
			case "again":
				s = s.Again()
			case "age":
				s = s.Aged(now.Add(100 * day))
			}
			if g := s.Good.Version; g != before.Good.Version && before.Good.Version != "" && !proved[g] {
				t.Fatalf("%+v\nhas a version that nobody has tried; before: %+v", s, before)
			}
			jobs := map[int64]bool{}
			for _, failed := range s.Failed {
				jobs[failed.Job] = true
			}
			if len(jobs) != len(s.Failed) || (len(jobs) == 3) != (s.Refused.Version != "") {
				t.Fatalf("was refused by the wrong jobs, or was not: %+v", s)
			}
			if s.Trying && s.Candidate.Version == "" || s.Candidate.Version != "" && s.Refused.Version != "" {
				t.Fatalf("contradicts itself: %+v", s)
			}
		}
	})
}
