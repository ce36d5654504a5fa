package operator

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/adminapi"
)

// ScopePath is the path of what an operator pauses or resumes, as they say it: nothing for all, the name of a pool, "OWNER/REPO",
// or "OWNER/*" for all of an account.
func ScopePath(said string) string {
	owner, repo, isRepo := strings.Cut(said, "/")
	switch {
	case said == "":
		return "all"
	case isRepo && repo == "*":
		return "owner/" + owner
	case isRepo:
		return "repo/" + said
	}
	return "pool/" + said
}

// PrintPaused writes what is paused, as seen at now.
func PrintPaused(w io.Writer, p adminapi.Paused, now time.Time) error {
	if len(p.Paused) == 0 {
		_, err := fmt.Fprintln(w, "nothing is paused")
		return err
	}
	t := newTable(w)
	t.row("PAUSED", "FOR")
	for _, pause := range p.Paused {
		t.row(pause.Scope, ago(pause.Since, now))
	}
	return t.flush()
}

// PrintRoom writes who holds places and what today has cost.
func PrintRoom(w io.Writer, r adminapi.Room, _ time.Time) error {
	t := newTable(w)
	t.row("SCOPE", "SANDBOXES", "WARM", "MOST", "USD TODAY", "BUDGET", "NOTHING MORE, SINCE")
	for _, s := range r.Scopes {
		warm, most, budget := "-", "-", "-"
		if s.Warm > 0 {
			warm = strconv.Itoa(s.Warm)
		}
		if s.Max > 0 {
			most = strconv.Itoa(s.Max)
		}
		if s.Budget > 0 {
			budget = usd(s.Budget)
		}
		t.row(s.Scope, strconv.Itoa(s.Held), warm, most, usd(s.Cost), budget, orDash(s.Lacks))
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "jobs that wait for a place: %d\n", r.Waiting)
	return err
}

// usd is an amount of US dollars: small ones to a hundredth of a cent.
func usd(amount float64) string {
	if amount >= 1 || amount == 0 {
		return fmt.Sprintf("$%.2f", amount)
	}
	return fmt.Sprintf("$%.4f", amount)
}
