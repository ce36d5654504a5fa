// Command simulate plays through bad days: the worker's rules, its shell and its sweeps, among models of GitHub, Modal and
// NATS in which everything goes wrong. It exits with 1 if an invariant was violated, and with 2 if it was called wrongly.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"modal-github-runner/services/worker/internal/exact"
)

// maxIntensity is where much of what can go wrong does so each time.
const maxIntensity = 20

type options struct {
	Jobs         int           `default:"50000" help:"How many jobs come."`
	Seed         uint64        `default:"1" help:"The first seed. The same seed is the same story."`
	Seeds        int           `default:"1" help:"How many seeds, one after the other."`
	SurplusLimit time.Duration `default:"15m" help:"How long a sandbox may live of which nobody has any use."`
	Intensity    float64       `default:"1" help:"How often things go wrong, against the usual."`
	Safety       bool          `help:"Faults never stop: nobody is promised to be served, but nothing forbidden may happen."`
	Calm         bool          `help:"Nothing goes wrong, but what people do: jobs are cancelled and held, and take each other's runners."`
	Story        bool          `help:"Print all that happens."`
	Shrink       bool          `default:"true" negatable:"" help:"Shrink the first violation to the jobs and faults that matter."`
}

// Validate reports every mistake in the command line.
func (o options) Validate() error {
	var errs []error
	check := func(ok bool, name, rule string, value any) {
		if !ok {
			errs = append(errs, fmt.Errorf("--%s: must be %s (got %v)", name, rule, value))
		}
	}
	check(o.Jobs >= 1, "jobs", "at least 1", o.Jobs)
	check(o.Seeds >= 1, "seeds", "at least 1", o.Seeds)
	check(o.SurplusLimit > 0, "surplus-limit", "above 0s", o.SurplusLimit)
	check(o.Intensity > 0 && o.Intensity <= maxIntensity, "intensity",
		fmt.Sprintf("above 0 and at most %d, or --calm for no faults", maxIntensity), o.Intensity)
	return errors.Join(errs...)
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	parser, err := kong.New(&o, kong.Name("simulate"), kong.Writers(stdout, stderr),
		kong.Description("Simulates the worker's rules among models of GitHub, Modal and NATS."))
	if err != nil {
		panic(err) // only a wrong tag above can cause it
	}
	if _, err := parser.Parse(args); err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	violated := 0
	for n := range o.Seeds {
		story := exact.Options{Seed: o.Seed + uint64(n), Jobs: o.Jobs, Safety: o.Safety, SurplusLimit: o.SurplusLimit, Intensity: o.Intensity}
		if o.Calm {
			story.Intensity = exact.Calm
		}
		if o.Story {
			story.Story = stdout
		}
		fmt.Fprintf(stdout, "simulate: playing %s of seed %d\n", count(story.Jobs, "job"), story.Seed)
		violated += exact.Play(stdout, story, o.Shrink)
	}
	fmt.Fprintf(stdout, "simulate: %s, %s of invariants\n", count(o.Seeds, "seed"), count(violated, "violation"))
	if violated > 0 {
		return 1
	}
	return 0
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
