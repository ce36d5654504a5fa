package exact_test

import (
	"testing"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/exact"
)

// Sandboxes wait for jobs, few at a time, so that most jobs get one that waited. Workers die, Modal's answers are lost or late, and a
// sandbox dies while it waits: none becomes two runners', nor is there one more than may be, and none is left (the checker holds that).
func TestASandboxThatWaitedIsOneRunnersAndNoneIsLeft(t *testing.T) {
	faultstest.Cover(t, "F41", "F45")
	seeds, jobs := budget(2, 200)
	served := 0
	for _, warm := range eachSeed(t, seeds, func(t *testing.T, seed uint64) int {
		return tell(t, exact.Options{Seed: 6000 + seed, Jobs: jobs, Rate: 0.1, Warm: 3, MaxSandboxes: 25}).Warm
	}) {
		served += warm
	}
	if all := int(seeds) * jobs; served < all/8 { // None waits while others want its place, which they do for much of a bad day.
		t.Errorf("%d of %d jobs got a sandbox that waited", served, all)
	}
}

// What sandboxes wait for is that a job starts at once. And those that are wanted no more are gone within half a minute.
func TestWithSandboxesThatWaitJobsStartAtOnce(t *testing.T) {
	seeds, jobs := budget(1, 200)
	median := func(warm int) (sum time.Duration) { // Of all stories together: in some, most jobs want what none that waits has.
		for _, m := range eachSeed(t, seeds, func(t *testing.T, seed uint64) time.Duration {
			o := exact.Options{Seed: 7000 + seed, Jobs: jobs, Rate: 0.05, Warm: warm, Intensity: exact.Calm, SurplusLimit: 30 * time.Second}
			return tell(t, o).Quantile(.5)
		}) {
			sum += m
		}
		return sum / time.Duration(seeds)
	}
	if without, with := median(-1), median(3); with > without*3/4 {
		t.Errorf("half of the jobs waited for %v at most, and for %v without any that wait", with, without)
	}
}

// As many are kept warm in a story as it says, or as its seed has it: none in half of them, and one to three in the others.
func TestHalfOfAllStoriesKeepSandboxesWarm(t *testing.T) {
	t.Parallel()
	with := 0
	const stories = 20
	for seed := uint64(1); seed <= stories; seed++ {
		if exact.New(exact.Options{Seed: seed, Jobs: 5, Intensity: exact.Calm}).Warm > 0 {
			with++
		}
	}
	if with < stories/4 || with > 3*stories/4 {
		t.Errorf("%d of %d", with, stories)
	}
}
