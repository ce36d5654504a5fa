package e2e_test

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo/rig"
)

// The machines of a chaos run.
const (
	chaosIngresses = 2
	chaosWorkers   = 3
)

const (
	kill   = "kill"   // SIGKILL, and started again when the mishap is over
	freeze = "freeze" // SIGSTOP, and SIGCONT when the mishap is over
)

// mishap is what goes wrong with one program or one of its links, for a while.
type mishap struct {
	// What is kill, freeze, or the type of a toxic.
	What string
	// Program is as Process.Name says.
	Program string
	// To is set if it is a link that suffers.
	To     rig.Target
	Toxics []toxic
}

// place is what at most one mishap at a time befalls.
func (m mishap) place() string { return m.Program + " " + string(m.To) }

// kind is what mishaps are counted by.
func (m mishap) kind() string {
	if m.To == "" {
		return m.What + " " + program(m.Program)
	}
	return m.What + " " + program(m.Program) + "-" + string(m.To)
}

// String is for people.
func (m mishap) String() string {
	if m.To == "" {
		return m.What + " " + m.Program
	}
	return m.What + " between " + m.Program + " and " + string(m.To)
}

// faults are those of the catalogue that a mishap is a case of, by its kind.
var faults = map[string]string{
	"kill ingress": "F24", "deaf ingress-nats": "F20", "kill nats-server": "F29", "kill worker": "F41", "freeze worker": "F34",
	"cut worker-nats": "F21", "cut worker-github": "F11", "cut worker-modal": "F65",
}

// program is the name without its number.
func program(name string) string { return strings.TrimRight(name, "-0123456789") }

// both poisons what a program says and what it hears.
func both(kind string, attributes map[string]int) []toxic {
	return []toxic{{Type: kind, Stream: "upstream", Attributes: attributes}, {Type: kind, Stream: "downstream", Attributes: attributes}}
}

// ills are all that can be wrong with a link. The values are such that requests fail, and not only take longer.
var ills = map[string][]toxic{
	"cut":        {cut},
	"silent":     both("timeout", map[string]int{"timeout": 0}),
	"deaf":       {{Type: "timeout", Stream: "downstream", Attributes: map[string]int{"timeout": 0}}},
	"latency":    both("latency", map[string]int{"latency": 2500, "jitter": 2000}),
	"reset_peer": {{Type: "reset_peer", Stream: "downstream", Attributes: map[string]int{"timeout": 50}}},
	"slicer":     both("slicer", map[string]int{"average_size": 40, "size_variation": 20, "delay": 500}),
	"limit_data": both("limit_data", map[string]int{"bytes": 3000}),
	"bandwidth":  both("bandwidth", map[string]int{"rate": 4}),
}

// longest is how long a mishap lasts at most. Those of the workers reach beyond the minute after which another worker takes
// over what one has in hand.
func (m mishap) longest() time.Duration {
	switch {
	case m.What == freeze && program(m.Program) == "worker":
		return 75 * time.Second
	case m.To != "":
		return 30 * time.Second
	default:
		return 15 * time.Second
	}
}

// deck is every ill of every link, and thrice as often what befalls programs, of which there are fewer kinds.
func deck() []mishap {
	names := []string{"nats-server", "ingress-1", "ingress-2", "worker-1", "worker-2", "worker-3"}
	var all []mishap
	for _, name := range slices.Repeat(names, 3) {
		all = append(all, mishap{What: kill, Program: name}, mishap{What: freeze, Program: name})
	}
	targets := map[string][]rig.Target{"ingress": {rig.ToNATS}, "worker": {rig.ToNATS, rig.ToGitHub, rig.ToModal}}
	for _, name := range names {
		for _, to := range targets[program(name)] {
			for _, what := range slices.Sorted(maps.Keys(ills)) {
				all = append(all, mishap{What: what, Program: name, To: to, Toxics: ills[what]})
			}
		}
	}
	return all
}

// turn is the begin or the end of a mishap.
type turn struct {
	At    time.Duration
	Begin bool
	mishap
}

// schedule draws mishaps that begin and end within budget, each every few seconds, in order of their time. The same seed gives the
// same schedule.
func schedule(seed uint64, budget time.Duration) []turn {
	const pause = 4 * time.Second // on average; several mishaps overlap
	rnd := rand.New(rand.NewPCG(seed, 2))
	free := map[string]time.Duration{}
	var turns []turn
	var waiting []mishap
	for at := time.Duration(0); at < budget; at += time.Duration((0.5 + rnd.Float64()) * float64(pause)) {
		if len(waiting) == 0 {
			waiting = deck()
			rnd.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
		}
		n := slices.IndexFunc(waiting, func(m mishap) bool { return free[m.place()] <= at })
		if n < 0 {
			continue
		}
		m := waiting[n]
		waiting = slices.Delete(waiting, n, n+1)
		// More short ones than long ones: what is over before anybody has noticed is a case of its own.
		end := min(budget, at+time.Duration(rnd.Float64()*rnd.Float64()*float64(m.longest())))
		free[m.place()] = end
		turns = append(turns, turn{At: at, Begin: true, mishap: m}, turn{At: end, mishap: m})
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return int(a.At - b.At) })
	return turns
}

func TestAScheduleOfMishaps(t *testing.T) {
	t.Parallel()
	const budget = 15 * time.Minute
	turns := schedule(7, budget)
	begun, kinds := map[string]mishap{}, map[string]bool{}
	for _, now := range turns {
		kinds[now.kind()] = true
		if before, suffers := begun[now.place()]; suffers == now.Begin {
			t.Errorf("at %s %s begins (%v) after %s", now.At, now.kind(), now.Begin, before.kind())
		}
		if now.Begin {
			begun[now.place()] = now.mishap
		} else {
			delete(begun, now.place())
		}
		if now.At > budget {
			t.Errorf("%s at %s, after the end", now.kind(), now.At)
		}
	}
	if len(begun) > 0 {
		t.Errorf("these do not end: %v", begun)
	}
	all := slices.Collect(maps.Keys(faults))
	for _, m := range deck() {
		all = append(all, m.kind())
	}
	for _, kind := range all {
		if !kinds[kind] {
			t.Errorf("no %s in %s", kind, budget)
		}
	}
	if !reflect.DeepEqual(turns, schedule(7, budget)) {
		t.Error("the same seed gives another schedule")
	}
	if reflect.DeepEqual(turns, schedule(8, budget)) {
		t.Error("another seed gives the same schedule")
	}
}
