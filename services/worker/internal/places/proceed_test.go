package places_test

import (
	"fmt"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

// What keeps a launch that has its place, or the promise of one, from its sandbox is looked at again each time.
func TestWhoHasAPlaceWaitsAllTheSameFor(t *testing.T) {
	broken := func(r places.Record) places.Record {
		for n := range 5 {
			r = r.Failed("default", fmt.Sprintf("9%d.1", n), "exec format error", false, start)
		}
		return r
	}
	pause := func(s places.Scope) func(places.Record) places.Record {
		return func(r places.Record) places.Record { return r.Pause(s, true, start) }
	}
	dollar := rules{Fleet: places.Limit{Budget: 1}}
	for name, tt := range map[string]struct {
		happens func(places.Record) places.Record
		rules   rules
		after   time.Duration // it took its place
		want    places.Kind   // empty for nothing
	}{
		"an operator, who paused all":                   {happens: pause(places.All), want: places.Paused},
		"an operator, who paused its pool":              {happens: pause(places.PoolScope("default")), want: places.Paused},
		"an operator, who paused its owner":             {happens: pause(places.OwnerScope("Acme")), want: places.Paused},
		"an operator, who paused its repository":        {happens: pause(places.RepoScope("acme", "web")), want: places.Paused},
		"nothing, where another pool is paused":         {happens: pause(places.PoolScope("gpu"))},
		"nothing, once it is resumed":                   {happens: func(r places.Record) places.Record { return pause(places.All)(r).Pause(places.All, false, start) }},
		"its pool, whose launches do not start":         {happens: broken, want: places.Broken},
		"nothing, where another pool's don't":           {happens: func(r places.Record) places.Record { return r.Failed("gpu", "9.1", "no GPU", true, start) }},
		"the next day, when the budget is spent":        {happens: func(r places.Record) places.Record { return merged(r, spent(t, 1)) }, rules: dollar, want: places.Spent},
		"nothing, while the budget is not":              {rules: dollar},
		"nothing, though the limit is reached":          {rules: rules{Fleet: upTo(1)}},
		"nothing, though its pool may create no faster": {happens: func(r places.Record) places.Record { return r.Exhausted("default", start) }},
		"nothing, once its pool is to be tried again":   {happens: broken, after: 31 * time.Second},
	} {
		a := ask("web", 1)
		for how, r := range map[string]places.Record{"held": taken(t, places.Record{}, rules{}, "web", 1, 1), "promised": promised(t, a)} {
			t.Run(name+", "+how, func(t *testing.T) {
				if tt.happens != nil {
					r = tt.happens(r)
				}
				act := places.Record.Proceed
				if how == "promised" {
					act = places.Record.Take
				}
				after, o := act(r, a, tt.rules, start.Add(tt.after))
				switch {
				case tt.want == "" && o != nil, tt.want != "" && (o == nil || o.Kind != tt.want):
					t.Fatalf("waits for %v, want %q", o, tt.want)
				case tt.want != "" && len(after.Promised) != 0:
					t.Error("the promise stays in the way of others")
				case tt.want != "" && after.Short[o.Scope].IsZero():
					t.Errorf("nobody looks for when %s is over: %v", o.Scope, after.Short)
				}
				if _, held := after.Held[a.Runner]; held != (how == "held" || tt.want == "") {
					t.Errorf("held: %v", held)
				}
			})
		}
	}
}

// merged is r with what b has spent.
func merged(r, b places.Record) places.Record {
	r.Day, r.Spent = b.Day, b.Spent
	return r
}

// promised is the record after a place was promised to the job.
func promised(t *testing.T, a places.Ask) places.Record {
	t.Helper()
	a.Runner = ""
	r, served := places.Record{}.Serve([]places.Waiting{{Ask: a, QueuedAt: start}}, rules{}, start)
	if len(served) != 1 {
		t.Fatalf("served %v", served)
	}
	return r
}

func TestOfThoseWhoHaveAPlaceInABrokenPoolOneAfterTheOtherIsTried(t *testing.T) {
	r := taken(t, places.Record{}, rules{}, "web", 1, 2)
	for n := range 5 {
		r = r.Failed("default", fmt.Sprintf("9%d.1", n), "exec format error", false, start)
	}
	later := start.Add(time.Minute)
	r, first := r.Proceed(ask("web", 1), rules{}, later)
	_, again := r.Proceed(ask("web", 1), rules{}, later.Add(time.Second))
	_, second := r.Proceed(ask("web", 2), rules{}, later.Add(time.Second))
	if first != nil || again != nil || second == nil || second.Kind != places.Broken {
		t.Errorf("the first waits for %v, tried again for %v; the second for %v, want it to wait for the trial", first, again, second)
	}
}

func TestAPlaceThatWasLostMeanwhileIsTakenAgain(t *testing.T) {
	how := rules{Fleet: upTo(1)}
	r, o := places.Record{}.Proceed(ask("web", 1), how, start)
	if _, held := r.Held["1.1"]; o != nil || !held {
		t.Fatalf("waits for %v, holds %v", o, r.Held)
	}
	if _, o = r.Proceed(ask("web", 2), how, start); o == nil || o.Kind != places.Full {
		t.Errorf("the second waits for %v, want %s", o, places.Full)
	}
}

func TestAPromiseThatIsPausedGoesToAnother(t *testing.T) {
	r := promised(t, ask("web", 1)).Pause(places.RepoScope("acme", "web"), true, start)
	both := []places.Waiting{{Ask: ask("web", 1), QueuedAt: start}, {Ask: ask("api", 2), QueuedAt: start}}
	if _, served := r.Serve(both, rules{Fleet: upTo(1)}, start.Add(time.Second)); len(served) != 1 || served[0].Job != 2 {
		t.Errorf("served %v, want job 2", served)
	}
}

func TestATrialLastsForAsLongAsARunnerMayTakeToStart(t *testing.T) {
	for name, tt := range map[string]struct {
		startLimit, during, over time.Duration
	}{
		"five minutes and one":        {6 * time.Minute, 7*time.Minute + 59*time.Second, 8 * time.Minute},
		"an hour and a minute":        {61 * time.Minute, 62*time.Minute + 59*time.Second, 63 * time.Minute},
		"nobody knows how long":       {0, 7*time.Minute + 59*time.Second, 8 * time.Minute},
		"less than the break of then": {90 * time.Second, 3*time.Minute + 29*time.Second, 3*time.Minute + 30*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			r := places.Record{}.Failed("default", "9.1", "no such image", true, start)
			trial, next := ask("web", 1), ask("web", 2)
			trial.StartLimit = tt.startLimit
			began := start.Add(time.Minute)
			r, o := r.Take(trial, rules{}, began)
			if o != nil {
				t.Fatal(o)
			}
			for _, at := range []time.Duration{0, tt.during} {
				if _, o := r.Take(next, rules{}, began.Add(at)); o == nil || o.Kind != places.Broken {
					t.Errorf("%v after the trial began another waits for %v, want %s", at, o, places.Broken)
				}
			}
			if _, o := r.Take(next, rules{}, began.Add(tt.over)); o != nil {
				t.Errorf("once nothing was heard of the trial another waits for %v", o)
			}
		})
	}
}
