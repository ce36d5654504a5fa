package bubble_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/simulator/internal/check"
)

var seed = flag.Uint64("seed", 0, "seed of the scenarios; 0 for each one's own")

const (
	// warmUp is how long the first image takes to be built.
	warmUp = 2 * time.Minute
	// settleTime is what there may be to do once nothing goes wrong any more: the longest job, and the half hour after which
	// GitHub is asked about a job of whose end no webhook told.
	settleTime = 2 * time.Hour
)

// scenario is one universe's course.
type scenario struct {
	options options
	jobs    int
	// lasts is the time in which jobs come.
	lasts time.Duration
	// weather and mishaps are how often something else goes wrong all that time; zero for never.
	weather, mishaps time.Duration
	// blackout is how long GitHub is down before that.
	blackout time.Duration
	// settle is how long it may take until everything is at rest once jobs come no more and nothing goes wrong any more. Zero
	// ends the scenario in the middle of it all.
	settle time.Duration
}

// play plays the scenario, fails the test for each violation, and returns how often each fault came about.
func (s scenario) play(t *testing.T) (exercised map[string]int) {
	t.Helper()
	if *seed != 0 {
		s.options.seed = *seed
	}
	inBubble(t, func(t *testing.T) {
		u := begin(t, s.options)
		s.script(u)
		u.report()
		exercised = u.exercised
	})
	return exercised
}

func (s scenario) script(u *universe) {
	u.agenda.run(warmUp)
	u.look(10 * time.Minute)
	people := &traffic{universe: u, rnd: rand.New(rand.NewPCG(s.options.seed, 7)), until: warmUp + s.lasts}
	people.plan(s.jobs, s.lasts)
	w, m := newWeather(u), newMishaps(u)
	if s.blackout > 0 {
		w.change("github.", blackout)
		u.agenda.run(warmUp + s.blackout)
		w.change("github.", condition{})
	}
	if s.weather > 0 {
		w.begin(s.weather)
		m.begin(s.mishaps)
	}
	u.agenda.run(warmUp + s.lasts)
	w.end()
	m.end()
	if s.settle == 0 {
		u.checker.Look(u.world())
		return
	}
	u.story.tellf("nothing goes wrong from now on")
	u.keepWarm(0)
	u.agenda.run(warmUp + s.lasts + s.settle/2)
	m.replayAll()
	// What was given up and runs all the same is asked about from now on.
	u.checker.Outage(check.Interval{From: time.Now(), To: time.Now()})
	people.leave()
	u.agenda.run(warmUp + s.lasts + s.settle)
	u.checker.Settled(u.world())
}

// inBubble runs f in a bubble of its own.
func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	appKey() // Outside of the bubble: it is for all of them.
	natstest.DropTimers()
	synctest.Test(t, f)
}

// report fails the test for what should not be.
func (u *universe) report() {
	u.t.Helper()
	for f, n := range u.boxes.counts() {
		for _, id := range catalogued[f] {
			u.met(id, n)
		}
	}
	if u.options.skew {
		u.met("F54", 1)
	}
	u.t.Logf("seed %d: %s", u.options.seed, u.summary())
	u.t.Logf("faults: %v", u.exercised)
	violations := u.checker.Violations()
	for _, v := range violations {
		u.story.tellf("VIOLATED %v", v)
	}
	for _, v := range violations[:min(len(violations), 20)] {
		u.t.Errorf("seed %d: %v", u.options.seed, v)
	}
	if len(violations) > 0 {
		u.t.Errorf("seed %d: %d violations; events.log and services.log of -artifacts tell how it came to them, and it ended with:\n%s",
			u.options.seed, len(violations), u.story.end())
	}
}

func TestWhenAllIsWellEveryJobIsServedAndNothingIsLeft(t *testing.T) {
	exercised := scenario{
		options: options{seed: 64, workers: 2, ingress: 1, calm: true}, jobs: 20, lasts: 10 * time.Minute, settle: 25 * time.Minute,
	}.play(t)
	if exercised["F05"] == 0 || exercised["F06"] == 0 { // Else no runner was ever one too many.
		t.Errorf("of the seed's jobs %d were cancelled while queued and %d took another's runner, want some of each",
			exercised["F05"], exercised["F06"])
	}
}

func TestInAShortStormNothingThatMustHoldIsViolated(t *testing.T) {
	scenario{
		options: options{seed: 2, workers: 2, ingress: 2, twoHooks: true}, jobs: 25, lasts: 25 * time.Minute,
		weather: 5 * time.Minute, mishaps: 100 * time.Second,
	}.play(t)
}

// A week with everything that can go wrong. Then nothing does any more, and all must come to rest.
func TestAWeekOfStormsLosesNoJobAndLeavesNothing(t *testing.T) {
	long(t)
	exercised := scenario{
		options: options{seed: 3, workers: 3, ingress: 2, twoHooks: true, skew: true}, jobs: 700, lasts: 7*24*time.Hour - settleTime,
		weather: 2 * time.Hour, mishaps: 40 * time.Minute, settle: settleTime,
	}.play(t)
	prove(t, exercised, claims)
}

func TestRunnersOfAnOrganizationAreTakenByJobsOfWhichNobodyTells(t *testing.T) {
	long(t)
	scenario{
		options: options{seed: 4, workers: 2, ingress: 1, org: true}, jobs: 150, lasts: 8 * time.Hour,
		weather: time.Hour, mishaps: 20 * time.Minute, settle: settleTime,
	}.play(t)
}

func TestAfterSixHoursWithoutGitHubEveryJobIsServed(t *testing.T) {
	long(t)
	exercised := scenario{
		options: options{seed: 5, workers: 2, ingress: 1}, jobs: 100, lasts: 7 * time.Hour, blackout: 6 * time.Hour, settle: settleTime,
	}.play(t)
	prove(t, map[string]int{"F13": exercised["F13"]}, map[string]string{"F13": "scenario: GitHub's API is down for six hours"})
}

// long skips a test that takes minutes.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes minutes: run without -short, as make e2e does")
	}
}

func TestWarmSandboxesServeJobsAndAreGoneOnceNoneIsToWait(t *testing.T) {
	scenario{
		options: options{seed: 65, workers: 2, ingress: 1, calm: true, warm: 2}, jobs: 20, lasts: 10 * time.Minute, settle: 25 * time.Minute,
	}.play(t)
}

func TestInAStormWarmSandboxesServeOneRunnerEach(t *testing.T) {
	long(t)
	scenario{
		options: options{seed: 66, workers: 3, ingress: 2, twoHooks: true, skew: true, warm: 3}, jobs: 200, lasts: 24 * time.Hour,
		weather: time.Hour, mishaps: 20 * time.Minute, settle: settleTime,
	}.play(t)
}
