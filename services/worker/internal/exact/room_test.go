package exact_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/exact"
)

// only is all faults but these.
func only(happen ...exact.Fault) map[exact.Fault]bool {
	without := map[exact.Fault]bool{}
	for _, f := range exact.Faults() {
		without[f] = !slices.Contains(happen, f)
	}
	return without
}

// eachSeed plays stories side by side, each a test of its own, and returns what came of each: what is so of most stories need not be of one.
func eachSeed[T any](t *testing.T, seeds uint64, play func(t *testing.T, seed uint64) T) []T {
	t.Helper()
	came := make([]T, seeds)
	t.Run("seeds", func(t *testing.T) {
		for seed := range seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				came[seed] = play(t, seed)
			})
		}
	})
	return came
}

// Four workers race for 50 places while one of them is killed every few seconds. Modal never has one sandbox more (the checker
// counts, I9), and the places are in use while jobs wait.
func TestPlacesAreNeverTooManyAndSeldomIdle(t *testing.T) {
	faultstest.Cover(t, "F41")
	seeds, jobs := budget(1, 600)
	inUse := eachSeed(t, seeds, func(t *testing.T, seed uint64) float64 {
		r := tell(t, exact.Options{
			Seed: 3000 + seed, Jobs: jobs, Rate: 0.3, MaxSandboxes: 50, JobTime: 5 * time.Minute,
			Without: only(exact.WorkerKilled, exact.WorkerDiesBefore, exact.WorkerDiesAfter), Intensity: 8, // A kill every 4 s.
		})
		t.Logf("%.1f %% in use, %d workers killed", 100*r.InUse, r.Faults[exact.WorkerKilled])
		return r.InUse
	})
	mean := 0.0
	for _, part := range inUse {
		mean += part / float64(len(inUse))
	}
	if mean < 0.95 {
		t.Errorf("%.1f %% of the places were in use while jobs waited, want 95", 100*mean)
	}
}

// An hour without GPUs holds up nobody who wants none.
func TestWithoutGPUsAtModalOtherJobsWaitNoLonger(t *testing.T) {
	faultstest.Cover(t, "F46")
	seeds, jobs := budget(1, 300)
	waits := func(without time.Duration) (p50, p99 time.Duration) {
		all := slices.Sorted(slices.Values(slices.Concat(eachSeed(t, seeds, func(t *testing.T, seed uint64) []time.Duration {
			return tell(t, exact.Options{Seed: 4000 + seed, Jobs: jobs, Rate: 1, NoGPUs: without, Intensity: exact.Calm}).CPUWaits
		})...)))
		at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
		return at(.5), at(.99)
	}
	p50, p99 := waits(0)
	without50, without99 := waits(time.Hour)
	t.Logf("p50 %v, p99 %v with GPUs; %v, %v without", p50, p99, without50, without99)
	if without50 > p50*11/10 || without99 > p99*12/10+2*time.Second { // Whose runner serves whom is another matter each time.
		t.Errorf("jobs without a GPU waited p50 %v, p99 %v, and %v, %v while there were no GPUs", p50, p99, without50, without99)
	}
}

// A backup comes back in which places and jobs are missing. What follows from that is no violation, and each of it is told: which
// part of a limit nobody kept, and which jobs nobody will ever find.
func TestWhatAnOldBackupHasForgottenIsExcusedAndTold(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	const first, last = 5021, 5100
	for seed := uint64(first); len(told) < 3; seed++ {
		if seed > last {
			t.Fatalf("in %d stories only of %v is told", last-first, slices.Collect(maps.Keys(told)))
		}
		var out strings.Builder
		o := exact.Options{Seed: seed, Jobs: 100, Rate: 1, MaxSandboxes: 6, Without: only(exact.BackupRestored, exact.QueuePurged), Intensity: 4}
		violated, excused := exact.Play(&out, o, false)
		if sum := fmt.Sprintf("seed %d: 0 violations, %d excused\n", seed, excused); violated > 0 || !strings.HasPrefix(out.String(), sum) {
			t.Fatalf("%d violations, %d excused:\n%s", violated, excused, out.String())
		}
		for what, line := range map[string]string{
			"jobs that stay queued":   `(?m)^ +[1-9]\d*  ` + regexp.QuoteMeta(string(exact.Unfound)) + `$`,
			"that they are":           `(?m)^  ended  .* [1-9]\d* queued, of ours`,
			"sandboxes over the most": `(?m)^ +[1-9]\d*  ` + regexp.QuoteMeta(string(exact.Overfull)) + `$`,
		} {
			if regexp.MustCompile(line).MatchString(out.String()) {
				told[what] = true
			}
		}
	}
}
