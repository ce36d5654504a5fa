package bubble_test

import (
	"fmt"
	"net/http"
	"testing"
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
	inBubble(t, func(t *testing.T) {
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
		if most > leastMost*105/100 {
			t.Error("that is more than 5 % above")
		}
		// Who of the last ones misses its turn has its next one a minute later. Chance decides that, and the runtime's preemption, which goes
		// by real time.
		if all > least*105/100+time.Minute {
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
