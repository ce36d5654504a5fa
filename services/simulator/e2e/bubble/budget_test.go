package bubble_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/world"
)

// Thousands of jobs are queued at once, before four workers. The simulated GitHub refuses nothing, and the last is registered
// about as early as GitHub's limit allows, which is 900 points a minute for each App, of which a registration costs five: launchesPerMinute.
// It may take so many percent more.
func TestManyJobsAtOnceAreRegisteredAsFastAsGitHubAllowsAndNotFaster(t *testing.T) {
	long(t)
	t.Run("3,075 by one App", func(t *testing.T) { registerAtOnce(t, 15, 205, 180, 5, options{}) })
	// An installation of an enterprise has 15,000 requests an hour. With 5,000 that would be what bounds so many. Sweeps
	// use a part of the points, too.
	t.Run("10,000 by one App", func(t *testing.T) { registerAtOnce(t, 50, 200, 180, 5, options{perHour: 15_000}) })
	// Who waits for its turn with one App lets a turn of the other go by.
	t.Run("3,000 by two Apps", func(t *testing.T) { registerAtOnce(t, 12, 250, 360, 10, options{twoApps: true}) })
}

func registerAtOnce(t *testing.T, matrices, size, launchesPerMinute, percent int, o options) {
	t.Helper()
	inBubble(t, func(t *testing.T) {
		o.seed, o.workers, o.ingress, o.calm = 6, 4, 2, true
		u := begin(t, o)
		u.agenda.run(warmUp)
		registered := func() int { return u.github.APIStats().Calls["github.generate-jitconfig"][http.StatusCreated] }
		began := time.Now()
		for n := range matrices {
			specs := make([]world.JobSpec, size)
			for i := range specs {
				specs[i] = world.JobSpec{
					Name: fmt.Sprintf("job-%d-%d", n, i), Labels: []string{"self-hosted", "modal"},
					Steps: []world.StepSpec{{Run: script{lasts: 30 * time.Second}.command()}},
				}
			}
			u.dispatch("acme/app", specs...)
		}
		// took is how long so many registrations took, and how long they take at least: 180 come at once, and 180 after each minute.
		took := func(jobs int) (time.Duration, time.Duration) {
			least := time.Duration((jobs-1)/launchesPerMinute) * time.Minute
			for registered() < jobs && time.Since(began) < 2*least {
				time.Sleep(time.Second)
			}
			return time.Since(began), least
		}
		most, leastMost := took(matrices*size - launchesPerMinute)
		all, least := took(matrices * size)
		stats := u.github.APIStats()
		t.Logf("all but a minute's registrations took %v of at least %v, all %d of them %v of at least %v; the busiest minute cost %d points",
			most, leastMost, registered(), all, least, stats.PeakPointsPerMinute)
		above := func(d time.Duration) time.Duration { return d + time.Duration(percent)*(d/100) }
		if most > above(leastMost) {
			t.Errorf("that is more than %d %% above", percent)
		}
		// Who of the last ones misses its turn has its next one a minute later. Chance decides that, and the runtime's preemption, which goes
		// by real time.
		if all > above(least)+time.Minute {
			t.Error("the last ones took more than a minute more")
		}
		if stats.SecondaryRefusals+stats.PrimaryRefusals != 0 {
			t.Errorf("GitHub refused %d requests by its secondary limit and %d by its primary one", stats.SecondaryRefusals, stats.PrimaryRefusals)
		}
		time.Sleep(10 * time.Minute)
		u.checker.Settled(u.world())
		u.report()
	})
}
