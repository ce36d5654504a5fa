package e2e_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEachFeatureNamesATestThatExistsOrIsNotYetThere keeps the table of features from promising what nothing shows.
func TestEachFeatureNamesATestThatExistsOrIsNotYetThere(t *testing.T) {
	table := readFile(t, filepath.Join(repositoryRoot(t), "deployments", "FEATURES.md"))
	named := regexp.MustCompile("`([a-z0-9/]+)` `(Test[A-Za-z0-9]+)`")
	rows := 0
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| Feature") {
			continue
		}
		rows++
		shown := strings.TrimSpace(cells[2])
		tests := named.FindAllStringSubmatch(shown, -1)
		if len(tests) == 0 && shown != "*not yet*" && shown != "`make compose-test`" {
			t.Errorf("%s: shown by %s", cells[0], shown)
		}
		for _, test := range tests {
			if !declared(t, test[1], test[2]) {
				t.Errorf("%s: %s has no %s", cells[0], test[1], test[2])
			}
		}
	}
	if rows < 40 {
		t.Errorf("the table has %d rows", rows)
	}
}
