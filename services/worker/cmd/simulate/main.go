// Command simulate plays through bad days: the worker's rules, its shell and its sweeps, among models of GitHub, Modal and
// NATS in which everything goes wrong. It exits with 1 if an invariant was violated.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"modal-github-runner/services/worker/internal/exact"
)

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

func main() {
	var o options
	kong.Parse(&o, kong.Name("simulate"), kong.Description("Simulates the worker's rules among models of GitHub, Modal and NATS."))
	violated := 0
	for n := range o.Seeds {
		story := exact.Options{Seed: o.Seed + uint64(n), Jobs: o.Jobs, Safety: o.Safety, SurplusLimit: o.SurplusLimit, Intensity: o.Intensity}
		if o.Calm {
			story.Intensity = exact.Calm
		}
		if o.Story {
			story.Story = os.Stdout
		}
		violated += exact.Play(os.Stdout, story, o.Shrink)
	}
	fmt.Fprintf(os.Stdout, "simulate: %d seeds, %d violations of invariants\n", o.Seeds, violated)
	if violated > 0 {
		os.Exit(1)
	}
}
