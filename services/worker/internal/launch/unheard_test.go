package launch_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// unblamed fails the test if launches of the pool count as failed.
func unblamed(t *testing.T, w *world) {
	t.Helper()
	if p := w.places.Pools["default"]; len(p.Failed) > 0 || p.Breaker(time.Now()) != places.Closed {
		t.Errorf("launches of the pool count as failed: %+v", p)
	}
}

// Jobs run, and end within the minute after which their runners are looked at. GitHub's webhooks of that are late.
func TestARunnerThatDidItsJobUnheardIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.sightings = map[int64]run.Sighting{}
		const jobs = 6
		for id := int64(1); id <= jobs; id++ {
			j := job(id)
			j.CreatedAt = time.Now()
			w.deliver(t.Context(), message{job: id, ev: run.Queued{Job: j, At: time.Now()}}, nil)
		}
		time.Sleep(40 * time.Second)
		for n, s := range w.sandboxes {
			s.running = false
			delete(w.registrations, s.name)
			w.sightings[int64(n+1)] = run.Sighting{Status: "completed", Conclusion: "success", Runner: s.name, GitHubID: s.githubID()}
		}
		w.settle(t, 62*time.Second)
		unblamed(t, w)
		for id := int64(1); id <= jobs; id++ {
			if r := w.runs[id].record; r.State != run.Done || r.Attempts != 1 {
				t.Errorf("job %d: %+v, want it done at the first attempt", id, r)
			}
		}
	})
}

// failingForge can't be asked.
type failingForge struct{ limitedForge }

func (failingForge) Sight(context.Context, run.Job) (run.Sighting, error) {
	return run.Sighting{}, errors.New("github: 502")
}

func TestWhileGitHubDoesNotAnswerARunnerWhoseSandboxIsOverIsNotGivenUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		queued := run.Queued{Job: job(1), At: time.Now()}
		w.deliver(t.Context(), message{job: 1, ev: queued}, nil)
		w.sandboxes[0].running = false
		l := launcher(w, nil)
		l.Forge = failingForge{limitedForge{Forge: l.Forge}}
		for _, step := range []struct {
			after time.Duration
			given bool
		}{{time.Minute, false}, {3 * time.Minute, false}, {2 * time.Minute, true}} {
			time.Sleep(step.after)
			if _, err := l.Handle(t.Context(), 1, queued); err != nil {
				t.Fatal(err)
			}
			if given := w.runs[1].record.Runner.Attempt != 1; given != step.given {
				t.Errorf("%v later its runner was given up: %v, want %v", step.after, given, step.given)
			}
		}
	})
}

// Jobs that were queued for a moment are held for an approval. Their runners end, since nobody needs them, and the approval comes.
func TestARunnerThatEndedForWantOfAnApprovalIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		const jobs = 6
		for id := int64(1); id <= jobs; id++ {
			w.deliver(t.Context(), message{job: id, ev: run.Queued{Job: job(id), At: time.Now()}}, nil)
			time.Sleep(time.Second)
			w.deliver(t.Context(), message{job: id, ev: run.Held{Job: job(id), At: time.Now()}}, nil)
		}
		w.settle(t, 3*time.Minute)
		for id := int64(1); id <= jobs; id++ {
			name := run.Name{Job: id, Attempt: 1}
			for _, ev := range []run.RunnerEvent{run.Counted{For: id, From: id}, run.Released{Name: name}} { // As the sweep does.
				if _, err := launcher(w, nil).HandleRunner(t.Context(), name, ev); err != nil {
					t.Fatal(err)
				}
				time.Sleep(run.SpareTime)
			}
		}
		if w.running() != 0 {
			t.Fatalf("%d run", w.running())
		}
		for id := int64(1); id <= jobs; id++ {
			w.queue = append(w.queue, message{job: id, ev: run.Queued{Job: job(id), At: time.Now()}, at: time.Now()})
		}
		w.settle(t, 10*time.Second)
		unblamed(t, w)
		if w.running() != jobs {
			t.Errorf("%d of %d run", w.running(), jobs)
		}
	})
}

// Jobs are given up for something that an operator mends, who then replays them.
func TestAReplayIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.registerErr = func(run.Runner) error {
			return &run.PermanentError{Err: errors.New("the runner group is not allowed"), Advice: "mend it"}
		}
		const jobs = 6
		for id := int64(1); id <= jobs; id++ {
			w.deliver(t.Context(), message{job: id, ev: run.Queued{Job: job(id), At: time.Now()}}, nil)
		}
		w.settle(t, 10*time.Minute)
		w.registerErr = nil
		for id := int64(1); id <= jobs; id++ {
			if _, err := launcher(w, nil).Handle(t.Context(), id, run.Replayed{}); err != nil {
				t.Fatal(err)
			}
		}
		w.settle(t, 10*time.Second)
		unblamed(t, w)
		if w.running() != jobs {
			t.Errorf("%d of %d run", w.running(), jobs)
		}
	})
}

// The webhook of a hold was lost at first. When it comes, the job has been approved for long.
func TestAHoldThatComesLateIsAskedAbout(t *testing.T) {
	for _, tt := range []struct {
		name  string
		late  time.Duration
		says  run.Sighting
		state run.State
	}{
		{name: "in time, it is believed", state: run.OnHold, says: run.Sighting{Status: "queued"}},
		{name: "late, it is over if GitHub says that the job is queued", late: time.Minute, says: run.Sighting{Status: "queued"}, state: run.Waiting},
		{name: "late, it holds if GitHub says so", late: time.Minute, says: run.Sighting{Status: "waiting"}, state: run.OnHold},
		{name: "late, it is believed if GitHub does not say", late: time.Minute, says: run.Sighting{Gone: true}, state: run.OnHold},
		{name: "late, the job may be over", late: time.Minute, says: run.Sighting{Status: "completed", Conclusion: "cancelled"}, state: run.Done},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.rules.Fleet.Max = 1
				for id := range int64(2) { // The second waits for the first one's place.
					w.deliver(t.Context(), message{job: id + 1, ev: run.Queued{Job: job(id + 1), At: time.Now()}}, nil)
				}
				time.Sleep(tt.late + time.Second)
				w.sightings = map[int64]run.Sighting{2: tt.says}
				w.deliver(t.Context(), message{job: 2, ev: run.Held{Job: job(2), At: time.Now()}}, nil)
				if got := w.runs[2].record.State; got != tt.state {
					t.Errorf("it is %q, want %q", got, tt.state)
				}
			})
		})
	}
}

func TestOfARunnerThatHangsTheEndOfItsLogIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.evidence = run.Starting
		w.queue = []message{{job: 1, ev: run.Queued{Job: job(1), At: time.Now()}, at: time.Now()}}
		w.settle(t, 7*time.Minute)
		lost := func(n run.Note) bool {
			return strings.Contains(n.Text, "its sandbox hangs: it started no runner") && strings.HasSuffix(n.Text, "its log ends: boom")
		}
		if history := w.runs[1].record.History; !slices.ContainsFunc(history, lost) {
			t.Errorf("its history: %+v", history)
		}
	})
}
