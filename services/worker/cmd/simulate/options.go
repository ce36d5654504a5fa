package main

import (
	"errors"
	"fmt"
	"time"
)

// maxIntensity is where much of what can go wrong does so each time.
const maxIntensity = 20

type options struct {
	Jobs         int           `default:"50000" help:"How many jobs come."`
	Seed         uint64        `default:"1" help:"The first seed. The same seed is the same story."`
	Seeds        int           `default:"1" help:"How many seeds, one after the other."`
	SurplusLimit time.Duration `default:"15m" help:"How long a sandbox may live of which nobody has any use."`
	MaxSandboxes int           `help:"How many sandboxes may exist at a time; 0 for any number."`
	Warm         int           `help:"How many sandboxes of a pool wait for a runner; 0 as the seed has it, which is up to 3, and less for none."`
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
	check(o.MaxSandboxes >= 0, "max-sandboxes", "at least 0", o.MaxSandboxes)
	check(o.SurplusLimit > 0, "surplus-limit", "above 0s", o.SurplusLimit)
	check(o.Intensity > 0 && o.Intensity <= maxIntensity, "intensity",
		fmt.Sprintf("above 0 and at most %d, or --calm for no faults", maxIntensity), o.Intensity)
	return errors.Join(errs...)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
