package places_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

// gpu is ask for a GPU by label.
func gpu(repo string, job int64) places.Ask {
	a := ask(repo, job)
	a.Kind = "default gpu:A100"
	return a
}

// broke is the record after five runners of the kind did not start.
func broke(kind string) places.Record {
	r := places.Record{}
	for n := range 5 {
		r = r.Failed(kind, fmt.Sprintf("%d.1", n), "boom", false, start)
	}
	return r
}

func TestWhatOneKindOfAPoolLacksTheOthersDoNotWaitFor(t *testing.T) {
	own, other := ask("web", 1), gpu("web", 2)
	for name, tt := range map[string]struct {
		record      places.Record
		waits, goes places.Ask
		text        string
	}{
		"room for a GPU":            {places.Record{}.Exhausted("default gpu:A100", start), other, own, "Modal has no room for more sandboxes of pool default with gpu:A100 now"},
		"room for the pool's own":   {places.Record{}.Exhausted("default", start), own, other, "Modal has no room for more sandboxes of pool default now"},
		"a start with a GPU":        {broke("default gpu:A100"), other, own, "launches of pool default with gpu:A100 do not start, the last one: boom"},
		"a start of the pool's own": {broke("default"), own, other, "launches of pool default do not start, the last one: boom"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, o := tt.record.Take(tt.waits, rules{}, start); o == nil || o.Text != tt.text {
				t.Errorf("%v, want %s", o, tt.text)
			}
			if _, o := tt.record.Take(tt.goes, rules{}, start); o != nil {
				t.Errorf("the other kind waits for: %v", o)
			}
			waiting := []places.Waiting{{Ask: tt.waits, QueuedAt: start}, {Ask: tt.goes, QueuedAt: start.Add(time.Second)}}
			if _, served := tt.record.Serve(waiting, rules{}, start); len(served) != 1 || served[0].Job != tt.goes.Job {
				t.Errorf("served %v, want the other kind's", served)
			}
		})
	}
}

func TestAJobWithoutAGPUWaitsNoLongerWhileModalHasNone(t *testing.T) {
	play := func(gpus int) (launched int) {
		r, waiting := places.Record{}, []places.Waiting{}
		for n := range gpus {
			waiting = append(waiting, places.Waiting{Ask: gpu("ml", int64(n+1)), QueuedAt: start})
		}
		next := int64(1000)
		for at := start; at.Before(start.Add(time.Hour)); at = at.Add(time.Second) {
			if at.Sub(start)%(5*time.Second) == 0 {
				waiting = append(waiting, places.Waiting{Ask: ask("web", next), QueuedAt: at})
				next++
			}
			var served []places.Waiting
			r, served = r.Serve(waiting, rules{}, at)
			for _, w := range served {
				a := w.Ask
				a.Runner = fmt.Sprintf("%d.1", a.Job)
				r, _ = r.Take(a, rules{}, at)
				if a.Kind != "" {
					r = r.Exhausted(a.Kind, at)
				} else {
					r = r.Created("default")
					launched++
					waiting = slices.DeleteFunc(waiting, func(x places.Waiting) bool { return x.Job == a.Job })
				}
				r, _ = r.Free(a.Runner, at)
			}
		}
		return launched
	}
	if without, with := play(0), play(20); with != without {
		t.Errorf("%d jobs were launched while 20 waited for GPUs, and %d while none did", with, without)
	}
}

func TestTheRateOfAPoolIsThatOfAllItsKindsTogether(t *testing.T) {
	how := rules{Rates: map[string]float64{"default": 2}}
	r, launched := places.Record{}, 0
	for n := range int64(20) {
		a := ask("web", n)
		if n%2 == 0 {
			a = gpu("web", n)
		}
		next, o := r.Take(a, how, start.Add(time.Duration(n)*time.Millisecond))
		if r = next; o == nil {
			launched++
		}
	}
	if launched != 3 { // A second's worth at once, and one.
		t.Errorf("%d were launched at once, want 3", launched)
	}
	many, launched := places.Record{}, 0
	for n := range int64(20) {
		a := gpu("web", n)
		a.Rate = 5
		next, o := many.Take(a, rules{}, start)
		if many = next; o == nil {
			launched++
		}
	}
	if _, o := many.Take(ask("web", 100), rules{}, start); launched != 6 || o != nil {
		t.Errorf("%d with a GPU were launched at once, want 6; then one without waits for %v", launched, o)
	}
}

func TestErrorsOfModalOpenABreakerForAMomentAndTheFirstSandboxClosesIt(t *testing.T) {
	errored := func(r places.Record, n int, at time.Time) places.Record {
		return r.Errored("default", fmt.Sprintf("%d.1", n), "unavailable", at)
	}
	r := places.Record{}
	for n := range 4 {
		r = errored(errored(r, n, start), n, start) // It may be told often.
	}
	if _, o := r.Created("default").Errored("default", "9.1", "unavailable", start).Take(ask("web", 10), rules{}, start); o != nil {
		t.Fatalf("five errors that were not in a row: %v", o)
	}
	if r = errored(r, 4, start); r.Pools["default"].Breaker(start) != places.Open {
		t.Fatal("five errors in a row did not open the breaker")
	}
	held, _ := places.Record{}.Take(ask("web", 0), rules{}, start)
	r.Held = held.Held
	at := start
	for range 10 { // Each trial is in vain, and the pause does not grow.
		if _, o := r.Proceed(ask("web", 0), rules{}, at.Add(29*time.Second)); o == nil || o.Kind != places.Broken {
			t.Fatalf("one that has its place goes on before: %v", o)
		}
		at = at.Add(30 * time.Second)
		var o *places.Obstacle
		if r, o = r.Proceed(ask("web", 0), rules{}, at); o != nil {
			t.Fatalf("after half a minute none is tried: %v", o)
		}
		if _, o = r.Take(ask("web", 7), rules{}, at); o == nil {
			t.Fatal("two are tried at a time")
		}
		r = errored(r, 0, at)
	}
	if r = r.Created("default"); r.Pools["default"].Breaker(at) != places.Closed {
		t.Error("Modal has made one, and the breaker is not closed")
	}
	refused := places.Record{}
	if refused = refused.Failed("default", "1.1", "no", true, start).Created("default"); refused.Pools["default"].Breaker(start) == places.Closed {
		t.Error("that one was created closed the breaker of a pool whose runners do not start")
	}
}

func TestATrialThatIsRefusedAgainOpensTheBreakerAgain(t *testing.T) {
	r := places.Record{}.Failed("default", "1.1", "no such cloud", true, start)
	at := start.Add(time.Minute)
	r, o := r.Take(ask("web", 1), rules{}, at)
	if o != nil {
		t.Fatal(o)
	}
	r = r.Failed("default", "1.1", "no such cloud", true, at)
	r, _ = r.Free("1.1", at)
	if _, o := r.Take(ask("web", 2), rules{}, at.Add(59*time.Second)); o == nil || !o.Until.Equal(at.Add(time.Minute)) {
		t.Errorf("obstacle %v, want the breaker until a minute later", o)
	}
}
