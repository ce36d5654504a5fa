package run_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"modal-github-runner/services/worker/internal/run"
)

var update = flag.Bool("update", false, "write STATES.md instead of comparing with it")

const statesHead = `# States

What becomes of a record, drawn from the code: a test explores ` + "`Decide` and `DecideRunner`" + ` from the record of which nothing
is known, over every kind of event, early and late. ` + "`go test ./internal/run -update`" + ` rewrites this file.

The diagrams show what changes a state. The tables show all: for each event, what a record in the state of the column can be
in after it.
`

// machine is what was seen of one kind of record: from state and event to states.
type machine struct {
	states []string // in the order in which they are drawn; the first is that of no record
	events []string
	to     map[[2]string][]string
}

// explore applies each event at each time to each record that can come of it, from the zero record on. Records that key
// tells to be alike are explored once; those that it does not want, not at all.
func explore[R, E any](states []string, events []E, times []time.Time, apply func(R, E, time.Time) R, state func(R) string, key func(R) (string, bool)) machine {
	m := machine{states: states, to: map[[2]string][]string{}}
	for _, ev := range events {
		if name := reflect.TypeOf(ev).Name(); !slices.Contains(m.events, name) {
			m.events = append(m.events, name)
		}
	}
	var zero R
	seen := map[string]bool{}
	for open := []R{zero}; len(open) > 0; open = open[1:] {
		for _, ev := range events {
			for _, at := range times {
				after := apply(open[0], ev, at)
				step := [2]string{state(open[0]), reflect.TypeOf(ev).Name()}
				if !slices.Contains(m.to[step], state(after)) {
					m.to[step] = append(m.to[step], state(after))
				}
				if k, ok := key(after); ok && !seen[k] {
					seen[k] = true
					open = append(open, after)
				}
			}
		}
	}
	for _, to := range m.to {
		slices.SortFunc(to, func(a, b string) int { return cmp.Compare(slices.Index(states, a), slices.Index(states, b)) })
	}
	return m
}

func name(state string) string { return cmp.Or(state, "none") }

// draw writes the machine as a diagram and as a table.
func (m machine) draw(title string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n## %s\n\n```mermaid\nstateDiagram-v2\n", title)
	for _, from := range m.states {
		for _, to := range m.states {
			var by []string
			for _, event := range m.events {
				if from != to && slices.Contains(m.to[[2]string{from, event}], to) {
					by = append(by, event)
				}
			}
			if len(by) > 0 {
				start := cmp.Or(from, "[*]")
				fmt.Fprintf(&out, "    %s --> %s: %s\n", start, to, strings.Join(by, ", "))
			}
		}
	}
	out.WriteString("```\n\n| event |")
	for _, state := range m.states {
		fmt.Fprintf(&out, " %s |", name(state))
	}
	out.WriteString("\n|" + strings.Repeat("---|", len(m.states)+1) + "\n")
	for _, event := range m.events {
		fmt.Fprintf(&out, "| %s |", event)
		for _, from := range m.states {
			var to []string
			for _, state := range m.to[[2]string{from, event}] {
				to = append(to, name(state))
			}
			fmt.Fprintf(&out, " %s |", strings.Join(to, ", "))
		}
		out.WriteString("\n")
	}
	return out.String()
}

// runMachine explores the states of a Run.
func runMachine() machine {
	spare := run.Runner{Name: runner(2, 1), State: run.Launched, Job: job(2), Scope: "octo/repo", For: 2}
	queuedAt := func(at time.Time) run.Event { return run.Queued{Job: job(1), At: at} }
	events := []run.Event{
		queuedAt(now), queuedAt(in(2 * time.Hour)),
		run.Held{Job: job(1), At: in(time.Hour)},
		run.Started{Job: job(1), Runner: runner(1, 1)},
		run.Started{Job: job(1)},
		run.Finished{Job: job(1), Conclusion: "success"},
		run.Finished{Job: job(1), Runner: runner(1, 1), Conclusion: "success"},
		run.Failed{Reason: "boom"},
		run.Failed{Reason: "no room", Limited: true},
		run.Failed{Reason: "no such group", Permanent: true},
		run.Vetted{Job: run.Job{Pool: "forks", Untrusted: "its code is that of mallory/repo (pull_request)"}},
		run.Placed{Runner: runner(1, 1)},
		run.Replayed{},
		run.Claimed{Runner: runner(1, 1)},
		run.Lost{Runner: runner(1, 1)},
		run.Lost{Runner: runner(1, 1), Spare: spare, From: 2},
		run.Lost{Runner: runner(2, 1)},
	}
	apply := func(r run.Run, ev run.Event, at time.Time) run.Run { after, _ := run.Decide(r, ev, at); return after }
	return explore([]string{"", "held", "waiting", "running", "done", "dead"}, events, []time.Time{now, in(run.GiveUpAfter)}, apply,
		func(r run.Run) string { return string(r.State) },
		func(r run.Run) (string, bool) {
			r.History, r.Reason = nil, "" // They tell, and decide nothing.
			return fmt.Sprint(r), r.Attempts <= 2 && r.Failures <= 1
		})
}

// runnerMachine explores the states of a Runner.
func runnerMachine() machine {
	events := []run.RunnerEvent{
		run.Wanted{Name: runner(1, 1), Job: job(1), Scope: "octo/repo"},
		run.Found{Name: runner(1, 1), Job: job(1), Scope: "octo/repo", SandboxID: "sb-1", CreatedAt: now},
		run.Registered{GitHubID: 77},
		run.Created{GitHubID: 77, SandboxID: "sb-1"},
		run.GivenUp{Reason: "boom"},
		run.Taken{Name: runner(1, 1), By: 1},
		run.Taken{Name: runner(1, 1), By: 2, Spare: runner(2, 1)},
		run.Taken{Name: runner(1, 1), GitHubID: 76, By: 3},
		run.Counted{For: 2, From: 1},
		run.Counted{For: 1},
		run.Released{Name: runner(1, 1), From: 1},
		run.Released{Name: runner(1, 1), From: 2},
		run.Occupied{},
		run.Overdue{},
		run.Gone{Reason: "idle"},
	}
	apply := func(r run.Runner, ev run.RunnerEvent, at time.Time) run.Runner {
		after, _ := run.DecideRunner(r, ev, at)
		return after
	}
	return explore([]string{"", "launching", "launched", "busy", "ended"}, events, []time.Time{now, in(2 * run.LaunchTimeout)}, apply,
		func(r run.Runner) string { return string(r.State) },
		func(r run.Runner) (string, bool) { return fmt.Sprint(r), true })
}

func TestTheStatesAreDrawnAsTheCodeHasThem(t *testing.T) {
	const file = "STATES.md"
	drawn := statesHead + runMachine().draw("Runs: the record of a job") + runnerMachine().draw("Runners: the record of a registration and its sandbox")
	if *update {
		if err := os.WriteFile(file, []byte(drawn), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(file)
	if diff := gocmp.Diff(string(committed), drawn); err != nil || diff != "" {
		t.Errorf("%v; `go test . -update` rewrites it: %s", err, diff)
	}
}
