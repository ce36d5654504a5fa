package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/demo/report"
)

// lineInterval is how often a line is written where none can be overwritten.
const lineInterval = time.Second

// screen is where the demo prints, from any goroutine. A write that fails ends the demo: nobody reads on.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	stop     context.CancelCauseFunc
	terminal bool
}

func newScreen(out io.Writer, stop context.CancelCauseFunc) *screen {
	return &screen{out: out, stop: stop, terminal: isTerminal(out)}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Write implements io.Writer.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.out.Write(text)
	if err != nil {
		s.stop(fmt.Errorf("nobody reads what the demo prints: %w", err))
	}
	return n, err
}

// progress shows how far the jobs are: on a terminal in one line that changes, elsewhere in a line every second.
type progress struct {
	*screen

	jobs  int
	began time.Time
	last  time.Time
}

func newProgress(s *screen, jobs int) *progress {
	return &progress{screen: s, jobs: jobs, began: time.Now()}
}

func (p *progress) update(now report.Report) {
	if !p.terminal && time.Since(p.last) < lineInterval {
		return
	}
	p.last = time.Now()
	before, after := "", "\n"
	if p.terminal {
		before, after = "\r\x1b[K", "" // to the start of the line, and clear it
	}
	fmt.Fprintf(p, "%s%4ds  %s%s", before, int(time.Since(p.began).Seconds()), p.state(now), after)
}

// state is what is waited for: jobs, then runners that no job took, then what GitHub still has of them.
func (p *progress) state(now report.Report) string {
	c := now.Counts()
	surplus := len(now.Surplus())
	switch ended := c.Done() == p.jobs; {
	case ended && surplus > 0:
		return fmt.Sprintf("done %d of %d, waiting for %d surplus runners to end", c.Done(), p.jobs, surplus)
	case ended && len(now.Sandboxes) == 0 && now.Refusals > 0:
		return fmt.Sprintf("done %d of %d, waiting for %d registrations to be deleted: there were too many calls for GitHub's limits",
			c.Done(), p.jobs, len(now.Registrations))
	default:
		return fmt.Sprintf("queued %d  launched %d  running %d  done %d of %d", c.Queued, c.Launched, c.Running, c.Done(), p.jobs)
	}
}

// note writes a line of its own.
func (p *progress) note(line string) {
	p.end()
	fmt.Fprintln(p, line)
}

// end leaves the line that changes.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprintln(p)
	}
}
