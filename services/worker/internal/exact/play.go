package exact

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Play tells a story and writes what came of it: a summary, what went wrong, what the sweeps found, how often each invariant was
// held against the world, what is excused, and each violation. With shrink, the story of the first one follows, with the jobs and faults
// that matter. It returns how many violations there were, and how much was excused.
func Play(out io.Writer, o Options, shrink bool) (violated, excused int) {
	result := New(o).Run()
	fmt.Fprintln(out, result)
	fmt.Fprintf(out, "\nwhat went wrong on purpose, and how often:\n%s", Tally(result.Faults))
	fmt.Fprintf(out, "\nwhat the sweeps found and set right:\n%s", Tally(result.Swept))
	fmt.Fprintf(out, "\nwhat must always hold:\n%s\n", result.verdicts())
	if len(result.Excused) > 0 {
		fmt.Fprintf(out, "what does not hold, and is excused:\n%s\n", Tally(result.Excused))
	}
	for _, v := range result.Violations {
		fmt.Fprintln(out, "VIOLATED", v)
	}
	if shrink && len(result.Violations) > 0 {
		fmt.Fprintln(out, "shrinking the first one ...")
		var told strings.Builder
		smaller, shrunk := Shrink(o, result.Violations[0], &told)
		fmt.Fprintf(out, "the same with %d of the jobs, and no fault but\n%s%s%s\n", len(smaller.Only), Tally(shrunk.Faults), told.String(), shrunk)
	}
	return len(result.Violations), result.excuses()
}

// verdicts is a table of the invariants: how often each was checked, and how often it was violated.
func (r Result) verdicts() string {
	violated := map[string]int{}
	for _, v := range r.Violations {
		violated[v.Invariant]++
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "checked\tviolated\t\t")
	for _, i := range Invariants() {
		fmt.Fprintf(t, "%d\t%d\t%s\t  %s\n", r.Checks[i.ID], violated[i.ID], i.ID, i.Says)
	}
	_ = t.Flush() // A strings.Builder takes everything.
	return b.String()
}

// inWords lists counts in one line, the largest first.
func inWords(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for n, name := range names {
		names[n] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return strings.Join(names, ", ")
}
