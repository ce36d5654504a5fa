package operator

import (
	"fmt"
	"io"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/adminapi"
)

// PrintLog writes the end of a sandbox's log as it is, line by line, below one that says whose it is. What jobs write is in it,
// so nothing in it may command the terminal.
func PrintLog(w io.Writer, l adminapi.Log, _ time.Time) error {
	if _, err := fmt.Fprintf(w, "# %s in %s: %s\n", clean(l.Runner), clean(l.SandboxID), clean(l.How)); err != nil {
		return err
	}
	if l.Text == "" {
		_, err := fmt.Fprintln(w, "# it has said nothing yet")
		return err
	}
	for line := range strings.Lines(l.Text) {
		line = strings.TrimRight(line, "\r\n")
		if _, err := fmt.Fprintln(w, clean(strings.ReplaceAll(line, "\t", "    "))); err != nil {
			return err
		}
	}
	return nil
}
