// Command simulate plays through bad days: the worker's rules, its shell and its sweeps, among models of GitHub, Modal and
// NATS in which everything goes wrong. It exits with 1 if an invariant was violated, and with 2 if it was called wrongly. What does not
// hold, and is excused, it tells.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"modal-github-runner/services/worker/internal/exact"
)

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
	violated, excused := 0, 0
	for n := range o.Seeds {
		story := exact.Options{
			Seed: o.Seed + uint64(n), Jobs: o.Jobs, Safety: o.Safety, SurplusLimit: o.SurplusLimit, Intensity: o.Intensity,
			MaxSandboxes: o.MaxSandboxes, Warm: o.Warm,
		}
		if o.Calm {
			story.Intensity = exact.Calm
		}
		if o.Story {
			story.Story = stdout
		}
		fmt.Fprintf(stdout, "simulate: playing %s of seed %d\n", count(story.Jobs, "job"), story.Seed)
		v, e := exact.Play(stdout, story, o.Shrink)
		violated, excused = violated+v, excused+e
	}
	fmt.Fprintf(stdout, "simulate: %s, %s of invariants, %d excused\n", count(o.Seeds, "seed"), count(violated, "violation"), excused)
	if violated > 0 {
		return 1
	}
	return 0
}
