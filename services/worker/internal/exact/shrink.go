package exact

import (
	"io"
	"maps"
	"slices"
)

// maxTries bounds what shrinking costs: so many stories, each shorter than the last that was of use.
const maxTries = 150

// Shrink looks for a smaller story in which the same invariant is violated: without the faults and the jobs that do not matter.
// It returns the options of the smallest that it found and what came of it, with its story if story is not nil.
func Shrink(o Options, found Violation, story io.Writer) (Options, Result) {
	tries := 0
	fails := func(o Options) bool {
		tries++
		r := New(o).Run()
		return slices.ContainsFunc(r.Violations, func(v Violation) bool { return v.Invariant == found.Invariant })
	}
	o.Story = nil
	if o.Only == nil {
		o.Only = map[int64]bool{}
		for id := range int64(o.Jobs) {
			o.Only[id+1] = true
		}
	}
	o = withFewerJobs(o, fails, &tries)
	o = withFewerFaults(o, fails, &tries)
	o = withFewerJobs(o, fails, &tries)
	o.Story = story
	return o, New(o).Run()
}

func withFewerFaults(o Options, fails func(Options) bool, tries *int) Options {
	for _, f := range Faults() {
		if o.Without[f] || *tries >= maxTries {
			continue
		}
		fewer := o
		fewer.Without = map[Fault]bool{f: true}
		maps.Copy(fewer.Without, o.Without)
		if fails(fewer) {
			o = fewer
		}
	}
	return o
}

// withFewerJobs leaves out parts of the jobs, ever smaller ones.
func withFewerJobs(o Options, fails func(Options) bool, tries *int) Options {
	for size := (len(o.Only) + 1) / 2; size > 0 && *tries < maxTries; size /= 2 {
		for part := range slices.Chunk(slices.Sorted(maps.Keys(o.Only)), size) {
			if *tries >= maxTries || len(o.Only) <= 1 {
				break
			}
			fewer := o
			fewer.Only = maps.Clone(o.Only)
			for _, id := range part {
				delete(fewer.Only, id)
			}
			if fails(fewer) {
				o = fewer
			}
		}
	}
	return o
}
