package places_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

var update = flag.Bool("update", false, "rewrite the table of testdata")

const (
	fairPlaces = 20
	fairTime   = time.Minute // that each job takes
)

// arrivals are a matrix of 1,000 jobs of one repository, and a moment later ten jobs of each of nine others.
func arrivals() (waiting []places.Waiting) {
	come := func(repo string, n int, at time.Duration) {
		for range n {
			waiting = append(waiting, places.Waiting{Ask: ask(repo, int64(len(waiting)+1)), QueuedAt: start.Add(at)})
		}
	}
	come("matrix", 1000, 0)
	for n := range 9 {
		come(fmt.Sprintf("small-%d", n+1), 10, time.Second)
	}
	return waiting
}

// waits are how long the jobs of each repository wait until they get a place, when pick says who gets the places that are free.
func waits(t *testing.T, pick func(r places.Record, waiting []places.Waiting, now time.Time) (places.Record, []places.Waiting)) map[string][]time.Duration {
	t.Helper()
	r, all, ends, got := places.Record{}, arrivals(), map[time.Time][]string{}, map[string][]time.Duration{}
	for now := start; len(all) > 0; now = now.Add(time.Second) {
		for _, runner := range ends[now] {
			r, _ = r.Free(runner, now)
		}
		line := slices.DeleteFunc(slices.Clone(all), func(w places.Waiting) bool { return w.QueuedAt.After(now) })
		var served []places.Waiting
		r, served = pick(r, line, now)
		for _, w := range served {
			a := w.Ask
			a.Runner = fmt.Sprintf("%d.1", a.Job)
			var o *places.Obstacle
			if r, o = r.Take(a, rules{Fleet: upTo(fairPlaces)}, now); o != nil {
				t.Fatal(o)
			}
			ends[now.Add(fairTime)] = append(ends[now.Add(fairTime)], a.Runner)
			got[a.Repo] = append(got[a.Repo], now.Sub(w.QueuedAt))
			all = slices.DeleteFunc(all, func(left places.Waiting) bool { return left.Job == a.Job })
		}
	}
	return got
}

// Against first come, first served, and against what each would wait if it had its share of the places to itself.
func TestASmallRepositoryWaitsForItsShareNotForAMatrix(t *testing.T) {
	how := rules{Fleet: upTo(fairPlaces)}
	fair := waits(t, func(r places.Record, waiting []places.Waiting, now time.Time) (places.Record, []places.Waiting) {
		return r.Serve(waiting, how, now)
	})
	first := waits(t, func(r places.Record, waiting []places.Waiting, _ time.Time) (places.Record, []places.Waiting) {
		slices.SortStableFunc(waiting, func(a, b places.Waiting) int { return a.QueuedAt.Compare(b.QueuedAt) })
		return r, waiting[:min(len(waiting), fairPlaces-len(r.Held))]
	})
	var b strings.Builder
	fmt.Fprintf(&b, "%d places, %v a job; how long until a job has its place, mean and longest\n\n", fairPlaces, fairTime)
	fmt.Fprintf(&b, "%-10s %5s  %-16s %-22s %-16s\n", "repository", "jobs", "fair share", "first come, served", "its share alone")
	for _, repo := range []string{"matrix", "small-1", "small-5", "small-9"} {
		share := fairPlaces / 10
		if repo == "matrix" { // The others' share is its own once they have ended.
			share = fairPlaces
		}
		fmt.Fprintf(&b, "%-10s %5d  %-16s %-22s %-16s\n", repo, len(fair[repo]), shown(fair[repo]), shown(first[repo]), shown(alone(len(fair[repo]), share)))
	}
	golden := filepath.Join("testdata", "fairness.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != b.String() {
		t.Errorf("%v; go test -update rewrites the table:\n%s", err, b.String())
	}
	for n := range 9 {
		repo := fmt.Sprintf("small-%d", n+1)
		if longest, bound := slices.Max(fair[repo]), slices.Max(alone(10, fairPlaces/10))+fairTime; longest > bound {
			t.Errorf("a job of %s waited for %v, want at most its share and one job more, %v", repo, longest, bound)
		}
	}
}

// alone is how long jobs wait that have so many places to themselves.
func alone(jobs, share int) (waits []time.Duration) {
	for n := range jobs {
		waits = append(waits, time.Duration(n/share)*fairTime)
	}
	return waits
}

func shown(waits []time.Duration) string {
	var sum time.Duration
	for _, w := range waits {
		sum += w
	}
	return fmt.Sprintf("%v, %v", (sum / time.Duration(len(waits))).Round(time.Second), slices.Max(waits).Round(time.Second))
}
