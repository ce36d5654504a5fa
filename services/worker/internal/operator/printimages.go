package operator

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Image is an image of the pools file, and what is on record of it.
type Image struct {
	Name string
	// ID is Modal's, and Runner the version of the runner on it, or on what is being built or was not.
	ID, Runner string
	Building   bool
	Failure    string
	// Since is when that came to be; zero if nothing is on record.
	Since time.Time
}

func (i Image) state() string {
	switch {
	case i.ID != "":
		return "built"
	case i.Building:
		return "being built"
	case i.Failure != "":
		return "failed"
	}
	return "not built"
}

// PrintImages writes the images as seen at now, and below them why some could not be built.
func PrintImages(w io.Writer, images []Image, now time.Time) error {
	t := newTable(w)
	t.row("IMAGE", "STATE", "FOR", "RUNNER", "ID")
	for _, i := range images {
		since := "-"
		if !i.Since.IsZero() {
			since = ago(i.Since, now)
		}
		t.row(i.Name, i.state(), since, orDash(i.Runner), orDash(i.ID))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, i := range images {
		if i.state() == "failed" {
			if err := lines(w, i.Name+": ", i.Failure); err != nil {
				return err
			}
		}
	}
	return nil
}

// lines writes a text with what is said before each of its lines.
func lines(w io.Writer, before, text string) error {
	for line := range strings.Lines(text) {
		if _, err := fmt.Fprintln(w, before+clean(strings.TrimRight(line, "\r\n"))); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// PrintBuild writes how the build of an image ended: its id, or its log and why it failed.
func PrintBuild(w io.Writer, name, id string, failed error) error {
	if failed == nil {
		_, err := fmt.Fprintf(w, "%s %s\n", name, id)
		return err
	}
	text, log := failed.Error(), ""
	if e, ok := errors.AsType[*run.BuildError](failed); ok && e.Log != "" {
		text, log = e.Text, e.Log
	}
	if err := lines(w, name+" | ", log); err != nil {
		return err
	}
	return lines(w, name+" not built: ", text)
}
