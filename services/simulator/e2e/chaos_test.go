package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/demo"
	"modal-github-runner/services/simulator/internal/demo/process"
	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

var (
	chaosTime = flag.Duration("chaos-time", time.Minute, "how long TestChaos lets things go wrong")
	chaosSeed = flag.Uint64("chaos-seed", 1, "decides what goes wrong in TestChaos, and when")
	chaosRate = flag.Float64("chaos-rate", 1, "jobs per second in TestChaos")
)

const (
	// settleLimit is how long after the last fault everything must be served and gone: two rounds of the sweeps, that come
	// every two minutes and leave alone what is younger than two, and a retry put off for the longest, five minutes.
	settleLimit = 10 * time.Minute
	// chaosTick is how often the schedule and the state are looked at.
	chaosTick = 100 * time.Millisecond
	// settleNotice is how often it is said how far everything is.
	settleNotice = 15 * time.Second
)

// background is what GitHub and Modal get wrong all the time.
var background = []fault.Rule{
	{Op: "webhook.*", Probability: 0.05, Error: "lost"},
	{Op: "webhook.*", Probability: 0.05, Error: "duplicate"},
	{Op: "github.generate-jitconfig", Probability: 0.02, Error: "502", After: true},
	{Op: "modal.SandboxCreateV2", Probability: 0.05, Error: "UNAVAILABLE"},
	{Op: "modal.SandboxCreateV2", Probability: 0.02, Error: "INTERNAL", After: true},
}

// TestChaos has machines die, hang and come back, and links fail, while jobs come in. Then everything is well again, and within
// a bound every job must have been served once, and nothing of it be left.
func TestChaos(t *testing.T) {
	long(t)
	l := newLinks(t)
	s := start(t, rig.Options{Ingresses: chaosIngresses, Workers: chaosWorkers, Via: l.via})
	c := &chaos{judge: newJudge(s, *chaosRate), links: l, done: map[string]int{}}
	if err := s.Simulator.SetFaults(t.Context(), background...); err != nil {
		t.Fatal(err)
	}
	o := workload.Options{
		Jobs: int(chaosTime.Seconds() * *chaosRate), Rate: *chaosRate, Seed: *chaosSeed, Witness: filepath.Join(t.TempDir(), "witness"),
	}
	c.rage(schedule(*chaosSeed, *chaosTime), workload.Plan(o))
	healed := time.Now()
	final := c.settle(o.Jobs)
	c.verdict(final, o, time.Since(healed))
	for kind := range c.done {
		if id, known := faults[kind]; known {
			covers(t, id)
		}
	}
}

type chaos struct {
	*judge

	links *links
	done  map[string]int // mishaps, by their kind
}

// sayf prints a line while the test runs.
func (c *chaos) sayf(format string, args ...any) {
	fmt.Fprintf(c.t.Output(), "chaos: "+format+"\n", args...)
}

// rage dispatches the workload and has everything go wrong that the schedule says. In the end all is well again.
func (c *chaos) rage(turns []turn, plan []workload.Dispatch) {
	c.t.Helper()
	began := time.Now()
	ticker := time.NewTicker(chaosTick)
	defer ticker.Stop()
	for len(turns) > 0 || len(plan) > 0 {
		now := time.Since(began)
		for ; len(turns) > 0 && turns[0].At <= now; turns = turns[1:] {
			c.take(turns[0])
		}
		for ; len(plan) > 0 && plan[0].At <= now; plan = plan[1:] {
			if err := c.Simulator.Dispatch(c.t.Context(), plan[0].Workflow); err != nil {
				c.t.Fatal(err)
			}
		}
		if err := c.Check(); err != nil {
			c.t.Fatal(err)
		}
		c.look(c.t.Context())
		<-ticker.C
	}
	if err := c.Simulator.SetFaults(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// take begins or ends a mishap.
func (c *chaos) take(now turn) {
	c.t.Helper()
	var err error
	link := rig.Link{From: now.Program, To: now.To}
	switch {
	case now.Begin && now.To != "":
		c.links.poison(link, now.Toxics...)
	case now.To != "":
		c.links.heal(link)
	case now.Begin && now.What == kill:
		err = c.process(now.Program).Kill()
	case now.What == kill:
		err = c.restart(now.Program)
	case now.Begin:
		err = c.process(now.Program).Freeze()
	default:
		err = c.process(now.Program).Continue()
	}
	if err != nil {
		c.t.Fatalf("%s: %v", now.kind(), err)
	}
	switch broker := now.Program == "nats-server"; {
	case broker && now.Begin:
		c.brokerGoes()
	case broker:
		c.brokerIsBack()
	}
	if now.Begin {
		c.done[now.kind()]++
		c.sayf("%5.1f s: %v", now.At.Seconds(), now.mishap)
	}
}

// process is the program of the name.
func (s *system) process(name string) *process.Process {
	if name == "nats-server" {
		return s.NATS()
	}
	if program(name) == "ingress" {
		return s.Ingress(number(name))
	}
	return s.Worker(number(name))
}

func (s *system) restart(name string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), soon)
	defer cancel()
	switch program(name) {
	case "nats-server":
		return s.StartNATS(ctx)
	case "ingress":
		return s.StartIngress(ctx, number(name))
	default:
		return s.StartWorker(ctx, number(name))
	}
}

// number is the rig's of a program whose name ends in its number.
func number(name string) int { return int(name[len(name)-1] - '1') }

// settle waits until all jobs have ended and nothing of them is left, or for as long as that may take.
func (c *chaos) settle(jobs int) report.Report {
	c.t.Helper()
	deadline := time.Now().Add(settleLimit)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var last time.Time
	for {
		now, err := demo.Observe(c.t.Context(), c.Rig)
		if err != nil {
			c.t.Fatal(err)
		}
		if (now.Counts().Done() == jobs && now.Leaked() == 0) || time.Now().After(deadline) {
			return now
		}
		c.look(c.t.Context())
		if time.Since(last) >= settleNotice {
			last = time.Now()
			c.sayf("all is well again: %d of %d jobs have ended, %d sandboxes run, %d runners are registered",
				now.Counts().Done(), jobs, len(now.Sandboxes), len(now.Registrations))
		}
		<-ticker.C
	}
}

// verdict says how it went, by the invariants, what GitHub and Modal saw, and what the jobs themselves wrote.
func (c *chaos) verdict(final report.Report, o workload.Options, took time.Duration) {
	c.t.Helper()
	violations, interrupted := c.served(c.t.Context())
	modal := c.modal(c.t.Context())
	github := c.github(c.t.Context())
	for _, j := range final.Jobs {
		if j.Conclusion != world.Success { // Even one that was given up for a reason.
			c.t.Errorf("job %s (%d) is %s %s on %q: %s", j.Name, j.ID, j.Status, j.Conclusion, j.RunnerName, j.Reason)
		}
	}
	c.ranOnce(o)
	counts := final.Counts()
	c.sayf("seed %d, %s of mishaps: %s", *chaosSeed, *chaosTime, list(c.done))
	c.sayf("faults of GitHub and Modal: %s", list(github.Faults))
	c.sayf("webhooks: %+v", github.Deliveries)
	c.sayf("%d looks at the world, at %d of them at what the broker had, %d violations of invariants", c.looks, c.insights, violations)
	c.sayf("%d jobs, %d succeeded, %d failed, %d sandboxes, settled in %s, %d interrupted, %d lost, %d leaked", o.Jobs, counts.Succeeded,
		counts.Failed, len(modal.Sandboxes), took.Round(time.Second), interrupted, o.Jobs-counts.Done(), final.Leaked())
}

// list prints counts in the order of their names.
func list(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}
