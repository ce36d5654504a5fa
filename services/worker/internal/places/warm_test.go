package places_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

// spec is that of the pool as it is defined now.
const spec = "abc"

// wish is of the pool's warm sandboxes, each of which costs a cent a minute.
func wish(pool string, want int) places.Wish {
	return places.Wish{Want: want, Ask: places.Ask{Pool: pool, Sandbox: places.Sandbox{Price: cent, StartLimit: time.Minute, Timeout: time.Hour, Spec: spec}}}
}

// warm is an entry of the pool "default" that is so old; with an id, if it waits for a runner.
func warm(age time.Duration, id string, changes ...func(*places.Warm)) places.Warm {
	w := places.Warm{Place: places.Place{Ask: wish("default", 0).Ask, Since: start.Add(-age), SandboxID: id}}
	for _, change := range changes {
		change(&w)
	}
	return w
}

func ends(w *places.Warm)    { w.Ends = true }
func old(w *places.Warm)     { w.Spec = "before" }
func other(w *places.Warm)   { w.Pool = "gpu" }
func booting(w *places.Warm) { w.Made, w.SandboxID = w.SandboxID, "" }

func warmed(entries map[string]places.Warm) places.Record { return places.Record{Warm: entries} }

// fits is ask for just what a warm sandbox is.
func fits(repo string, job int64) places.Ask {
	a := ask(repo, job)
	a.Spec, a.Price = spec, cent
	return a
}

func TestARunnerClaimsAWarmSandbox(t *testing.T) {
	two := map[string]places.Warm{"a": warm(time.Minute, "sb-a"), "b": warm(2*time.Minute, "sb-b")}
	claims := fits("web", 1)
	for name, tt := range map[string]struct {
		warm map[string]places.Warm
		ask  places.Ask
		want string
	}{
		"the oldest":                            {two, claims, "sb-b"},
		"of two as old, the first by name":      {map[string]places.Warm{"b": warm(0, "sb-b"), "a": warm(0, "sb-a")}, claims, "sb-a"},
		"none, if there is none":                {nil, claims, ""},
		"none that is on its way":               {map[string]places.Warm{"a": warm(0, "")}, claims, ""},
		"none that was made and boots":          {map[string]places.Warm{"a": warm(0, "sb-a", booting)}, claims, ""},
		"none that is to end":                   {map[string]places.Warm{"a": warm(0, "sb-a", ends)}, claims, ""},
		"none that is what the pool was before": {map[string]places.Warm{"a": warm(0, "sb-a", old)}, claims, ""},
		"none of another pool":                  {map[string]places.Warm{"a": warm(0, "sb-a", other)}, claims, ""},
		"none, if its job chose something":      {two, ask("web", 1), ""},
		"none that is of no spec either":        {map[string]places.Warm{"a": warm(0, "sb-a", func(w *places.Warm) { w.Spec = "" })}, ask("web", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, o := warmed(tt.warm).Take(tt.ask, rules{}, start)
			if o != nil || r.WarmOf(tt.ask.Runner) != "" {
				t.Fatalf("with its place it has %q, waits for %v", r.WarmOf(tt.ask.Runner), o)
			}
			r = r.Claim(tt.ask, start)
			if got := r.WarmOf(tt.ask.Runner); got != tt.want {
				t.Errorf("it claimed %q, want %q", got, tt.want)
			}
			again := r.Claim(tt.ask, start)
			if !again.Same(r) {
				t.Errorf("it claimed another: %v", again.Held)
			}
			for name, w := range r.Warm {
				if tt.want != "" && w.SandboxID == tt.want {
					t.Errorf("%s is for others, too", name)
				}
			}
			next := fits("web", 2)
			r, _ = r.Take(next, rules{}, start)
			if r = r.Claim(next, start); r.WarmOf(next.Runner) != "" && r.WarmOf(next.Runner) == tt.want {
				t.Errorf("two runners have %s", tt.want)
			}
		})
	}
	if r := warmed(two).Claim(claims, start); !r.Same(warmed(two)) {
		t.Error("one without a place claimed one")
	}
}

func TestARunnerWhoseWarmSandboxIsOfNoUseGetsOneOfItsOwn(t *testing.T) {
	a := fits("web", 1)
	r, _ := warmed(map[string]places.Warm{"a": warm(0, "sb-a")}).Take(a, rules{}, start)
	r = r.Claim(a, start)
	discarded := r.Discard(a.Runner)
	if place, held := discarded.Held[a.Runner]; !held || place.SandboxID != "" || len(discarded.Warm) != 0 {
		t.Errorf("discarded: %+v", discarded)
	}
	if r.WarmOf(a.Runner) != "sb-a" {
		t.Error("the record was changed in place")
	}
	for _, none := range []places.Record{{}, discarded} {
		if !none.Discard(a.Runner).Same(none) {
			t.Error("to discard nothing changes something")
		}
	}
}

// Nobody has said that the sandbox has ended: it may never have been given to the runner.
func TestAClaimedSandboxCountsUntilItIsSeenToEnd(t *testing.T) {
	how := rules{Fleet: upTo(1)}
	a := fits("web", 1)
	r, o := warmed(map[string]places.Warm{"a": warm(0, "sb-a")}).TakeWarm(a, how, start)
	if o != nil || r.WarmOf(a.Runner) != "sb-a" {
		t.Fatalf("it has %q, and waits for %v", r.WarmOf(a.Runner), o)
	}
	r, _ = r.Free(a.Runner, start.Add(time.Minute))
	w, there := r.Warm["sb-a"]
	if !there || !w.Ends || w.SandboxID != "sb-a" || w.Owner != "" || w.Job != 0 {
		t.Fatalf("after its runner: %+v", r.Warm)
	}
	next := fits("web", 2)
	if _, o := r.TakeWarm(next, how, start.Add(time.Minute)); o == nil || o.Kind != places.Full {
		t.Errorf("while it may run the next waits for %v", o)
	}
	r = r.Over("sb-a", start.Add(2*time.Minute))
	if _, o := r.Take(next, how, start.Add(2*time.Minute)); o != nil {
		t.Errorf("once it has ended the next waits for %v", o)
	}
	if cost := r.Cost(places.All, start.Add(2*time.Minute)); math.Abs(cost-0.02) > 0.0001 {
		t.Errorf("its two minutes have cost %v", cost)
	}
	given, _ := warmed(map[string]places.Warm{"a": warm(0, "sb-a")}).TakeWarm(a, how, start)
	if given, _ = given.Discard(a.Runner).Free(a.Runner, start); len(given.Warm) != 0 {
		t.Errorf("one that its runner's own record knows counts twice: %v", given.Warm)
	}
}

func TestWarmSandboxesCountAndCostAsThoseOfTheirPool(t *testing.T) {
	entries := map[string]places.Warm{"a": warm(10*time.Minute, "sb-a"), "b": warm(5*time.Minute, ""), "c": warm(time.Minute, "sb-c", other)}
	r := warmed(entries)
	how := rules{Fleet: upTo(3), Pools: map[string]places.Limit{"default": {Max: 9, Budget: 0.15}}}
	uses := map[places.Scope]places.Use{}
	for _, u := range r.Uses(nil, []string{"default", "gpu"}, how, start) {
		uses[u.Scope] = u
	}
	for scope, want := range map[places.Scope]places.Use{
		places.All:                  {Held: 3, Warm: 3, Cost: 0.16},
		places.PoolScope("default"): {Held: 2, Warm: 2, Cost: 0.15},
		places.PoolScope("gpu"):     {Held: 1, Warm: 1, Cost: 0.01},
	} {
		if got := uses[scope]; got.Held != want.Held || got.Warm != want.Warm || math.Abs(got.Cost-want.Cost) > 0.0001 {
			t.Errorf("%s has %d that cost %v, want %d and %v", scope, got.Held, got.Cost, want.Held, want.Cost)
		}
	}
	plain := ask("web", 1)
	if _, o := r.Take(plain, how, start); o == nil || o.Kind != places.Full || o.Scope != places.All {
		t.Errorf("a job waits for %v, want room in the fleet", o)
	}
	how.Fleet = upTo(9)
	if _, o := r.Take(plain, how, start); o == nil || o.Kind != places.Spent {
		t.Errorf("a job waits for %v, want the budget", o)
	}
	claims := fits("web", 1)
	claimed, _ := r.Take(claims, rules{}, start)
	claimed = claimed.Claim(claims, start)
	for _, u := range claimed.Uses(nil, nil, rules{}, start) {
		if u.Scope == places.All && (u.Held != 3 || u.Warm != 2) {
			t.Errorf("once one is a runner's, %d are held, %d of them warm", u.Held, u.Warm)
		}
	}
	if cost := claimed.Cost(places.PoolScope("default"), start.Add(time.Minute)); math.Abs(cost-0.17) > 0.0001 {
		t.Errorf("a minute after the claim the pool has cost %v, want what it waited and what it worked", cost)
	}
	over := claimed.Over("b", start).Over("c", start).Over("c", start)
	want := []places.Scope{places.All, places.PoolScope("default"), places.PoolScope("gpu")}
	if got := slices.Sorted(maps.Keys(over.Spent)); !slices.Equal(got, want) {
		t.Errorf("their waiting is paid by %v, want %v", got, want)
	}
	if cost := over.Cost(places.All, start); math.Abs(cost-0.16) > 0.0001 {
		t.Errorf("all have cost %v, want each of them once", cost)
	}
}

// Where there is no room for another sandbox, those that wait for jobs must not keep the jobs from them.
func TestAJobHasAWarmSandboxThoughThereIsNoRoomForAnother(t *testing.T) {
	one := map[string]places.Warm{"a": warm(0, "sb-a")}
	full := rules{Pools: map[string]places.Limit{"default": upTo(1)}}
	short := warmed(one)
	short.Short, short.Sorted = map[places.Scope]time.Time{places.PoolScope("default"): start}, start
	broke := broke("default")
	broke.Warm = one
	slow := rules{Rates: map[string]float64{"default": 1}}
	paced := taken(t, places.Record{}, slow, "api", 100, 2)
	paced.Warm = one
	lined := waitsForRate(t, one)
	crowd := lined.Crowded("default", start)
	crowd.Short = maps.Clone(lined.Short)
	crowd.Short[places.KindScope("default")] = start
	turn := lined
	turn.Pools = nil // The next may be created, and it is not the newcomer's.
	for name, tt := range map[string]struct {
		record places.Record
		rules  rules
		ask    places.Ask
		want   string // the obstacle's kind, or the sandbox
	}{
		"the pool is full":                     {warmed(one), full, fits("web", 1), "sb-a"},
		"the fleet is":                         {warmed(one), rules{Fleet: upTo(1)}, fits("web", 1), "sb-a"},
		"the pool may create no faster":        {paced, slow, fits("web", 1), "sb-a"},
		"others wait for that":                 {lined, slow, fits("web", 1), "sb-a"},
		"others wait, whose turn it is":        {turn, slow, fits("web", 1), "sb-a"},
		"others wait for room at Modal, too":   {crowd, slow, fits("web", 1), "capacity"},
		"Modal has no room":                    {warmed(one).Crowded("default", start), rules{}, fits("web", 1), "sb-a"},
		"there is room: it may claim it later": {warmed(one), rules{}, fits("web", 1), ""},
		"it can't have it":                     {warmed(one), full, ask("web", 1), "limit"},
		"it is to end":                         {warmed(map[string]places.Warm{"a": warm(0, "sb-a", ends)}), full, fits("web", 1), "limit"},
		"its repository is full": {
			taken(t, warmed(one), rules{}, "web", 9, 1), rules{Pools: full.Pools, Repos: map[string]places.Share{"acme/web": {Limit: upTo(1)}}}, fits("web", 1), "limit",
		},
		"the pool is more than full":      {taken(t, warmed(one), rules{}, "api", 9, 2), full, fits("web", 1), "limit"},
		"others stand in line":            {short, full, fits("web", 1), "limit"},
		"its launches fail":               {broke, full, fits("web", 1), "limit"},
		"its budget is spent":             {warmed(map[string]places.Warm{"a": warm(time.Hour, "sb-a")}), rules{Pools: map[string]places.Limit{"default": {Max: 1, Budget: 0.5}}}, fits("web", 1), "limit"},
		"an operator wants none launched": {warmed(one).Pause(places.All, true, start), full, fits("web", 1), "paused"},
	} {
		t.Run(name, func(t *testing.T) {
			r, o := tt.record.TakeWarm(tt.ask, tt.rules, start)
			got := r.WarmOf(tt.ask.Runner)
			if o != nil {
				got = string(o.Kind)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if _, held := r.Held[tt.ask.Runner]; held != (o == nil) {
				t.Errorf("it has a place: %v, and waits for %v", held, o)
			}
			if o == nil && got != "" && len(r.Short) > len(tt.record.Short) {
				t.Errorf("it waited for nothing, and yet there is too little of %v", r.Short)
			}
		})
	}
}

func TestABurstAtTheLimitHasAllWarmSandboxesAndNoneBeyondIt(t *testing.T) {
	entries := map[string]places.Warm{}
	for n := range 10 {
		entries[fmt.Sprint(n)] = warm(0, fmt.Sprintf("sb-%d", n))
	}
	how := rules{Fleet: upTo(20), Rates: map[string]float64{"default": 1000}}
	r := taken(t, warmed(entries), rules{}, "api", 100, 5)
	went := 0
	for n := range int64(16) {
		var o *places.Obstacle
		if r, o = r.TakeWarm(fits("web", n), how, start); o == nil {
			went++
		}
	}
	for n := range int64(16) {
		r = r.Claim(fits("web", n), start)
	}
	claimed := 0
	for runner := range r.Held {
		if r.WarmOf(runner) != "" {
			claimed++
		}
	}
	if went != 15 || claimed != 10 || len(r.Warm) != 0 || len(r.Held) != 20 {
		t.Errorf("%d of 16 went, %d with a warm one, %d are left, %d places are held; want 15, 10, 0 and 20", went, claimed, len(r.Warm), len(r.Held))
	}
}

// waitsForRate is a record of which a job that can have no warm sandbox waits since the pool "default" may create no faster.
func waitsForRate(t *testing.T, entries map[string]places.Warm) places.Record {
	t.Helper()
	slow := rules{Rates: map[string]float64{"default": 0.1}}
	r := taken(t, warmed(entries), slow, "api", 100, 1)
	r, o := r.TakeWarm(ask("web", 9), slow, start)
	if o == nil || o.Kind != places.Pace || len(r.Short) != 1 {
		t.Fatalf("it waits for %v; short are %v", o, r.Short)
	}
	return r
}

func TestWhichWarmSandboxesAreToEnd(t *testing.T) {
	three := map[string]places.Warm{"a": warm(3*time.Minute, "sb-a"), "b": warm(2*time.Minute, "sb-b"), "c": warm(time.Minute, "")}
	short := func(s places.Scope) places.Record {
		r := warmed(three)
		r.Short = map[places.Scope]time.Time{s: start}
		return r
	}
	broken := broke("default")
	broken.Warm = three
	busy := taken(t, warmed(three), rules{}, "web", 1, 2)
	slow := waitsForRate(t, three)
	all := "a b c"
	for name, tt := range map[string]struct {
		record places.Record
		rules  rules
		wishes []places.Wish
		want   string
	}{
		"none, if as many are wanted":          {warmed(three), rules{}, []places.Wish{wish("default", 3)}, ""},
		"none, if more are":                    {warmed(three), rules{}, []places.Wish{wish("default", 9)}, ""},
		"the youngest, if fewer are":           {warmed(three), rules{}, []places.Wish{wish("default", 1)}, "b c"},
		"all, outside the hours":               {warmed(three), rules{}, []places.Wish{wish("default", 0)}, all},
		"all, if the pool keeps none any more": {warmed(three), rules{}, []places.Wish{wish("gpu", 3)}, all},
		"those that the pool was before": {
			warmed(map[string]places.Warm{"a": warm(0, "sb-a", old), "b": warm(0, "", old), "c": warm(0, "sb-c")}), rules{}, []places.Wish{wish("default", 1)}, "a b",
		},
		"all, while somebody waits for the fleet":        {short(places.All), rules{}, []places.Wish{wish("default", 3)}, all},
		"all, while somebody waits for the pool":         {short(places.PoolScope("default")), rules{}, []places.Wish{wish("default", 3)}, all},
		"none, while somebody waits for its rate":        {slow, rules{Rates: map[string]float64{"default": 0.1}}, []places.Wish{wish("default", 3)}, ""},
		"all, while somebody waits for its kind":         {short(places.KindScope("default")), rules{}, []places.Wish{wish("default", 3)}, all},
		"none, while somebody waits for another pool":    {short(places.PoolScope("gpu")), rules{}, []places.Wish{wish("default", 3)}, ""},
		"none, while somebody waits for another kind":    {short(places.KindScope("default gpu:A100")), rules{}, []places.Wish{wish("default", 3)}, ""},
		"none, while somebody waits for its repository":  {short(places.RepoScope("acme", "web")), rules{}, []places.Wish{wish("default", 3)}, ""},
		"all, if the fleet is paused":                    {warmed(three).Pause(places.All, true, start), rules{}, []places.Wish{wish("default", 3)}, all},
		"all, if the pool is paused":                     {warmed(three).Pause(places.PoolScope("default"), true, start), rules{}, []places.Wish{wish("default", 3)}, all},
		"none, if another pool is":                       {warmed(three).Pause(places.PoolScope("gpu"), true, start), rules{}, []places.Wish{wish("default", 3)}, ""},
		"all, if the budget of the fleet is spent":       {warmed(three), rules{Fleet: places.Limit{Budget: 0.06}}, []places.Wish{wish("default", 3)}, all},
		"all, if the budget of the pool is spent":        {warmed(three), rules{Pools: map[string]places.Limit{"default": {Budget: 0.06}}}, []places.Wish{wish("default", 3)}, all},
		"none, if another pool's is":                     {warmed(three), rules{Pools: map[string]places.Limit{"gpu": {Budget: 0.06}}}, []places.Wish{wish("default", 3)}, ""},
		"none, if they are just as many as there may be": {busy, rules{Fleet: upTo(5)}, []places.Wish{wish("default", 3)}, ""},
		"the youngest, if the fleet may have fewer now":  {busy, rules{Fleet: upTo(3)}, []places.Wish{wish("default", 3)}, "b c"},
		"all, if jobs have all that the pool may now":    {busy, rules{Pools: map[string]places.Limit{"default": upTo(1)}}, []places.Wish{wish("default", 3)}, all},
		"none, if another pool may have fewer":           {busy, rules{Pools: map[string]places.Limit{"gpu": upTo(1)}}, []places.Wish{wish("default", 3)}, ""},
		"none, if launches of the pool fail":             {broken, rules{}, []places.Wish{wish("default", 3)}, ""},
		"none, if Modal has no room for more":            {warmed(three).Crowded("default", start), rules{}, []places.Wish{wish("default", 3)}, ""},
		"those that are an hour old":                     {warmed(map[string]places.Warm{"a": warm(time.Hour, "sb-a"), "b": warm(time.Hour-1, "sb-b")}), rules{}, []places.Wish{wish("default", 2)}, "a"},
		"none that is old whose successor is not here":   {warmed(map[string]places.Warm{"a": warm(55*time.Minute, "sb-a"), "b": warm(0, "")}), rules{}, []places.Wish{wish("default", 1)}, ""},
		"one that is old whose successor is":             {warmed(map[string]places.Warm{"a": warm(55*time.Minute, "sb-a"), "b": warm(0, "sb-b")}), rules{}, []places.Wish{wish("default", 1)}, "a"},
		"the oldest of those": {
			warmed(map[string]places.Warm{"a": warm(57*time.Minute, "sb-a"), "b": warm(56*time.Minute, "sb-b"), "c": warm(0, "sb-c")}), rules{}, []places.Wish{wish("default", 2)}, "a",
		},
		"none that is young, for one that is old": {warmed(map[string]places.Warm{"a": warm(56*time.Minute, "sb-a"), "b": warm(0, "")}), rules{}, []places.Wish{wish("default", 1)}, ""},
		"what ends already ends":                  {warmed(map[string]places.Warm{"a": warm(0, "sb-a", ends), "b": warm(0, "sb-b")}), rules{}, []places.Wish{wish("default", 1)}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := tt.record.Trim(tt.wishes, tt.rules, start)
			var got []string
			for name, w := range r.Warm {
				if w.Ends {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if strings.Join(got, " ") != tt.want || len(r.Warm) != len(tt.record.Warm) {
				t.Errorf("%v are to end, want %q; %d are on record", got, tt.want, len(r.Warm))
			}
			if again := r.Trim(tt.wishes, tt.rules, start); !again.Same(r) {
				t.Error("to look once more changes something")
			}
		})
	}
}

func TestWhichWarmSandboxesAreLacking(t *testing.T) {
	one := map[string]places.Warm{"a": warm(time.Minute, "sb-a")}
	short := warmed(nil)
	short.Short = map[places.Scope]time.Time{places.All: start}
	slow := waitsForRate(t, nil)
	fives := []places.Wish{wish("default", 5), wish("gpu", 5)}
	for name, tt := range map[string]struct {
		record places.Record
		rules  rules
		wishes []places.Wish
		want   map[string]int // by pool
	}{
		"as many as are wanted":                     {places.Record{}, rules{}, []places.Wish{wish("default", 3)}, map[string]int{"default": 3}},
		"no more than six at once":                  {places.Record{}, rules{}, []places.Wish{wish("default", 99)}, map[string]int{"default": 6}},
		"of each pool in turn":                      {places.Record{}, rules{}, fives, map[string]int{"default": 3, "gpu": 3}},
		"but for those that are there":              {warmed(one), rules{}, []places.Wish{wish("default", 3)}, map[string]int{"default": 2}},
		"or on their way":                           {warmed(map[string]places.Warm{"a": warm(0, "")}), rules{}, []places.Wish{wish("default", 3)}, map[string]int{"default": 2}},
		"one for each that ends":                    {warmed(map[string]places.Warm{"a": warm(0, "sb-a", ends)}), rules{}, []places.Wish{wish("default", 1)}, map[string]int{"default": 1}},
		"for each that is what the pool was before": {warmed(map[string]places.Warm{"a": warm(0, "sb-a", old)}), rules{}, []places.Wish{wish("default", 1)}, map[string]int{"default": 1}},
		"and for each that is old":                  {warmed(map[string]places.Warm{"a": warm(55*time.Minute, "sb-a")}), rules{}, []places.Wish{wish("default", 1)}, map[string]int{"default": 1}},
		"none, if none is wanted now":               {places.Record{}, rules{}, []places.Wish{wish("default", 0)}, nil},
		"none beyond the limit of the fleet":        {taken(t, places.Record{}, rules{}, "web", 1, 1), rules{Fleet: upTo(3)}, fives, map[string]int{"default": 1, "gpu": 1}},
		"or of the pool":                            {warmed(one), rules{Pools: map[string]places.Limit{"default": upTo(2)}}, fives, map[string]int{"default": 1, "gpu": 5}},
		"none while somebody waits":                 {short, rules{}, fives, nil},
		"or waits for the pool's rate":              {slow, rules{}, fives, map[string]int{"gpu": 5}},
		"none that an operator paused":              {places.Record{}.Pause(places.PoolScope("gpu"), true, start), rules{}, fives, map[string]int{"default": 5}},
		"none while launches of the pool fail":      {broke("default"), rules{}, fives, map[string]int{"gpu": 5}},
		"none while one is tried":                   {broke("default"), rules{}, []places.Wish{wish("default", 1)}, nil},
		"none while Modal has no room":              {places.Record{}.Crowded("default", start), rules{}, fives, map[string]int{"gpu": 5}},
		"no faster than the pool may":               {places.Record{}, rules{Rates: map[string]float64{"default": 1}}, []places.Wish{wish("default", 5)}, map[string]int{"default": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			r, added := tt.record.Fill(tt.wishes, 6, tt.rules, start)
			got := map[string]int{}
			for name, w := range added {
				got[w.Ask.Pool]++
				entry, there := r.Warm[name]
				if _, was := tt.record.Warm[name]; !there || was || entry.Ask != w.Ask || entry.ID() != "" || entry.Ends || !entry.Since.Equal(start) {
					t.Errorf("%s is on record as %+v", name, entry)
				}
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("added %v, want %v", got, tt.want)
			}
			if len(r.Warm) != len(tt.record.Warm)+len(added) {
				t.Errorf("%d are on record, though %d were and %d are new", len(r.Warm), len(tt.record.Warm), len(added))
			}
			if len(added) == 0 && !r.Same(tt.record) {
				t.Error("none is lacking, and the record changes")
			}
		})
	}
}

// A record that comes back from a backup counts again from where it was.
func TestNoNameOfAWarmSandboxComesTwice(t *testing.T) {
	backup, _ := places.Record{}.Fill([]places.Wish{wish("default", 3)}, 9, rules{}, start)
	seen := map[string]bool{}
	r := backup
	for n := range 4 {
		var added map[string]places.Wish
		r, added = r.Fill([]places.Wish{wish("default", 3*(n+2))}, 9, rules{}, start.Add(time.Duration(n)*time.Second))
		if n == 2 { // It is restored.
			r = backup
		}
		for name := range added {
			if seen[name] {
				t.Errorf("%s comes again", name)
			}
			seen[name] = true
		}
	}
	if len(seen) != 18 {
		t.Errorf("%d names, want 3 thrice, and then as many as are added at once", len(seen))
	}
	ahead := places.Record{Warmed: start.Add(time.Hour).UnixMilli()} // By a clock that was wrong.
	if r, _ := ahead.Fill([]places.Wish{wish("default", 2)}, 9, rules{}, start); len(r.Warm) != 2 || r.Warmed != ahead.Warmed+2 {
		t.Errorf("warmed %d, %v", r.Warmed-ahead.Warmed, r.Warm)
	}
}

func TestAWarmSandboxOnItsWay(t *testing.T) {
	r, added := places.Record{}.Fill([]places.Wish{wish("default", 1)}, 5, rules{}, start)
	name := slices.Collect(maps.Keys(added))[0]
	if made := r.Made("another", "sb-9"); !made.Same(r) {
		t.Error("one that is off the record came back")
	}
	made := r.Made(name, "sb-1")
	if w := made.Warm[name]; w.ID() != "sb-1" || w.Ready() {
		t.Errorf("made: %+v", w)
	}
	if !made.Unmade(name).Same(made) {
		t.Error("one that was made is taken off the record as if it had not been")
	}
	if off := r.Unmade(name); len(off.Warm) != 0 || off.Cost(places.All, start.Add(time.Hour)) != 0 {
		t.Errorf("one that was never made: %v, it cost %v", off.Warm, off.Cost(places.All, start.Add(time.Hour)))
	}
	waits := made.Waits(name, "sb-1")
	if w := waits.Warm[name]; !w.Ready() || w.ID() != "sb-1" || w.Made != "" {
		t.Errorf("waits: %+v", w)
	}
	for said, other := range map[string]places.Record{
		"made once more": waits.Made(name, "sb-2"), "another waits": waits.Waits(name, "sb-2"), "spoilt": waits.Spoilt(name, "boom", start), "unmade": waits.Unmade(name),
	} {
		if !other.Same(waits) {
			t.Errorf("one that waits is %s: %+v", said, other)
		}
	}
	spoilt := made.Spoilt(name, "boom", start)
	if w := spoilt.Warm[name]; !w.Ends || !slices.Equal(spoilt.Pools["default"].Failed, []string{name}) {
		t.Errorf("spoilt: %+v, %+v", w, spoilt.Pools)
	}
	if !spoilt.Spoilt(name, "boom", start).Same(spoilt) {
		t.Error("it is told twice")
	}
	if ending := spoilt.Waits(name, "sb-1"); ending.Warm[name].Ready() {
		t.Error("one that is to end can be claimed")
	}
}

func TestOnlyWarmSandboxesThatFailInARowOpenABreaker(t *testing.T) {
	play := func(between func(places.Record, int) places.Record) places.Record {
		r := places.Record{}
		for n := range 5 {
			name := fmt.Sprintf("warm-%d", n)
			r.Warm = map[string]places.Warm{name: warm(time.Minute, "")}
			r = between(r.Spoilt(name, "boom", start), n)
		}
		return r
	}
	if r := play(func(r places.Record, _ int) places.Record { return r }); r.Pools["default"].Breaker(start) != places.Open {
		t.Error("five in a row did not open it")
	}
	waits := func(r places.Record, n int) places.Record {
		r.Warm = map[string]places.Warm{"warm-99": warm(0, "")}
		if n == 2 {
			r = r.Waits("warm-99", "sb-99")
		}
		return r
	}
	if r := play(waits); r.Pools["default"].Breaker(start) != places.Closed {
		t.Error("with one between that came to wait it opened")
	}
	runners := places.Record{Warm: map[string]places.Warm{"warm-99": warm(0, "")}}
	for n := range 4 {
		runners = runners.Failed("default", fmt.Sprintf("%d.1", n), "boom", false, start)
	}
	runners = runners.Waits("warm-99", "sb-99").Failed("default", "9.1", "boom", false, start)
	if runners.Pools["default"].Breaker(start) != places.Open {
		t.Error("that a warm one waits excuses runners that do not start")
	}
	opened := broke("default")
	opened.Warm = map[string]places.Warm{"warm-99": warm(0, "")}
	if opened = opened.Waits("warm-99", "sb-99"); opened.Pools["default"].Breaker(start) != places.Open {
		t.Error("that a warm one waits closed a breaker")
	}
}

// Nobody waits for a warm sandbox, so nobody stands in line for want of one.
func TestThatThereIsNoRoomForAWarmSandboxMakesNoLine(t *testing.T) {
	r := places.Record{}.Crowded("default", start)
	if len(r.Short) != 0 || r.Pools["default"].Rate == 0 {
		t.Errorf("%+v", r)
	}
	if again := r.Crowded("default", start.Add(time.Second)); !again.Same(r) {
		t.Error("what was asked for before is answered twice")
	}
	if r = r.Exhausted("default", start.Add(10*time.Second)); len(r.Short) != 1 {
		t.Errorf("a job's launch: %+v", r)
	}
}
