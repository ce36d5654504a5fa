package exact_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/exact"
)

// budget is how many seeds and jobs a test may take: few where everything is tested, more where there is time.
func budget(seeds, jobs int) (uint64, int) {
	if testing.Short() {
		return uint64(seeds), jobs
	}
	return uint64(5 * seeds), 4 * jobs
}

// tell plays a story, and explains what was violated by the smallest story in which it is.
func tell(t *testing.T, o exact.Options) exact.Result {
	t.Helper()
	r := exact.New(o).Run()
	t.Log(r)
	if len(r.Violations) == 0 {
		return r
	}
	for _, v := range r.Violations {
		t.Error(v)
	}
	var story strings.Builder
	smaller, shrunk := exact.Shrink(o, r.Violations[0], &story)
	file := filepath.Join(t.ArtifactDir(), "story.txt")
	if err := os.WriteFile(file, []byte(story.String()), 0o600); err != nil {
		t.Error(err)
	}
	t.Errorf("shrunk to %d jobs and the faults\n%sin %s: %v", len(smaller.Only), exact.Tally(shrunk.Faults), file, shrunk.Violations)
	return r
}

// Faults hit everything, then stop. Whatever happened, every job is served then, and nothing is left; and in no story does
// anything happen that never may. The faults that the suite claims to play all happen.
func TestEveryJobIsServedAndNothingIsLeft(t *testing.T) {
	seeds, jobs := budget(12, 500)
	var mu sync.Mutex
	happened := map[exact.Fault]int{}
	t.Run("seeds", func(t *testing.T) {
		for seed := range seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				// Much of the weather comes once an hour; these stories take minutes, and are chosen so that all of it comes.
				r := tell(t, exact.Options{Seed: 300 + seed, Jobs: jobs, Rate: 1, Intensity: 1.5})
				mu.Lock()
				defer mu.Unlock()
				for f, n := range r.Faults {
					happened[f] += n
				}
			})
		}
	})
	for _, f := range exact.Faults() {
		if happened[f] == 0 {
			t.Errorf("it never happened: %s %v", f, f.Rows())
			continue
		}
		faultstest.Cover(t, f.Rows()...)
	}
}

func TestNothingForbiddenHappensWhileFaultsGoOn(t *testing.T) {
	seeds, jobs := budget(4, 500)
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			tell(t, exact.Options{Seed: 1000 + seed, Jobs: jobs, Safety: true, Intensity: 3, Settle: time.Hour, SurplusLimit: time.Hour})
		})
	}
}

// When nothing fails, jobs that are cancelled, held, or have their runners taken are all that keeps others waiting, and a
// sandbox that is of no use is gone within half a minute.
func TestInCalmWeatherNobodyWaitsLongAndSurplusRunnersGo(t *testing.T) {
	seeds, jobs := budget(4, 500)
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := tell(t, exact.Options{Seed: 2000 + seed, Jobs: jobs, Intensity: exact.Calm, SurplusLimit: 30 * time.Second})
			if longest := r.Quantile(1); longest > 3*time.Minute {
				t.Errorf("a job waited for %v", longest)
			}
		})
	}
}

// A sandbox that Modal has not scheduled can't be asked whether it has a job; nor need it.
func TestSurplusSandboxesThatModalDoesNotScheduleGoToo(t *testing.T) {
	seeds, jobs := budget(2, 200)
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			const away = 3 * time.Minute
			r := tell(t, exact.Options{Seed: 5000 + seed, Jobs: jobs, Intensity: exact.Calm, SurplusLimit: 30 * time.Second, NoMachines: away})
			if longest := r.Quantile(1); longest < away/2 || longest > away+time.Minute {
				t.Errorf("a job waited for %v", longest)
			}
		})
	}
}

// Of a sandbox that never starts its runner, or does not end once that was released, nothing ends it but who asks Modal to. While Modal is away
// nobody can; as soon as it is back somebody does.
func TestSurplusSandboxesThatDoNotEndByThemselvesGoWhenModalIsThere(t *testing.T) {
	without := only(exact.ModalAway, exact.BootHang, exact.GoodbyeHangs, exact.Unscheduled, exact.JobCancelled)
	const startLimit = 6 * time.Minute     // of a pool by default: so long a sandbox may take to start its runner
	for _, seed := range []uint64{2, 11} { // In these Modal is away for longer than the limit.
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			tell(t, exact.Options{Seed: seed, Jobs: 300, Rate: 0.1, Warm: -1, Intensity: 25, SurplusLimit: startLimit + 30*time.Second, Without: without})
		})
	}
}

func TestOneSeedIsOneStory(t *testing.T) {
	story := func(seed uint64) [sha256.Size]byte {
		digest := sha256.New()
		exact.New(exact.Options{Seed: seed, Jobs: 300, Rate: 1, Story: digest}).Run()
		return [sha256.Size]byte(digest.Sum(nil))
	}
	seven, again, eight := story(7), story(7), story(8)
	if seven != again {
		t.Error("seed 7 told two stories")
	}
	if seven == eight {
		t.Error("seeds 7 and 8 told the same")
	}
}

// A limit that nobody can keep is violated by the first job that is cancelled: that job alone is left.
func TestAViolationIsShrunkToWhatMatters(t *testing.T) {
	o := exact.Options{Seed: 3, Jobs: 400, SurplusLimit: time.Second}
	r := exact.New(o).Run()
	if len(r.Violations) == 0 {
		t.Fatal("nothing was violated")
	}
	var story strings.Builder
	smaller, shrunk := exact.Shrink(o, r.Violations[0], &story)
	if len(smaller.Only) > 2 || len(shrunk.Violations) == 0 || !strings.Contains(story.String(), "VIOLATED I5") {
		t.Errorf("%d jobs are left, and %d violations", len(smaller.Only), len(shrunk.Violations))
	}
	if lines := strings.Count(story.String(), "\n"); lines > 20_000 {
		t.Errorf("the story has %d lines", lines)
	}
}
