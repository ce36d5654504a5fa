package sweep

import (
	"maps"
	"slices"
)

// turn has each of many things come up before any comes up again.
type turn struct{ last string }

// names returns at most n names of those whose turn it is.
func names[V any](t *turn, things map[string]V, n int) []string {
	sorted := slices.Sorted(maps.Keys(things))
	after, found := slices.BinarySearch(sorted, t.last)
	if found {
		after++
	}
	sorted = append(sorted[after:len(sorted):len(sorted)], sorted[:after]...)
	sorted = sorted[:min(n, len(sorted))]
	if len(sorted) > 0 {
		t.last = sorted[len(sorted)-1]
	}
	return sorted
}
