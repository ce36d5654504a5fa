package bubble_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/simulator/internal/world"
)

// launchesPerMinute is what GitHub's limit allows: 900 points, of which a registration costs five.
const launchesPerMinute = 180

// Thousands of jobs are queued at once, before four workers. The simulated GitHub refuses nothing, and the last is registered
// about as early as GitHub's limit allows.
func TestManyJobsAtOnceAreRegisteredAsFastAsGitHubAllowsAndNotFaster(t *testing.T) {
	long(t)
	const matrices, size = 15, 205
	appKey() // Outside of the bubble: it is for all of them.
	synctest.Test(t, func(t *testing.T) {
		u := begin(t, options{seed: 6, workers: 4, ingress: 2, calm: true})
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
		// 180 at once, and 180 after each minute.
		least := time.Duration((matrices*size-1)/launchesPerMinute) * time.Minute
		for registered() < matrices*size && time.Since(began) < 2*least {
			time.Sleep(time.Second)
		}
		took := time.Since(began)
		stats := u.github.APIStats()
		t.Logf("%d registrations took %v of at least %v (%.1f %% more); the busiest minute cost %d points",
			registered(), took, least, 100*(took-least).Seconds()/least.Seconds(), stats.PeakPointsPerMinute)
		if took > least*105/100 {
			t.Error("that is more than 5 % above")
		}
		if stats.SecondaryRefusals+stats.PrimaryRefusals != 0 {
			t.Errorf("GitHub refused %d requests by its secondary limit and %d by its primary one", stats.SecondaryRefusals, stats.PrimaryRefusals)
		}
		time.Sleep(10 * time.Minute)
		u.checker.Settled(u.world())
		u.report()
	})
}
