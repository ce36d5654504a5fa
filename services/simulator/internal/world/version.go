package world

import (
	"slices"
	"strconv"
	"strings"
)

// olderThan compares dotted numbers; an empty limit is older than all.
func olderThan(version, limit string) bool {
	if limit == "" {
		return false
	}
	return slices.Compare(numbers(version), numbers(limit)) < 0
}

func numbers(version string) []int {
	var out []int
	for part := range strings.SplitSeq(strings.TrimPrefix(version, "v"), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return out // what is not a number, ends the comparison
		}
		out = append(out, n)
	}
	return out
}
