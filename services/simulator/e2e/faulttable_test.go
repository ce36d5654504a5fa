package e2e_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"modal-github-runner/services/internal/faultstest"
)

var faultRecords = flag.String("faults", "", "the folder in which the tests recorded the faults that they made happen")

const (
	// leastCovered is how many of the faults a test makes happen, at least.
	leastCovered = 55
	// simulatorREADME holds the table.
	simulatorREADME = "services/simulator/README.md"
	// faultMark is the line before it.
	faultMark = "<!-- BEGIN GENERATED: faults -->\n"
)

// testsOf are the names of tests by the folder of their package.
type testsOf map[string][]string

// add does so once.
func (t testsOf) add(dir, test string) {
	if !slices.Contains(t[dir], test) {
		t[dir] = append(t[dir], test)
	}
}

// String is a cell of the table: a line for each package.
func (t testsOf) String() string {
	var lines []string
	for _, dir := range slices.Sorted(maps.Keys(t)) {
		lines = append(lines, fmt.Sprintf("`%s` %s", strings.TrimPrefix(dir, "services/"), strings.Join(slices.Sorted(slices.Values(t[dir])), ", ")))
	}
	return strings.Join(lines, "<br>")
}

// parseTests reads a cell.
func parseTests(t *testing.T, cell string) testsOf {
	t.Helper()
	tests := testsOf{}
	for line := range strings.SplitSeq(cell, "<br>") {
		dir, names, found := strings.Cut(strings.TrimPrefix(line, "`"), "` ")
		if cell != "" && !found {
			t.Errorf("cell %q: must be lines of a package and its tests", cell)
		}
		for name := range strings.SplitSeq(names, ", ") {
			if found {
				tests.add("services/"+dir, name)
			}
		}
	}
	return tests
}

// coverage is which tests make a fault happen: those that make test runs, and those that run only where there is time.
type coverage struct{ short, long testsOf }

func (c coverage) none() bool { return len(c.short)+len(c.long) == 0 }

// tableLine is what faultTable makes of a row.
var tableLine = regexp.MustCompile(`(?m)^\| (F\d\d) \|[^|]*\| (.*?) ?\| (.*?) ?\|$`)

func faultTable(covered map[string]coverage) string {
	var b strings.Builder
	b.WriteString("\n| | what goes wrong | shown by `make test` | and by `make e2e` or `make chaos` only |\n|---|---|---|---|\n")
	n := 0
	for _, row := range faultRows {
		c := covered[row.id]
		short := c.short.String()
		if c.none() {
			short = "*not covered*: " + row.uncovered
		} else {
			n++
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.id, row.what, short, c.long)
	}
	fmt.Fprintf(&b, "\n%d of %d are covered.\n\n", n, len(faultRows))
	return b.String()
}

// shownFaults returns README.md's table, and what it says.
func shownFaults(t *testing.T) (string, map[string]coverage) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(repositoryRoot(t), simulatorREADME))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range generatedPart.FindAllStringSubmatch(string(readme), -1) {
		if part[1] != "faults" {
			continue
		}
		shown := map[string]coverage{}
		for _, line := range tableLine.FindAllStringSubmatch(part[2], -1) {
			if !strings.HasPrefix(line[2], "*not covered*") {
				shown[line[1]] = coverage{parseTests(t, line[2]), parseTests(t, line[3])}
			}
		}
		return part[2], shown
	}
	t.Fatalf("%s: must have a generated part %q", simulatorREADME, "faults")
	return "", nil
}

// TestTheTableOfFaultsNamesTestsThatExist looks at README.md alone.
func TestTheTableOfFaultsNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	table, shown := shownFaults(t)
	if want := faultTable(shown); table != want {
		t.Errorf("the table is not what it is made of, run make faults:\n%s", want)
	}
	if len(shown) < leastCovered {
		t.Errorf("%d faults are covered, want at least %d", len(shown), leastCovered)
	}
	for id, c := range shown {
		for _, tests := range []testsOf{c.short, c.long} {
			for dir, names := range tests {
				for _, name := range names {
					if !declared(t, dir, name) {
						t.Errorf("%s: %s has no test %s", id, dir, name)
					}
				}
			}
		}
	}
}

// declared reports whether a package has the test.
func declared(t *testing.T, dir, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repositoryRoot(t), dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		return strings.Contains(string(readFile(t, file)), "\nfunc "+test+"(")
	})
}

// TestTheTableOfFaultsSaysWhatTheTestsDid compares it with the records of a run of make test, or makes it anew. What runs only
// where there is time is as the table says, unless that has left records and the table is made anew.
func TestTheTableOfFaultsSaysWhatTheTestsDid(t *testing.T) {
	if *faultRecords == "" {
		t.Skip("needs the records of all other tests: run make faults-check after make test")
	}
	records, err := faultstest.Read(*faultRecords)
	if err != nil {
		t.Fatal(err)
	}
	table, shown := shownFaults(t)
	fresh := recorded(t, records)
	ranLong := slices.ContainsFunc(records, func(r faultstest.Record) bool { return !r.Short })
	for _, row := range faultRows {
		c := fresh[row.id]
		if !*update || !ranLong {
			c.long = shown[row.id].long
		}
		fresh[row.id] = c
		if c.none() == (row.uncovered == "") {
			t.Errorf("%s: must have a test or a reason why there is none, and not both (got tests %q, reason %q)", row.id, c.short, row.uncovered)
		}
	}
	want := faultTable(fresh)
	switch {
	case t.Failed() || table == want:
	case *update:
		path := filepath.Join(repositoryRoot(t), simulatorREADME)
		if err := os.WriteFile(path, []byte(strings.Replace(string(readFile(t, path)), faultMark+table, faultMark+want, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the tests made other faults happen than the table of %s says, run make faults:\n%s", simulatorREADME, changes(table, want))
	}
}

// recorded sorts records by rows. What make test runs is none of what runs only where there is time.
func recorded(t *testing.T, records []faultstest.Record) map[string]coverage {
	t.Helper()
	covered := map[string]coverage{}
	slices.SortStableFunc(records, func(a, b faultstest.Record) int { return cmp.Compare(mode(a), mode(b)) })
	for _, r := range records {
		if !slices.ContainsFunc(faultRows, func(row faultRow) bool { return row.id == r.Row }) {
			t.Errorf("%s of %s covers %s, which is no fault", r.Test, r.Package, r.Row)
		}
		c, known := covered[r.Row]
		if !known {
			c = coverage{testsOf{}, testsOf{}}
		}
		test, _, _ := strings.Cut(r.Test, "/")
		switch {
		case r.Short:
			c.short.add(r.Package, test)
		case !slices.Contains(c.short[r.Package], test):
			c.long.add(r.Package, test)
		}
		covered[r.Row] = c
	}
	return covered
}

// mode sorts short records before the others.
func mode(r faultstest.Record) int {
	if r.Short {
		return 0
	}
	return 1
}

// changes are the lines of which one text has no equal in the other.
func changes(before, after string) string {
	var b strings.Builder
	old, fresh := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range old {
		if !slices.Contains(fresh, line) {
			fmt.Fprintln(&b, "-", line)
		}
	}
	for _, line := range fresh {
		if !slices.Contains(old, line) {
			fmt.Fprintln(&b, "+", line)
		}
	}
	return b.String()
}
