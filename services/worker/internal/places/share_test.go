package places_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modal-github-runner/services/worker/internal/places"
)

// In the pool gpu a repository with a thousand jobs is served one after the other; another has a single one there, and much elsewhere.
func TestASingleJobGetsItsPlaceWhateverItsRepositoryHasInOtherPools(t *testing.T) {
	for name, tt := range map[string]struct {
		rules     rules
		elsewhere int // places that the single job's repository holds in the pool default
		mine      int // of the other's sandboxes run in the pool
		turns     int // the single job waits for, at most
	}{
		"where only its pool is short":                       {rules{Pools: map[string]places.Limit{"gpu": upTo(10)}}, 40, 10, 1},
		"where there is a single place":                      {rules{Pools: map[string]places.Limit{"gpu": upTo(1)}}, 40, 1, 1},
		"where all is short, too":                            {rules{Fleet: upTo(50), Pools: map[string]places.Limit{"gpu": upTo(10)}}, 40, 10, 1},
		"where all is short, and only that: for its share":   {rules{Fleet: upTo(18)}, 8, 10, 1},
		"where its pool is slow":                             {rules{Rates: map[string]float64{"gpu": 0.1}}, 40, 10, 1},
		"where its pool has a budget":                        {rules{Pools: map[string]places.Limit{"gpu": {Max: 10, Budget: 1000}}}, 40, 10, 1},
		"where its repository is served elsewhere meanwhile": {rules{Pools: map[string]places.Limit{"gpu": upTo(2)}}, 0, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			gpu := func(repo string, job int64) places.Ask {
				a := ask(repo, job)
				a.Pool = "gpu"
				return a
			}
			at := start.Add(-time.Hour)
			r := taken(t, places.Record{}, rules{}, "single", 1, tt.elsewhere)
			var held []string
			for n := range tt.mine {
				a := gpu("matrix", int64(100+n))
				r, _ = r.Take(a, rules{}, at)
				held = append(held, a.Runner)
			}
			waiting := []places.Waiting{{Ask: gpu("single", 50), QueuedAt: start}}
			for n := range int64(1000) {
				waiting = append(waiting, places.Waiting{Ask: gpu("matrix", 1000+n), QueuedAt: start.Add(-time.Second)})
			}
			at = start
			for turn := 0; ; turn++ {
				at = at.Add(10 * time.Second)
				r, _ = r.Free(held[0], at)
				held = held[1:]
				if tt.elsewhere == 0 { // Which makes its last turn a recent one.
					r, _ = r.Take(ask("single", int64(2000+turn)), rules{}, at)
				}
				var served []places.Waiting
				if r, served = r.Serve(waiting, tt.rules, at); len(served) != 1 {
					t.Fatalf("turn %d: served %v", turn, served)
				}
				got := served[0]
				if got.Repo == "single" {
					return
				}
				if turn == tt.turns {
					t.Fatalf("the other had %d turns before it", turn+1)
				}
				a := got.Ask
				a.Runner = fmt.Sprintf("%d.1", a.Job)
				r, _ = r.Take(a, tt.rules, at)
				held = append(held, a.Runner)
				waiting = slices.DeleteFunc(waiting, func(w places.Waiting) bool { return w.Job == a.Job })
			}
		})
	}
}

// Repositories want all that they can get, in several pools at once, under any limits of pools and of the fleet: none waits for long anywhere.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools, repos := []string{"default", "gpu", "arm"}, []string{"a", "b", "c"}
		how := rules{Fleet: upTo(rapid.IntRange(1, 12).Draw(t, "all")), Pools: map[string]places.Limit{}, Repos: map[string]places.Share{}}
		for _, pool := range pools {
			how.Pools[pool] = upTo(rapid.IntRange(0, 8).Draw(t, pool)) // Zero is no limit.
		}
		for _, repo := range repos {
			how.Repos["acme/"+repo] = places.Share{Weight: rapid.IntRange(1, 3).Draw(t, repo)}
		}
		lasts := rapid.IntRange(1, 10).Draw(t, "a job lasts, in seconds")
		var waiting []places.Waiting
		job := int64(0)
		wants := func(repo, pool string, at time.Time) {
			job++
			a := ask(repo, job)
			a.Pool = pool
			waiting = append(waiting, places.Waiting{Ask: a, QueuedAt: at})
		}
		for _, repo := range repos {
			for _, pool := range pools {
				if rapid.Bool().Draw(t, repo+" wants "+pool) {
					wants(repo, pool, start)
				}
			}
		}
		r, ends := places.Record{}, map[time.Time][]string{}
		for now := start; now.Before(start.Add(4 * time.Minute)); now = now.Add(time.Second) {
			for _, runner := range ends[now] {
				r, _ = r.Free(runner, now)
			}
			var served []places.Waiting
			r, served = r.Serve(waiting, how, now)
			for _, w := range served {
				r, _ = r.Take(w.Ask, how, now)
				end := now.Add(time.Duration(1+(int(w.Job)*7)%lasts) * time.Second)
				ends[end] = append(ends[end], w.Runner)
				waiting = slices.DeleteFunc(waiting, func(other places.Waiting) bool { return other.Job == w.Job })
				wants(w.Repo, w.Pool, now)
			}
			for _, w := range waiting {
				if waited := now.Sub(w.QueuedAt); waited > 2*time.Minute {
					t.Fatalf("job %d of %s waits for %v for a place in %s: held %v", w.Job, w.Repo, waited, w.Pool, r.Held)
				}
			}
		}
	})
}

// Where all is short and its pool is not, what a repository has anywhere counts.
func TestAShareOfTheFleetIsOverAllPools(t *testing.T) {
	gpu, cpu := ask("much", 100), ask("little", 200)
	r := taken(t, places.Record{}, rules{}, "much", 1, 9)
	how := rules{Fleet: upTo(10), Pools: map[string]places.Limit{"gpu": upTo(100)}}
	gpu.Pool, cpu.Pool = "gpu", "gpu"
	_, served := r.Serve([]places.Waiting{{Ask: gpu, QueuedAt: start}, {Ask: cpu, QueuedAt: start.Add(time.Second)}}, how, start)
	if len(served) != 1 || served[0].Repo != "little" {
		t.Errorf("served %v, want the repository that has less in all", served)
	}
}
