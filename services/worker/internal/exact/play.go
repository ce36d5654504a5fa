package exact

import (
	"fmt"
	"io"
	"strings"
)

// Play tells a story and writes what came of it: a summary, what went wrong, what the sweeps found, how often each invariant was
// held against the world, and each violation. With shrink, the story of the first one follows, with the jobs and faults that
// matter. It returns how many violations there were.
func Play(out io.Writer, o Options, shrink bool) int {
	result := New(o).Run()
	fmt.Fprintln(out, result)
	fmt.Fprintf(out, "faults:\n%sfound by sweeps:\n%schecks:\n%s", Tally(result.Faults), Tally(result.Swept), Tally(result.Checks))
	for _, v := range result.Violations {
		fmt.Fprintln(out, "VIOLATED", v)
	}
	if shrink && len(result.Violations) > 0 {
		fmt.Fprintln(out, "shrinking the first one ...")
		var told strings.Builder
		smaller, shrunk := Shrink(o, result.Violations[0], &told)
		fmt.Fprintf(out, "the same with %d jobs, and no fault but\n%s%s%s\n", len(smaller.Only), Tally(shrunk.Faults), told.String(), shrunk)
	}
	return len(result.Violations)
}
