package places_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type rules = placestest.Rules

func upTo(n int) places.Limit { return places.Limit{Max: n} }
func ask(repo string, job int64) places.Ask {
	return places.Ask{Runner: fmt.Sprintf("%d.1", job), Job: job, Pool: "default", Owner: "acme", Repo: repo}
}

// taken is the record after so many launches of the repository took their place, of jobs from the first on.
func taken(t *testing.T, r places.Record, how rules, repo string, first int64, n int) places.Record {
	t.Helper()
	for i := range n {
		var o *places.Obstacle
		if r, o = r.Take(ask(repo, first+int64(i)), how, start); o != nil {
			t.Fatalf("take %d of %s: %v", i, repo, o)
		}
	}
	return r
}

func TestALaunchWaitsFor(t *testing.T) {
	broken := places.Record{}
	for n := range 5 {
		broken = broken.Failed("default", fmt.Sprintf("%d.1", n), "exec format error", false, start)
	}
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	gpu := ask("web", 7)
	gpu.Pool = "gpu"
	tests := map[string]struct {
		record places.Record
		rules  rules
		ask    places.Ask
		at     time.Time
		// want is the obstacle's kind, scope and a part of its text; empty if there is none.
		want, until string
	}{
		"nothing, where nothing is limited": {ask: ask("web", 7)},
		"room in the pool": {
			record: taken(t, places.Record{}, rules{}, "web", 1, 2), rules: rules{Pools: map[string]places.Limit{"default": upTo(2)}}, ask: ask("web", 7),
			want: "limit pool/default max_sandboxes is 2",
		},
		"nothing, where another pool is full": {
			record: taken(t, places.Record{}, rules{}, "web", 1, 2), rules: rules{Pools: map[string]places.Limit{"default": upTo(2)}}, ask: gpu,
		},
		"room in the fleet": {
			record: taken(t, places.Record{}, rules{}, "web", 1, 2), rules: rules{Fleet: upTo(2)}, ask: gpu,
			want: "limit all the whole fleet has as many sandboxes as it may: max_sandboxes is 2",
		},
		"room of its owner": {
			record: taken(t, places.Record{}, rules{}, "web", 1, 1), rules: rules{Owners: map[string]places.Limit{"acme": upTo(1)}}, ask: ask("api", 7),
			want: "limit owner/acme owner acme",
		},
		"room of its repository": {
			record: taken(t, places.Record{}, rules{}, "web", 1, 1), rules: rules{Repos: map[string]places.Share{"acme/web": {Limit: upTo(1)}}}, ask: ask("web", 7),
			want: "limit repo/acme/web repository acme/web",
		},
		"nothing, where another repository is at its limit": {
			record: taken(t, places.Record{}, rules{}, "web", 1, 1), rules: rules{Repos: map[string]places.Share{"acme/web": {Limit: upTo(1)}}}, ask: ask("api", 7),
		},
		"nothing, where it has its place already": {
			record: taken(t, places.Record{}, rules{}, "web", 1, 2), rules: rules{Fleet: upTo(2)}, ask: ask("web", 1),
		},
		"an operator, who paused all":            {record: places.Record{}.Pause(places.All, true, start), ask: ask("web", 7), want: "paused all the whole fleet is paused by an operator since 2026-03-01T12:00:00Z"},
		"an operator, who paused its pool":       {record: places.Record{}.Pause(places.PoolScope("default"), true, start), ask: ask("web", 7), want: "paused pool/default"},
		"an operator, who paused its repository": {record: places.Record{}.Pause(places.RepoScope("ACME", "Web"), true, start), ask: ask("web", 7), want: "paused repo/acme/web"},
		"nothing, once it is resumed":            {record: places.Record{}.Pause(places.All, true, start).Pause(places.All, false, start), ask: ask("web", 7)},
		"the next day, when the budget is spent": {
			record: spent(t, 3), rules: rules{Pools: map[string]places.Limit{"default": {Budget: 3}}}, ask: ask("web", 7),
			want: "budget pool/default daily_budget_usd is 3", until: midnight.Format(time.RFC3339),
		},
		"nothing, on the next day":                           {record: spent(t, 3), rules: rules{Fleet: places.Limit{Budget: 3}}, ask: ask("web", 7), at: midnight},
		"a pool that starts":                                 {record: broken, ask: ask("web", 7), want: "breaker kind/default the last one: exec format error", until: start.Add(30 * time.Second).Format(time.RFC3339)},
		"nothing, where another pool's launches don't start": {record: broken, ask: gpu},
		"Modal's room":                                       {record: places.Record{}.Exhausted("default", start), ask: ask("web", 7), want: "capacity kind/default Modal has no room", until: start.Add(2 * time.Second).Format(time.RFC3339)},
		"nothing, where Modal has no room for another pool":  {record: places.Record{}.Exhausted("default", start), ask: gpu},
		"the pool's pace": {
			record: taken(t, places.Record{}, rules{Rates: map[string]float64{"default": 2}}, "web", 1, 3), rules: rules{Rates: map[string]float64{"default": 2}}, ask: ask("web", 7),
			want: "capacity rate/default may create no faster",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at := tt.at
			if at.IsZero() {
				at = start
			}
			after, o := tt.record.Take(tt.ask, tt.rules, at)
			switch _, held := after.Held[tt.ask.Runner]; {
			case tt.want == "" && (o != nil || !held):
				t.Fatalf("obstacle = %v, held = %v; want a place", o, held)
			case tt.want == "":
				return
			case o == nil || held:
				t.Fatalf("obstacle = %v, held = %v; want %q", o, held, tt.want)
			}
			for _, part := range []string{string(o.Kind) + " " + string(o.Scope), strings.SplitN(tt.want, " ", 3)[0]} {
				if got := string(o.Kind) + " " + string(o.Scope) + " " + o.Text; !strings.Contains(got, part) {
					t.Errorf("obstacle = %q, want a part %q", got, part)
				}
			}
			if parts := strings.SplitN(tt.want, " ", 3); len(parts) == 3 && !strings.Contains(o.Text, parts[2]) || string(o.Scope) != parts[1] {
				t.Errorf("obstacle = %s %q, want %q", o.Scope, o.Text, tt.want)
			}
			if tt.until != "" && o.Until.Format(time.RFC3339) != tt.until {
				t.Errorf("until = %v, want %s", o.Until, tt.until)
			}
		})
	}
}

// spent is the record after a sandbox has cost so many dollars.
func spent(t *testing.T, dollars float64) places.Record {
	t.Helper()
	a := ask("web", 1)
	a.Price = dollars / 60
	r, o := places.Record{}.Take(a, rules{}, start.Add(-time.Minute))
	if o != nil {
		t.Fatal(o)
	}
	r, cost := r.Free(a.Runner, start)
	if cost < dollars*0.999 || cost > dollars*1.001 {
		t.Fatalf("cost = %v, want %v", cost, dollars)
	}
	if _, again := r.Free(a.Runner, start); again != 0 {
		t.Fatalf("given back twice it cost %v more", again)
	}
	return r
}

func TestARunningSandboxCountsAgainstTheBudget(t *testing.T) {
	a := ask("web", 1)
	a.Price = 1
	r, _ := places.Record{}.Take(a, rules{}, start)
	how := rules{Repos: map[string]places.Share{"acme/web": {Limit: places.Limit{Budget: 60}}}}
	if _, o := r.Take(ask("web", 2), how, start.Add(59*time.Second)); o != nil {
		t.Errorf("a second before the budget is spent: %v", o)
	}
	if _, o := r.Take(ask("web", 2), how, start.Add(time.Minute)); o == nil || o.Kind != places.Spent {
		t.Errorf("once it is spent: %v, want %s", o, places.Spent)
	}
}

func TestWhoComesLaterWaitsBehindThoseWhoWait(t *testing.T) {
	how := rules{Pools: map[string]places.Limit{"default": upTo(1)}}
	r := taken(t, places.Record{}, how, "web", 1, 1)
	r, o := r.Take(ask("web", 2), how, start)
	if o == nil {
		t.Fatal("the second took a place that is not there")
	}
	r, _ = r.Free("1.1", start)
	if _, o := r.Take(ask("web", 3), how, start); o == nil || o.Kind != places.Line {
		t.Errorf("the third, before the line was looked at: %v, want %s", o, places.Line)
	}
	if _, o := r.Take(ask("web", 3), how, start.Add(2*time.Minute)); o != nil {
		t.Errorf("the third, while nobody looks at the line: %v", o)
	}
	r, served := r.Serve([]places.Waiting{{Ask: ask("web", 2), QueuedAt: start}}, how, start)
	if len(served) != 1 || served[0].Job != 2 {
		t.Fatalf("served = %v, want job 2", served)
	}
	if _, o := r.Take(ask("web", 3), how, start); o == nil || o.Kind != places.Full {
		t.Errorf("the third, once the place is promised: %v, want %s", o, places.Full)
	}
	r, o = r.Take(ask("web", 2), how, start)
	if o != nil || len(r.Promised) != 0 {
		t.Errorf("the second, to whom it is promised: %v, promised %v", o, r.Promised)
	}
}

func TestAPromiseThatNobodyTakesUpIsGivenToTheNext(t *testing.T) {
	how := rules{Fleet: upTo(1)}
	gone, waits := places.Waiting{Ask: ask("web", 1), QueuedAt: start}, places.Waiting{Ask: ask("web", 2), QueuedAt: start.Add(time.Second)}
	r, served := places.Record{}.Serve([]places.Waiting{gone, waits}, how, start)
	if len(served) != 1 || served[0].Job != 1 {
		t.Fatalf("served = %v, want job 1", served)
	}
	r, served = r.Serve([]places.Waiting{waits}, how, start.Add(time.Second))
	if len(served) != 0 {
		t.Fatalf("served = %v while the first may be on its way", served)
	}
	if _, served = r.Serve([]places.Waiting{waits}, how, start.Add(20*time.Second)); len(served) != 1 || served[0].Job != 2 {
		t.Fatalf("served = %v once the first no longer waits, want job 2", served)
	}
	if _, served = r.Serve([]places.Waiting{gone, waits}, how, start.Add(2*time.Minute)); len(served) != 1 || served[0].Job != 1 {
		t.Fatalf("served = %v once the promise is old, want job 1 again", served)
	}
}

// inTurn is in which order repositories get the only place there is, each for one job after the other.
func inTurn(t *testing.T, how rules, waiting []places.Waiting) string {
	t.Helper()
	how.Fleet = upTo(1)
	var order []string
	r := places.Record{}
	for len(waiting) > 0 {
		var served []places.Waiting
		if r, served = r.Serve(waiting, how, start); len(served) != 1 {
			t.Fatalf("served %d, want 1", len(served))
		}
		a := served[0].Ask
		a.Runner = fmt.Sprintf("%d.1", a.Job)
		r, _ = r.Take(a, how, start)
		r, _ = r.Free(a.Runner, start)
		order = append(order, fmt.Sprintf("%s%d", a.Repo, a.Job))
		for n, w := range waiting {
			if w.Job == a.Job {
				waiting = append(waiting[:n:n], waiting[n+1:]...)
				break
			}
		}
	}
	return strings.Join(order, " ")
}

func line(jobs ...string) (waiting []places.Waiting) {
	for n, repo := range jobs {
		a := ask(repo, int64(n+1))
		a.Runner = "" // It is given with the place.
		waiting = append(waiting, places.Waiting{Ask: a, QueuedAt: start.Add(time.Duration(n) * time.Second)})
	}
	return waiting
}

func TestWhoseTurnItIs(t *testing.T) {
	tests := map[string]struct {
		rules   rules
		waiting []places.Waiting
		want    string
	}{
		"the oldest job of a repository":                     {waiting: line("a", "a", "a"), want: "a1 a2 a3"},
		"one of each repository in turn":                     {waiting: line("a", "a", "a", "b", "b"), want: "a1 b4 a2 b5 a3"},
		"a single job after one of each other":               {waiting: line("a", "a", "b", "b", "c"), want: "a1 b3 c5 a2 b4"},
		"whoever has the higher priority, though it is last": {rules: rules{Repos: map[string]places.Share{"acme/c": {Priority: 1}}}, waiting: line("a", "a", "c", "c"), want: "c3 c4 a1 a2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := inTurn(t, tt.rules, tt.waiting); got != tt.want {
				t.Errorf("order = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPlacesAreSharedByWeight(t *testing.T) {
	how := rules{Fleet: upTo(12), Repos: map[string]places.Share{"acme/b": {Weight: 2}, "acme/c": {Weight: 3}}}
	waiting := line(strings.Fields(strings.Repeat("a ", 50) + strings.Repeat("b ", 50) + strings.Repeat("c ", 50))...)
	_, served := places.Record{}.Serve(waiting, how, start)
	got := map[string]int{}
	for _, w := range served {
		got[w.Repo]++
	}
	if got["a"] != 2 || got["b"] != 4 || got["c"] != 6 {
		t.Errorf("places = %v, want 2, 4 and 6", got)
	}
}

func TestModalsLackOfRoomSlowsAPoolAndPassesAgain(t *testing.T) {
	r, at, made := places.Record{}, start, 0
	for n := range 40 { // Modal refuses for a while: each try is answered at once.
		if next, o := r.Take(ask("web", int64(n)), rules{}, at); o == nil {
			r, made = next.Exhausted("default", at), made+1
			r, _ = r.Free(fmt.Sprintf("%d.1", n), at)
		}
		at = at.Add(15 * time.Second)
	}
	if made < 5 || made > 20 {
		t.Errorf("%d tries in ten minutes, want one a minute or so", made)
	}
	at = at.Add(time.Minute)
	took, began := 0, at
	for n := int64(1000); took < 50; at = at.Add(100 * time.Millisecond) {
		if next, o := r.Take(ask("web", n), rules{}, at); o == nil {
			r, took, n = next.Created("default"), took+1, n+1
		}
	}
	if took := at.Sub(began); took > 90*time.Second { // The first try may be a minute away.
		t.Errorf("50 sandboxes took %v once there was room again", took)
	}
	if rate := r.Pools["default"].Rate; rate != 0 {
		t.Errorf("rate = %v, want none any more", rate)
	}
}

func TestModalsLackOfRoomIsHeardThoughAClockWasAheadWhenItWasLastTold(t *testing.T) {
	r := places.Record{}.Exhausted("default", start.Add(time.Hour)).Exhausted("default", start)
	if rate := r.Pools["default"].Rate; rate != 0.25 {
		t.Errorf("rate = %v, want half of what is tried first", rate)
	}
	if next := r.Pools["default"].Next; !next.Equal(start.Add(4 * time.Second)) {
		t.Errorf("the next may come at %v", next)
	}
}

func TestABreaker(t *testing.T) {
	fail := func(r places.Record, at time.Time, runners ...int) places.Record {
		for _, n := range runners {
			r = r.Failed("default", fmt.Sprintf("%d.1", n), "bad image", false, at)
		}
		return r
	}
	open := fail(places.Record{}, start, 1, 2, 3, 4, 5)
	later := start.Add(time.Minute)
	trial, o := open.Take(ask("web", 9), rules{}, later)
	if o != nil {
		t.Fatalf("the trial: %v", o)
	}
	blocked := func(t *testing.T, r places.Record, at time.Time, want bool) {
		t.Helper()
		if _, o := r.Take(ask("web", 10), rules{}, at); (o != nil) != want {
			t.Errorf("obstacle = %v, want one: %v", o, want)
		}
	}
	t.Run("stays closed while fewer fail", func(t *testing.T) { blocked(t, fail(places.Record{}, start, 1, 2, 3, 4), start, false) })
	t.Run("counts a runner once", func(t *testing.T) { blocked(t, fail(places.Record{}, start, 1, 1, 1, 1, 1), start, false) })
	t.Run("opens at the fifth", func(t *testing.T) { blocked(t, open, start, true) })
	t.Run("opens at once for what no other launch can mend", func(t *testing.T) {
		blocked(t, places.Record{}.Failed("default", "1.1", "no such GPU", true, start), start, true)
	})
	t.Run("opens for a while, and never for longer, while what all need is not there", func(t *testing.T) {
		r := places.Record{}
		for at := start; at.Before(later); at = at.Add(31 * time.Second) {
			var o *places.Obstacle
			if r, o = r.Take(ask("web", 1), rules{}, at); o != nil {
				t.Fatalf("the trial: %v", o)
			}
			r = r.Unready("default", "no image", at)
			r, _ = r.Free("1.1", at)
			blocked(t, r, at, true)
			blocked(t, r, at.Add(30*time.Second), false)
		}
	})
	t.Run("lets one try", func(t *testing.T) { blocked(t, trial, later, true) })
	t.Run("closes when that one starts", func(t *testing.T) { blocked(t, trial.Started("default"), later, false) })
	t.Run("opens for twice as long when that one fails", func(t *testing.T) {
		again := fail(trial, later, 9)
		blocked(t, again, later.Add(59*time.Second), true)
		blocked(t, again, later.Add(time.Minute), false)
	})
	t.Run("lets another try when that one is not needed any more", func(t *testing.T) {
		free, _ := trial.Free("9.1", later)
		blocked(t, free, later, true)
		blocked(t, free, later.Add(time.Minute), false)
	})
	t.Run("tries one job of the line", func(t *testing.T) {
		r, served := open.Serve(line("a", "b", "c"), rules{}, later)
		if len(served) != 1 {
			t.Fatalf("served %d, want 1", len(served))
		}
		a := served[0].Ask
		a.Runner = "1.2"
		if r, o = r.Take(a, rules{}, later); o != nil {
			t.Fatalf("the one on trial: %v", o)
		}
		blocked(t, r.Started("default"), later, true) // Others wait in line.
		if _, served = r.Started("default").Serve(line("b", "c")[:2], rules{}, later); len(served) != 2 {
			t.Errorf("served %d after it started, want the rest", len(served))
		}
	})
}

// TestNoLimitIsEverExceeded plays launches, ends and looks at the line in any order.
func TestNoLimitIsEverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		repos := []string{"a", "b", "c"}
		how := rules{
			Fleet: upTo(rapid.IntRange(1, 8).Draw(t, "all")), Pools: map[string]places.Limit{"default": upTo(rapid.IntRange(1, 5).Draw(t, "default"))},
			Repos: map[string]places.Share{"acme/a": {Limit: upTo(2)}},
		}
		r, at := places.Record{}, start
		var waiting []places.Waiting
		var held []string
		pools := []string{"default", "gpu"}
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(0, 20000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				a := ask(rapid.SampledFrom(repos).Draw(t, "repo"), int64(n+1))
				a.Pool = rapid.SampledFrom(pools).Draw(t, "pool")
				waiting = append(waiting, places.Waiting{Ask: a, QueuedAt: at})
			case 1:
				if len(waiting) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				var o *places.Obstacle
				if r, o = r.Take(waiting[i].Ask, how, at); o == nil {
					held = append(held, waiting[i].Runner)
					waiting = append(waiting[:i:i], waiting[i+1:]...)
				} else if o.Text == "" {
					t.Fatal("an obstacle without a reason")
				}
			case 2:
				if len(held) > 0 {
					r, _ = r.Free(held[0], at)
					held = held[1:]
				}
			case 3:
				r, _ = r.Serve(waiting, how, at)
			}
			count := map[places.Scope]int{}
			for _, p := range r.Held {
				count[places.All]++
				count[places.PoolScope(p.Pool)]++
				count[places.RepoScope(p.Owner, p.Repo)]++
			}
			if count[places.All] > how.Fleet.Max || count[places.PoolScope("default")] > how.Pools["default"].Max || count[places.RepoScope("acme", "a")] > 2 {
				t.Fatalf("too many: %v", count)
			}
			if len(r.Held) != len(held) {
				t.Fatalf("%d held on record, %d in fact", len(r.Held), len(held))
			}
		}
	})
}

// Worker B's clock is ahead of worker C's: what was promised is over by the one and not by the other.
func TestWhatWasPromisedIsNotGivenTwiceWhateverTheClocks(t *testing.T) {
	how := rules{Fleet: upTo(1)}
	r, _ := places.Record{}.Serve([]places.Waiting{{Ask: ask("web", 1), QueuedAt: start}}, how, start)
	r, o := r.Take(ask("api", 2), how, start.Add(2*time.Minute))
	if o != nil {
		t.Fatalf("a promise that is over is still in the way: %v", o)
	}
	if r, o = r.Take(ask("web", 1), how, start.Add(119*time.Second)); o == nil {
		t.Errorf("%d places are held, want 1", len(r.Held))
	}
}

func TestAPromiseIsOfThePoolThatItWasMadeFor(t *testing.T) {
	how := rules{Pools: map[string]places.Limit{"forks": upTo(1)}}
	other, moved := ask("web", 9), ask("web", 1)
	other.Pool, moved.Pool = "forks", "forks"
	r, _ := places.Record{}.Take(other, how, start)
	r, _ = r.Serve([]places.Waiting{{Ask: ask("web", 1), QueuedAt: start}}, how, start)
	if r, o := r.Take(moved, how, start.Add(time.Second)); o == nil {
		t.Errorf("the pool has %d places, want 1", len(r.Held))
	}
}

func TestADayCostsWhatWasUsedSinceMidnight(t *testing.T) {
	a := ask("web", 1)
	a.Price = 1.0 / 3600
	r, _ := places.Record{}.Take(a, rules{}, time.Date(2026, 3, 1, 14, 0, 0, 0, time.UTC))
	at := time.Date(2026, 3, 2, 0, 30, 0, 0, time.UTC)
	if cost := r.Cost(places.All, at); math.Abs(cost-0.5) > 0.001 {
		t.Errorf("half an hour after midnight the day has cost %v, want 0.5", cost)
	}
	if r, _ = r.Free(a.Runner, at); math.Abs(r.Cost(places.All, at)-0.5) > 0.001 {
		t.Errorf("once it has ended the day has cost %v, want 0.5", r.Cost(places.All, at))
	}
}
