// Package environ says whose the names in an environment are: a program's own, misspelt, or put there by Kubernetes.
//
// What may never happen here: a read of the process environment (the caller passes it), and a value in an error, since a
// misspelt name may well hold a secret.
package environ

import (
	"fmt"
	"slices"
	"strings"
)

// Parse turns "NAME=value" entries, as [os.Environ] returns them, into a map. Of two equal names the first counts, as for
// the C library and package os. An empty value counts as absent, because that is what compose files and unit files make of
// an unset one.
func Parse(entries []string) map[string]string {
	env := make(map[string]string, len(entries))
	for _, entry := range entries {
		name, value, _ := strings.Cut(entry, "=")
		if _, seen := env[name]; !seen && value != "" {
			env[name] = value
		}
	}
	return env
}

// Unknown returns an error for each variable, in order of their names, that starts with one of the prefixes ("APP_") and is
// not known, unless Kubernetes put it there for a service of that name.
func Unknown(env map[string]string, known, prefixes []string) []error {
	var errs []error
	for name, value := range env {
		at := slices.IndexFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if at >= 0 && !slices.Contains(known, name) && !isServiceLink(name, value, prefixes[at]) {
			errs = append(errs, fmt.Errorf("%s: is not a known variable%s", name, suggestion(name, known)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

// suggestion names the known variable that may have been meant, if one is so near that it is more than a guess.
func suggestion(name string, known []string) string {
	const most, lettersPerTypo = 3, 4
	limit := min(most, len(name)/lettersPerTypo)
	best := ""
	for _, candidate := range known {
		if d := distance(name, candidate); d <= limit {
			best, limit = candidate, d-1
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// distance is Levenshtein's, over bytes: names of variables are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
