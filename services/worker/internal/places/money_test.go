package places_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

const cent = 0.01 / 60 // a minute

// dear is what a job asks for whose sandbox costs a cent a minute, until its timeout at most.
func dear(job int64, timeout time.Duration) places.Ask {
	a := ask("web", job)
	a.Price, a.Timeout = cent, timeout
	return a
}

// All who waited for the new day's budget go at once: as many as it can pay for.
func TestAtMidnightAsManyGoAsTheBudgetCanPayFor(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		budget  float64
		want    int
	}{
		"each for its timeout":                        {10 * time.Minute, 1, 10},
		"of long ones, each for an hour":              {6 * time.Hour, 6, 10},
		"one at least, though it may cost more":       {6 * time.Hour, 0.05, 1},
		"one more, if the last may cost more than is": {10 * time.Minute, 1.05, 11},
	} {
		t.Run(name, func(t *testing.T) {
			how := rules{Fleet: places.Limit{Budget: tt.budget}}
			var waiting []places.Waiting
			for n := range int64(100) {
				a := dear(n+1, tt.timeout)
				a.Runner = ""
				waiting = append(waiting, places.Waiting{Ask: a, QueuedAt: start})
			}
			promised, served := places.Record{}.Serve(waiting, how, start)
			if len(served) != tt.want {
				t.Errorf("%d are served, want %d", len(served), tt.want)
			}
			if _, served = promised.Serve(waiting, how, start.Add(time.Second)); len(served) != 0 {
				t.Errorf("%d more are served a second later", len(served))
			}
			r, went := places.Record{}, 0
			for n := range int64(100) {
				var o *places.Obstacle
				if r, o = r.Take(dear(n+1, tt.timeout), how, start); o == nil {
					went++
				}
			}
			if went != tt.want {
				t.Errorf("%d go that come at once, want %d", went, tt.want)
			}
		})
	}
}

func TestWhatASandboxDoesNotUseOfItsPartOfTheBudgetIsForOthers(t *testing.T) {
	how := rules{Fleet: places.Limit{Budget: 0.6}}
	r, _ := places.Record{}.Take(dear(1, time.Hour), how, start)
	later := start.Add(5 * time.Minute)
	_, o := r.Take(dear(2, time.Hour), how, later)
	if o == nil || o.Kind != places.Spent || o.Text != "what runs of the whole fleet may cost what is left of its budget of today: daily_budget_usd is 0.6" {
		t.Errorf("while it runs another waits for %v", o)
	}
	if cost := r.Cost(places.All, later); math.Abs(cost-0.05) > 0.0001 {
		t.Errorf("the day has cost %v, want what was used", cost)
	}
	r, _ = r.Free("1.1", later)
	if _, o = r.Take(dear(2, time.Hour), how, later); o != nil && o.Kind == places.Spent {
		t.Errorf("once it has ended another waits for %v", o)
	}
}

func TestOfASandboxThatRunsOverMidnightEachDayPaysItsPart(t *testing.T) {
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	r, _ := places.Record{}.Take(dear(1, time.Hour), rules{}, midnight.Add(-10*time.Minute))
	for name, tt := range map[string]struct {
		at   time.Time
		want float64
	}{
		"the old day, until it ends":           {midnight.Add(-5 * time.Minute), 0.1},
		"the new day, what is left":            {midnight.Add(5 * time.Minute), 0.5},
		"what it uses, once that is more":      {midnight.Add(80 * time.Minute), 0.8},
		"the day after, for which none is due": {midnight.Add(25 * time.Hour), 0.6},
	} {
		t.Run(name, func(t *testing.T) {
			if due := r.Due(places.All, tt.at); math.Abs(due-tt.want) > 0.0001 {
				t.Errorf("counted with %v, want %v", due, tt.want)
			}
		})
	}
}

// However many wait, and whatever they cost: beyond its budget a day costs what one of them was let go for, at most, as long as none
// runs for longer than an hour.
func TestABudgetIsExceededByOneSandboxAtMost(t *testing.T) {
	how := rules{Pools: map[string]places.Limit{"default": {Budget: 2}}}
	r, ends, next := places.Record{}, map[time.Time][]string{}, int64(1)
	for now := start; now.Before(start.Add(6 * time.Hour)); now = now.Add(time.Minute) {
		for _, runner := range ends[now] {
			r, _ = r.Free(runner, now)
		}
		var waiting []places.Waiting
		for n := range int64(20) {
			a := dear(next+n, time.Hour)
			a.Runner = ""
			waiting = append(waiting, places.Waiting{Ask: a, QueuedAt: start})
		}
		var served []places.Waiting
		r, served = r.Serve(waiting, how, now)
		for _, w := range served {
			a := dear(w.Job, time.Hour)
			r, _ = r.Take(a, how, now)
			end := now.Add(time.Duration(1+w.Job%60) * time.Minute)
			ends[end] = append(ends[end], a.Runner)
			next = max(next, w.Job+1)
		}
		if cost := r.Cost(places.PoolScope("default"), now); cost > 2+0.6 {
			t.Fatalf("after %v the day has cost %v", now.Sub(start), cost)
		}
	}
	if cost := r.Cost(places.PoolScope("default"), start.Add(6*time.Hour)); cost < 2 {
		t.Errorf("the day has cost %v, though jobs waited: want all of its budget used", cost)
	}
	if len(r.Held) != 0 {
		t.Error(fmt.Sprint("still there: ", r.Held))
	}
}
