package exact

import (
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

// Excuse is what does not hold, though no fault goes on any more, and is no violation: the system does not claim it.
type Excuse string

// The excuses.
const (
	Unfound  Excuse = "job stays queued: a purge or an old backup forgot it, and nothing on record leads to its repository"
	Leftover Excuse = "registration is left, which GitHub removes in a day: an old backup forgot it, and nothing leads to its repository"
	Overfull Excuse = "sandbox more than may be, while some ran whose places an old backup had forgotten"
)

// excuse counts what is excused. It is told to the story, too.
func (c *checker) excuse(e Excuse, job int64) {
	c.excused[e]++
	c.s.tellf(job, "excused: %s", e)
}

// unfound reports whether nothing leads to the job any more. What has been on record for a while leads to all jobs of its repository.
func (c *checker) unfound(j *ghJob) bool {
	if !j.forgotten || c.s.runs.load(j.ID).Revision > 0 {
		return false
	}
	for _, record := range c.s.runs.records {
		known := record.Value.Job
		if strings.EqualFold(known.Owner+"/"+known.Repo, j.Owner+"/"+j.Repo) && c.s.time().Sub(record.ChangedAt) >= untold {
			return false
		}
	}
	return true
}

// unplaced are the runners, and the names of warm sandboxes, whose places an old backup has forgotten: their sandboxes ran, or were on
// their way, when it came back.
type unplaced map[string]bool

// forgotten marks the places that were there before and are not in the old record.
func (u unplaced) forgotten(before, old places.Record, alive []*box) {
	for name := range placesIn(before) {
		if !placesIn(old)[name] {
			u[name] = true
		}
	}
	for _, b := range alive { // One may have been claimed since, and be on no record under its own name.
		if name := b.place(); !placesIn(old)[name] && !known(old, b) {
			u[name] = true
		}
	}
}

// known reports whether the record knows a warm sandbox by its id.
func known(r places.Record, b *box) bool {
	for _, w := range r.Warm {
		if w.ID() == b.id {
			return true
		}
	}
	return claimedIn(r, b)
}

// taken forgets a name that gets a place for a sandbox that is yet to be made. What has one is adopted.
func (u unplaced) taken(before, after places.Record, alive []*box) {
	if len(u) == 0 {
		return
	}
	had := placesIn(before)
	for name := range placesIn(after) {
		if u[name] && !had[name] && !slices.ContainsFunc(alive, func(b *box) bool { return b.place() == name }) {
			delete(u, name)
		}
	}
}

// placesIn are the names that have a place.
func placesIn(r places.Record) map[string]bool {
	names := map[string]bool{}
	for runner := range r.Held {
		names[runner] = true
	}
	for name := range r.Warm {
		names[name] = true
	}
	return names
}

// crowded checks that no more sandboxes run than may, but for those whose places were forgotten.
func (c *checker) crowded() {
	most := c.s.MaxSandboxes
	if most == 0 {
		return
	}
	placed := 0
	for _, b := range c.s.modal.alive {
		if !c.s.unplaced[b.place()] {
			placed++
		}
	}
	c.thatf(placed <= most, "I9", 0, "%d sandboxes run, and at most %d may", placed, most)
	if placed <= most && len(c.s.modal.alive) > most {
		c.excuse(Overfull, 0)
	}
}

// untold is within what time after the last that was heard of a job its end is on record, though nobody told of it: half an
// hour, after which it is asked about, and what the asking takes. A webhook of a job that the ledger has forgotten can be hours
// late.
const untold = 40 * time.Minute
