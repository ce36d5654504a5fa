package operator

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"modal-github-runner/services/worker/internal/adminapi"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/run"
)

const (
	timeForm = "2006-01-02 15:04:05"
	padding  = 2
	// maxReason is how much of a reason a list shows, in characters. An error of GitHub or Modal can be a page long.
	maxReason = 120
)

// table aligns cells in columns. What the cells say came from webhooks and error texts, so nothing in them may command the
// terminal or break a line.
type table struct {
	to      io.Writer
	aligned *strings.Builder
	cells   *tabwriter.Writer
}

func newTable(w io.Writer) table {
	aligned := &strings.Builder{}
	return table{to: w, aligned: aligned, cells: tabwriter.NewWriter(aligned, 0, 0, padding, ' ', 0)}
}

func (t table) row(cells ...string) {
	for n, cell := range cells {
		cells[n] = clean(cell)
	}
	fmt.Fprintln(t.cells, strings.Join(cells, "\t"))
}

// flush writes the rows, without the spaces that would align nothing.
func (t table) flush() error {
	if err := t.cells.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(t.aligned.String()) {
		if _, err := fmt.Fprintln(t.to, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func clean(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '·'
	}, text)
}

// PrintJobs writes a list of jobs, as seen at now.
func PrintJobs(w io.Writer, list adminapi.Jobs, now time.Time) error {
	if len(list.Jobs) == 0 {
		_, err := fmt.Fprintln(w, "no jobs")
		return err
	}
	t := newTable(w)
	t.row("JOB", "STATE", "FOR", "ATTEMPTS", "REPOSITORY", "NAME", "REASON")
	cut := false
	for _, j := range list.Jobs {
		reason := brief(j.Reason, &cut)
		t.row(strconv.FormatInt(j.ID, 10), string(j.State), ago(j.Since, now), strconv.Itoa(j.Attempts), j.Repo, title(j), reason)
	}
	return footnotes(w, t, list.LeftOff, cut, "worker explain JOB")
}

// PrintExplanation writes what became of a job and why, as seen at now.
func PrintExplanation(w io.Writer, e adminapi.Explanation, now time.Time) error {
	t := newTable(w)
	t.row("job", fmt.Sprintf("%d of %s, %s", e.ID, e.Repo, title(e.Summary)))
	t.row("state", fmt.Sprintf("%s for %s%s", e.State, ago(e.Since, now), outcome(e)))
	if e.WaitsFor != "" {
		t.row("waits for", e.WaitsFor)
	}
	t.row("run", fmt.Sprintf("%d, attempt %d, branch %s", e.RunID, e.RunAttempt, orDash(e.Branch)))
	t.row("labels", strings.Join(e.Labels, ", "))
	if len(e.Capped) > 0 {
		t.row("capped", fmt.Sprintf("it gets %s: as an untrusted job, as much as pool %s lets it have", strings.Join(e.Capped, ", "), e.Pool))
	}
	if e.Cost > 0 {
		t.row("cost", usd(e.Cost))
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = newTable(w)
	t.row("TIME (UTC)", "AGO", "RUNNER", "WHAT (EVENT)")
	for _, m := range e.Timeline {
		t.row(m.At.UTC().Format(timeForm), ago(m.At, now), orDash(m.Runner), m.Text+event(m))
	}
	if len(e.Runners) == 0 {
		return t.flush()
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = newTable(w)
	t.row("RUNNER", "STATE", "COUNTS FOR", "TOOK", "SANDBOX", "REASON")
	for _, r := range e.Runners {
		t.row(r.Name, string(r.State), id(r.CountsFor), id(r.Took), orDash(r.SandboxID), brief(r.Reason, new(bool))) // The timeline has all of it.
	}
	return t.flush()
}

// event is what a moment comes of. Of GitHub's id of a delivery, a GUID, it is the first part: enough to find it in GitHub's
// list of a hook's recent deliveries, and in the log of ingress.
func event(m adminapi.Moment) string {
	short, _, _ := strings.Cut(m.Event, "-")
	if short == "" {
		return ""
	}
	return " (" + short + ")"
}

// outcome is how a job that is over came to that.
func outcome(e adminapi.Explanation) string {
	switch e.State {
	case run.Done:
		return ": " + orDash(e.Conclusion)
	case run.Dead:
		return ": " + e.Reason
	case run.New, run.OnHold, run.Waiting, run.Running:
	}
	return ""
}

// PrintLetters writes a list of dead letters, as seen at now.
func PrintLetters(w io.Writer, list adminapi.Letters, now time.Time) error {
	if len(list.Letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	t := newTable(w)
	t.row("DEAD LETTER", "AGO", "WHAT", "REASON")
	cut := false
	for _, l := range list.Letters {
		t.row(l.ID, ago(l.At, now), subject(l), brief(l.Reason, &cut))
	}
	return footnotes(w, t, list.LeftOff, cut, "worker dead-letters show ID")
}

// PrintLetter writes one dead letter, as seen at now.
func PrintLetter(w io.Writer, l intake.Letter, now time.Time) error {
	t := newTable(w)
	t.row("dead letter", l.ID)
	t.row("at", l.At.UTC().Format(timeForm)+" UTC, "+ago(l.At, now)+" ago")
	t.row("what", subject(l))
	t.row("reason", l.Reason)
	if l.Job.ID == 0 {
		t.row("size", fmt.Sprintf("%d bytes", l.SizeBytes))
		t.row("sha256", l.SHA256)
	} else {
		t.row("labels", strings.Join(l.Job.Labels, ", "))
		t.row("run", fmt.Sprintf("%d, attempt %d, branch %s", l.Job.RunID, l.Job.RunAttempt, orDash(l.Job.HeadBranch)))
	}
	return t.flush()
}

// PrintReplay writes what became of a replay.
func PrintReplay(w io.Writer, r adminapi.Replay, _ time.Time) error {
	_, err := fmt.Fprintf(w, "job %d is %s; `worker explain %d` tells more\n", r.ID, r.State, r.ID)
	return err
}

// subject is what was given up.
func subject(l intake.Letter) string {
	if l.Job.ID == 0 {
		return fmt.Sprintf("message %d on %s, which can't be read", l.Sequence, l.Subject)
	}
	return l.Job.Owner + "/" + l.Job.Repo + ", " + titleOf(l.Job.WorkflowName, l.Job.Name)
}

func title(j adminapi.Summary) string { return titleOf(j.Workflow, j.Name) }

func titleOf(workflow, name string) string { return orDash(strings.Trim(workflow+" / "+name, " /")) }

// brief is the beginning of a reason. It sets cut if that is not all of it.
func brief(reason string, cut *bool) string {
	runes := []rune(reason)
	if len(runes) <= maxReason {
		return reason
	}
	*cut = true
	return string(runes[:maxReason-1]) + "…"
}

// footnotes ends a list: how many older entries there are, and the command that tells whole reasons, if one was cut.
func footnotes(w io.Writer, t table, older int, cut bool, whole string) error {
	err := t.flush()
	if err == nil && older > 0 {
		_, err = fmt.Fprintf(w, "and %d older ones\n", older)
	}
	if err == nil && cut {
		_, err = fmt.Fprintf(w, "`%s` tells a reason that was cut short\n", whole)
	}
	return err
}

func id(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// ago is how long before now t was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return adminapi.Span(now.Sub(t))
}
