package e2e_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of README.md instead of comparing them")

// What README.md shows between the markers of a name is what this command of a program prints.
var generatedParts = map[string][]string{
	"ingress configuration": {"services/ingress/cmd/ingress", "check", "--markdown"},
	"worker configuration":  {"services/worker/cmd/worker", "check", "--markdown"},
}

var generatedPart = regexp.MustCompile(`(?s)<!-- BEGIN GENERATED: ([^>]+) -->\n(.*?)<!-- END GENERATED: ([^>]+) -->\n`)

func TestREADMEShowsWhatTheProgramsSay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(repositoryRoot(t), "README.md")
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	shown := map[string]bool{}
	fresh := generatedPart.ReplaceAllStringFunc(string(readme), func(part string) string {
		match := generatedPart.FindStringSubmatch(part)
		name, body, end := match[1], match[2], match[3]
		command, known := generatedParts[name]
		if !known || end != name || shown[name] {
			t.Errorf("part %q that ends as %q: must be a known one, once, with the same name at both ends", name, end)
			return part
		}
		shown[name] = true
		want := "\n" + strings.TrimSpace(string(runProgram(t, command))) + "\n\n"
		if body != want && !*update {
			t.Errorf("part %q is stale: run make docs", name)
		}
		return "<!-- BEGIN GENERATED: " + name + " -->\n" + want + "<!-- END GENERATED: " + name + " -->\n"
	})
	for name := range generatedParts {
		if !shown[name] {
			t.Errorf("part %q is missing: README.md needs its two markers", name)
		}
	}

	if *update && !t.Failed() {
		if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// runProgram returns what a command of this repository prints. It builds as `make build` does, from the same cache.
func runProgram(t *testing.T, command []string) []byte {
	t.Helper()
	return goTool(t, append([]string{"run", "-trimpath", ours + command[0]}, command[1:]...)...)
}
