package places_test

import (
	"fmt"
	"testing"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/places"
)

// The clocks of two workers may be a minute apart, whichever of them is ahead.
func TestTwoWorkersSeeTheSameLineThoughTheirClocksDiffer(t *testing.T) {
	how := rules{Fleet: upTo(1)}
	for _, skew := range []time.Duration{-time.Minute, -16 * time.Second, 0, 16 * time.Second, time.Minute} {
		t.Run(fmt.Sprintf("by %v", skew), func(t *testing.T) {
			r := taken(t, places.Record{}, how, "web", 1, 1)
			r, _ = r.Take(ask("web", 2), how, start)
			r, _ = r.Free("1.1", start)
			theirs := start.Add(5*time.Second + skew) // The line was not looked at since.
			if _, o := r.Take(ask("api", 3), how, theirs); o == nil || o.Kind != places.Line {
				t.Errorf("who comes later waits for %v, want %s", o, places.Line)
			}
			r, served := r.Serve([]places.Waiting{{Ask: ask("web", 2), QueuedAt: start}}, how, start)
			if len(served) != 1 {
				t.Fatalf("served %v", served)
			}
			if _, o := r.Take(ask("api", 3), how, theirs); o == nil || o.Kind != places.Full {
				t.Errorf("who comes later waits for %v, while the place is promised; want %s", o, places.Full)
			}
			if _, o := r.Take(ask("web", 2), how, theirs); o != nil {
				t.Errorf("whom it was promised to waits for %v", o)
			}
		})
	}
}

func TestABreakLastsForAWorkerWhoseClockIsBehind(t *testing.T) {
	r := places.Record{}.Failed("default", "9.1", "bad image", true, start)
	for n := range 6 { // Until a break lasts a quarter of an hour.
		r = r.Unready("default", "bad image", start)
		a := ask("web", int64(n+1))
		r, _ = r.Take(a, rules{}, start.Add(time.Minute))
		r = r.Failed("default", a.Runner, "bad image", true, start.Add(time.Minute))
	}
	if _, o := r.Take(ask("web", 100), rules{}, start); o == nil || o.Kind != places.Broken {
		t.Errorf("a minute behind, a launch waits for %v, want %s", o, places.Broken)
	}
}

// At midnight by the one clock, what the other's day has cost is not forgotten, nor counted twice.
func TestADayBeginsOnceThoughClocksDiffer(t *testing.T) {
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	a, b := ask("web", 1), ask("web", 2)
	a.Price, b.Price = 1, 1
	r, _ := places.Record{}.Take(a, rules{}, midnight.Add(-time.Hour))
	r, _ = r.Take(b, rules{}, midnight.Add(-time.Hour))
	r, _ = r.Free(a.Runner, midnight.Add(10*time.Second)) // By the clock that is ahead.
	r, _ = r.Free(b.Runner, midnight.Add(-30*time.Second))
	if r.Day != "2026-03-02" {
		t.Errorf("the day is %s again", r.Day)
	}
	if cost := r.Cost(places.All, midnight.Add(11*time.Second)); cost != 10 {
		t.Errorf("the new day has cost %v, want 10", cost)
	}
	if cost := r.Cost(places.All, midnight.Add(-20*time.Second)); cost != 10 {
		t.Errorf("by the clock that is behind the new day has cost %v, want 10", cost)
	}
}

// Where Modal has no room, workers ask seldom, all together: one that did not heed what a clock wrote down that is five minutes ahead of its
// own would ask again and again, and each time cost GitHub a registration.
func TestALackOfRoomAtModalIsHeededByWorkersWhoseClocksDiffer(t *testing.T) {
	faultstest.Cover(t, "F54")
	for _, skew := range []time.Duration{0, time.Minute, 5 * time.Minute} {
		t.Run(fmt.Sprintf("by %v", skew), func(t *testing.T) {
			r := places.Record{}
			for n := range 10 { // Until it is at its slowest.
				r = r.Exhausted("default", start.Add(skew+time.Duration(n)*time.Minute))
			}
			if _, o := r.Take(ask("web", 1), rules{}, start.Add(9*time.Minute)); o == nil || o.Kind != places.Pace {
				t.Errorf("it waits for %v, want %s", o, places.Pace)
			}
		})
	}
}
