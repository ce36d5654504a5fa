package bubble_test

import (
	"math/rand/v2"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/fault"
)

// condition is a way for one side of the world to go wrong for a while.
type condition struct {
	fault string // of the catalogue
	rules []fault.Rule
	// outage says that meanwhile no deadline can be kept.
	outage bool
}

// climates are, by the prefix of the operations that they strike, what each side of the world may do.
var climates = map[string][]condition{
	"webhook.": {
		{fault: "F01", rules: []fault.Rule{{Op: "webhook.*", Probability: 0.15, Error: "lost"}}},
		{fault: "F02", rules: []fault.Rule{{Op: "webhook.*", Probability: 0.4, Error: "duplicate"}}},
		{fault: "F04", rules: []fault.Rule{
			{Op: "webhook.*", Probability: 0.3, Latency: seconds(4)},
			{Op: "webhook.*", Probability: 0.3, Latency: seconds(45)},
			{Op: "webhook.*", Probability: 0.2, Latency: seconds(900)},
		}},
		// GitHub counts as failed what has arrived, so that it is delivered again, minutes later, under the same GUID.
		{fault: "F38", rules: []fault.Rule{{Op: "webhook.*", Probability: 0.3, Error: "502", After: true}}},
	},
	"github.": {
		{fault: "F07", rules: []fault.Rule{{Op: "github.generate-jitconfig", Probability: 0.3, Error: "502", After: true}}},
		{fault: "F09", rules: []fault.Rule{{Op: "github.*", Probability: 0.2, Error: "401"}}},
		{fault: "F10", rules: []fault.Rule{{Op: "github.generate-jitconfig", Probability: 0.4, Error: "429"}}},
		{fault: "F11", outage: true, rules: []fault.Rule{
			{Op: "github.*", Probability: 0.2, Error: "503"},
			// Not for tokens: who waits for one holds a lock, and for one who waits for that, a bubble's clock stands still.
			{Op: "github.generate-jitconfig", Probability: 0.2, Latency: seconds(20)},
			{Op: "github.*-runner*", Probability: 0.2, Latency: seconds(20)},
			{Op: "github.*-job*", Probability: 0.2, Latency: seconds(20)},
		}},
		{fault: "F08", rules: []fault.Rule{{Op: "github.generate-jitconfig", Error: "422", Times: 2}}},
	},
	"modal.": {
		{fault: "F45", rules: []fault.Rule{{Op: "modal.SandboxCreateV2", Probability: 0.4, Latency: seconds(30)}}},
		{fault: "F46", rules: []fault.Rule{{Op: "modal.SandboxCreateV2", Probability: 0.7, Error: "RESOURCE_EXHAUSTED"}}},
		{fault: "F50", rules: []fault.Rule{{Op: "modal.SandboxList*", Probability: 0.5, Error: "INTERNAL"}}},
		{fault: "F52", outage: true, rules: []fault.Rule{{Op: "modal.*", Error: "UNAUTHENTICATED"}}},
		{fault: "F65", outage: true, rules: []fault.Rule{
			{Op: "modal.*", Probability: 0.4, Error: "UNAVAILABLE"}, {Op: "modal.*", Probability: 0.1, Error: "UNAVAILABLE", After: true},
		}},
	},
	"runner.": {
		{fault: "F11", rules: []fault.Rule{{Op: "runner.*", Probability: 0.2, Error: "503"}}},
	},
}

// blackout is GitHub being down altogether: its API, its webhooks, and its service for runners.
var blackout = condition{fault: "F13", outage: true, rules: []fault.Rule{{Op: "github.*", Error: "503"}}}

func seconds(n int) fault.Duration { return fault.Duration(time.Duration(n) * time.Second) }

// weather changes the conditions of each climate by itself.
type weather struct {
	*universe

	rnd  *rand.Rand
	now  map[string]condition
	seen map[string]int // strikes by operation, as far as they are credited to a fault
	// last keeps the conditions of a climate in turn, so that each comes up however short a run is.
	last map[string]int
	over bool
}

func newWeather(u *universe) *weather {
	return &weather{
		universe: u, rnd: rand.New(rand.NewPCG(u.options.seed, 5)), now: map[string]condition{}, seen: map[string]int{}, last: map[string]int{},
	}
}

// begin lets each climate change about every period from now on.
func (w *weather) begin(period time.Duration) {
	for prefix, conditions := range climates {
		w.last[prefix] = w.rnd.IntN(len(conditions))
		var turn func()
		turn = func() {
			if w.over {
				return
			}
			n := w.last[prefix] % len(conditions)
			w.last[prefix]++
			w.change(prefix, conditions[n])
			w.agenda.in(period*2/3, func() { w.change(prefix, condition{}) })
			w.agenda.in(period, turn)
		}
		w.agenda.in(time.Duration(w.rnd.Int64N(int64(period/4))), turn)
	}
}

// end makes it fine for good.
func (w *weather) end() {
	w.over = true
	for prefix := range climates {
		w.change(prefix, condition{})
	}
}

func (w *weather) change(prefix string, next condition) {
	if w.over && next.fault != "" {
		return
	}
	w.credit()
	if w.now[prefix].outage {
		w.outageOver(prefix)
	}
	if next.outage {
		w.outage(prefix)
	}
	w.now[prefix] = next
	var rules []fault.Rule
	for _, c := range w.now {
		rules = append(rules, c.rules...)
	}
	if err := w.faults.Set(rules); err != nil {
		w.t.Error(err)
	}
	w.story.tellf("weather at %s* is now %q", prefix, next.fault)
}

// credit counts what has struck since the last time as the fault that was on then.
func (w *weather) credit() {
	for op, n := range w.faults.Strikes() {
		if n == w.seen[op] {
			continue
		}
		for prefix, c := range w.now {
			if strings.HasPrefix(op, prefix) && c.fault != "" {
				w.met(c.fault, n-w.seen[op])
			}
		}
		w.seen[op] = n
	}
}
