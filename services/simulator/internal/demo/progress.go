package demo

import (
	"fmt"
	"io"
	"os"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
)

// lineInterval is how often a line is written where none can be overwritten.
const lineInterval = time.Second

// progress shows how far the jobs are: on a terminal in one line that changes, elsewhere in a line every second.
type progress struct {
	out      io.Writer
	jobs     int
	began    time.Time
	last     time.Time
	terminal bool
}

func newProgress(out io.Writer, jobs int) *progress {
	return &progress{out: out, jobs: jobs, began: time.Now(), terminal: isTerminal(out)}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) update(c report.Counts) {
	if !p.terminal && time.Since(p.last) < lineInterval {
		return
	}
	p.last = time.Now()
	before, after := "", "\n"
	if p.terminal {
		before, after = "\r\x1b[K", "" // to the start of the line, and clear it
	}
	fmt.Fprintf(p.out, "%s%4ds  queued %d  launched %d  running %d  done %d of %d%s",
		before, int(time.Since(p.began).Seconds()), c.Queued, c.Launched, c.Running, c.Done(), p.jobs, after)
}

// note writes a line of its own.
func (p *progress) note(line string) {
	p.end()
	fmt.Fprintln(p.out, line)
}

// end leaves the line that changes.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprintln(p.out)
	}
}
