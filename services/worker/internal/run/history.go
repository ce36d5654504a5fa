package run

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxNotes bounds a Run's timeline: the record is written whole at each change, and read by people.
	maxNotes = 40
	// firstNotes is how many of the first notes are never dropped: how a job began explains much of what came after.
	firstNotes = 5
	// maxText bounds a note, in bytes. An error of GitHub or Modal can be a page long; its beginning says what it is.
	maxText = 300
	// givenUp begins the note that tells that a job was given up.
	givenUp = "given up: "
	// maxEvent bounds what a note names as its event, in bytes: it came from outside. GitHub's ids are GUIDs, of 36.
	maxEvent = 36
)

// Note is one line of a Run's timeline, for a person.
type Note struct {
	At time.Time `json:"at"`
	// Event is what the note comes of: GitHub's id of a delivery (X-GitHub-Delivery), AskedGitHub, BySweep or ByOperator. Empty
	// if it tells of something that we did.
	Event string `json:"event,omitempty"`
	// Runner is the one that the text is about. Zero if it is about none, or none of ours.
	Runner Name   `json:"runner,omitzero"`
	Text   string `json:"text"`
}

// chronicle is the history of after, into which ev turned before. It follows from what has changed, so that an event that
// is handled again adds nothing. What a Runner's own record tells, such as its launch, is not told here again.
func chronicle(before, after Run, ev Event, now time.Time) []Note {
	history, cause := before.History, shortened(ev.cause(), maxEvent)
	for _, note := range changes(before, after, ev) {
		note.At, note.Event, note.Text = now, cause, shortened(note.Text, maxText)
		history = append(slices.Clip(history), note) // Clipped, since before keeps its own.
		if len(history) > maxNotes {
			history = slices.Concat(history[:firstNotes], history[firstNotes+1:])
		}
	}
	return history
}

// changes says what ev has changed.
func changes(before, after Run, ev Event) []Note {
	var notes []Note
	lost, isLost := ev.(Lost)
	if isLost && before.Runner != after.Runner {
		notes = append(notes, Note{Runner: lost.Runner, Text: "lost: " + orUnknown(lost.Reason)})
	}
	if before.State != after.State || before.RanOn != after.RanOn || before.StartedAt != after.StartedAt || before.FinishedAt != after.FinishedAt {
		notes = append(notes, arrival(before, after))
	} else if after.LastQueuedAt.After(before.LastQueuedAt) {
		notes = append(notes, Note{Text: "queued again"})
	}
	if before.Job.Untrusted != after.Job.Untrusted && after.Job.Untrusted != "" {
		notes = append(notes, Note{Text: fmt.Sprintf("untrusted, for pool %s: %s", after.Job.Pool, after.Job.Untrusted)})
	}
	if before.Runner != after.Runner && !after.Runner.IsZero() {
		text := fmt.Sprintf("counted on, attempt %d", after.Attempts)
		if isLost {
			text = "counted on instead, a spare one"
		}
		notes = append(notes, Note{Runner: after.Runner, Text: text})
	}
	if failed, isFailed := ev.(Failed); isFailed && after.State == Waiting {
		switch {
		case after.Failures > before.Failures:
			notes = append(notes, Note{Runner: after.Runner, Text: "launch failed: " + orUnknown(failed.Reason)})
		case after.Reason != before.Reason:
			notes = append(notes, Note{Runner: after.Runner, Text: "launch put off: " + failed.Reason})
		}
	}
	return notes
}

// arrival says that the Run came to its state.
func arrival(before, after Run) Note {
	switch after.State {
	case OnHold:
		return Note{Text: "held until an approval at GitHub"}
	case Waiting:
		if before.State == Dead {
			return Note{Text: "replayed"}
		}
		return Note{Text: "queued"}
	case Running:
		if after.RanOn.IsZero() {
			return Note{Text: "running on a runner that is not ours"}
		}
		return Note{Runner: after.RanOn, Text: "running"}
	case Done:
		return Note{Runner: after.RanOn, Text: "finished: " + orUnknown(after.Conclusion)}
	case Dead:
		switch {
		case before.State != Dead:
		case after.Over():
			return Note{Runner: after.RanOn, Text: "finished, though given up: " + orUnknown(after.Conclusion)}
		default:
			return Note{Runner: after.RanOn, Text: "running, though given up"}
		}
	case New: // No Run comes back to it.
	}
	return Note{Text: givenUp + orUnknown(after.Reason)}
}

// GivenUpAt is when the job was last given up, as its timeline tells; zero if that does not.
func (r Run) GivenUpAt() time.Time {
	for _, n := range slices.Backward(r.History) {
		if strings.HasPrefix(n.Text, givenUp) {
			return n.At
		}
	}
	return time.Time{}
}

// shortened cuts text to so many bytes and one line, between characters.
func shortened(text string, limit int) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= limit {
		return text
	}
	const more = "…"
	end := limit - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}
