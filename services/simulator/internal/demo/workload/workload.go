// Package workload makes up workflow runs as the repositories of a small company push them: bursts of runs with
// matrices, whose steps are real shell commands. It is pure: the same options give the same workload.
package workload

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/world"
)

const (
	// maxMatrix is the largest number of jobs in one run.
	maxMatrix = 8
	// minBurst and burstGap make the default pattern: a burst of at least so many jobs, then a pause.
	minBurst  = 8
	burstGap  = 1500 * time.Millisecond
	maxBursts = 10
	// The time that a job waits as if for a service, in milliseconds.
	minSleep, maxSleep = 200, 2000
)

// Owner is an account and its private repositories.
type Owner struct {
	Login string
	Org   bool
	Repos []string
}

// Owners are the accounts that a workload's repositories belong to.
func Owners() []Owner {
	return []Owner{
		{Login: "acme", Org: true, Repos: []string{"api", "web", "infra"}},
		{Login: "octo", Repos: []string{"tools"}},
	}
}

// Options of Plan.
type Options struct {
	// Jobs is how many jobs there are in all, Fail how many of them fail on purpose.
	Jobs, Fail int
	// Rate is jobs per second; 0 means bursts.
	Rate float64
	// Seed decides sizes, repositories, labels and durations.
	Seed uint64
	// Witness, if set, is a file to which each job appends a line with its name once.
	Witness string
}

// Dispatch is a workflow run, and when it is started after the first one.
type Dispatch struct {
	At       time.Duration
	Workflow world.Workflow
}

// Plan makes the runs, in order of their time. Every job's name is unique, and its labels select the pool "modal".
func Plan(o Options) []Dispatch {
	p := planner{Options: o, rnd: rand.New(rand.NewPCG(o.Seed, 0))} //nolint:gosec // reproducible by design
	var plan []Dispatch
	for p.made < o.Jobs {
		at := p.at()
		plan = append(plan, Dispatch{At: at, Workflow: p.workflow(min(1+p.rnd.IntN(maxMatrix), o.Jobs-p.made))})
	}
	return plan
}

type planner struct {
	Options

	rnd  *rand.Rand
	made int // jobs so far
}

// at is when the next run starts.
func (p *planner) at() time.Duration {
	if p.Rate > 0 {
		return time.Duration(float64(p.made) / p.Rate * float64(time.Second))
	}
	return time.Duration(p.made/max(minBurst, p.Jobs/maxBursts)) * burstGap
}

func (p *planner) workflow(size int) world.Workflow {
	owners := Owners()
	owner := owners[p.rnd.IntN(len(owners))]
	w := world.Workflow{Repo: owner.Login + "/" + owner.Repos[p.rnd.IntN(len(owner.Repos))], Name: "CI"}
	labels := [][]string{{"self-hosted", "modal"}, {"modal"}}[p.rnd.IntN(2)]
	for range size {
		p.made++
		w.Jobs = append(w.Jobs, world.JobSpec{Name: fmt.Sprintf("test-%03d", p.made), Labels: labels, Steps: p.steps(p.made)})
	}
	return w
}

// steps of the job with the number n, which counts from 1.
func (p *planner) steps(n int) []world.StepSpec {
	sleep := minSleep + p.rnd.IntN(maxSleep-minSleep)
	steps := []world.StepSpec{
		{Name: "Generate", Run: fmt.Sprintf("seq %d %d > numbers.txt\ncksum < numbers.txt > sum.txt", n, n+20_000)},
		{Name: "Wait", Run: fmt.Sprintf("sleep %d.%03d", sleep/1000, sleep%1000)},
		{Name: "Verify", Run: `[ "$(cksum < numbers.txt)" = "$(cat sum.txt)" ]`},
	}
	if p.Witness != "" {
		quoted := "'" + strings.ReplaceAll(p.Witness, "'", `'\''`) + "'"
		steps = append(steps, world.StepSpec{Name: "Witness", Run: fmt.Sprintf("echo test-%03d >> %s", n, quoted)})
	}
	if n <= p.Fail {
		steps = append(steps, world.StepSpec{Name: "Fail", Run: "echo asked to fail >&2\nexit 3"})
	}
	return steps
}
