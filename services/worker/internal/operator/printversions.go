package operator

import (
	"fmt"
	"io"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Versions are those of the runner, as far as they are on record.
type Versions struct {
	// Pinned is the one that the configuration names; empty for the newest.
	Pinned string
	// Good is in use, Candidate is to be tried, or is tried by Runner if Trying is set. Zero if there is none.
	Good, Candidate run.RunnerRelease
	Trying          bool
	Runner          run.Name
	// Failed is how many trials of it failed, the last one by Runner unless Trying is set, and for Why.
	Failed int
	Why    string
	// Refused is the newest one if too many trials of it failed, at RefusedAt.
	Refused   run.RunnerRelease
	RefusedAt time.Time
}

// PrintVersions writes them as seen at now.
func PrintVersions(w io.Writer, v Versions, now time.Time) error {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, "runner "+format+"\n", args...) }
	if v.Pinned != "" {
		line("%s: pinned", v.Pinned)
	}
	if v.Good.Version != "" {
		use := "in use"
		if v.Pinned != "" {
			use = "in use by workers that pin none"
		}
		line("%s: %s, published %s ago", v.Good.Version, use, ago(v.Good.PublishedAt, now))
	}
	switch {
	case v.Refused.Version != "":
		line("%s: refused %s ago, since no runner that tried it took a job, the last one that of job %d, attempt %d: %s",
			v.Refused.Version, ago(v.RefusedAt, now), v.Runner.Job, v.Runner.Attempt, v.Why)
	case v.Trying:
		line("%s: tried by the runner of job %d, attempt %d", v.Candidate.Version, v.Runner.Job, v.Runner.Attempt)
	case v.Failed > 0:
		line("%s: to be tried by one sandbox more; of %d so far no runner took a job, the last one that of job %d, attempt %d: %s",
			v.Candidate.Version, v.Failed, v.Runner.Job, v.Runner.Attempt, v.Why)
	case v.Candidate.Version != "":
		line("%s: to be tried by the next job's sandbox", v.Candidate.Version)
	}
	return lines(w, "", text.String())
}

// PrintAgain writes that the version, which was refused, is to be tried again; empty for none.
func PrintAgain(w io.Writer, version string) error {
	if version == "" {
		return lines(w, "", "no version of the runner is refused")
	}
	return lines(w, "", "runner "+version+": to be tried by the next job's sandbox")
}
