package check

import (
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/world"
)

// everyJobServed is I4: each job of ours ran, or ended otherwise, or was given up for a reason.
func (c *Checker) everyJobServed(w World) {
	for _, j := range w.Jobs {
		if !c.Ours(j) || j.Status == world.Completed || j.Status == world.Waiting {
			continue
		}
		if w.Stored != nil && w.Stored.Dead[j.ID] != "" {
			continue
		}
		state := "not known"
		if w.Stored != nil {
			state = w.Stored.Runs[j.ID].State
		}
		c.reportf("I4", w.At, j.ID, "it is %s since %v, its record is %q", j.Status, w.At.Sub(j.QueuedAt), state)
	}
}

// nothingLeft is I5 and I6 at rest.
func (c *Checker) nothingLeft(w World) {
	for _, s := range w.Sandboxes {
		if !s.Ended() {
			c.reportf("I5", w.At, 0, "sandbox %s (%s) is left", s.Name, s.ID)
		}
	}
	for _, r := range w.Runners {
		c.reportf("I6", w.At, 0, "registration %s is left, online %t", r.Name, r.Online)
	}
	if w.Stored == nil {
		c.reportf("I4", w.At, 0, "the broker is down")
	}
}

// atRest is that the ledger has seen all of it, and the broker has nothing to do.
func (c *Checker) atRest(w World) {
	for id, r := range w.Stored.Runs {
		if r.State != done && r.State != dead && r.State != onHold {
			c.reportf("I4", w.At, id, "its record is %s", r.State)
		}
	}
	for name, state := range w.Stored.Runners {
		if state != ended {
			job, _, _ := wire.ParseRunnerName(name)
			c.reportf("I6", w.At, job, "the record of %s is %s", name, state)
		}
	}
	for consumer, n := range w.Stored.Pending {
		if n > 0 {
			c.reportf("I4", w.At, 0, "%d messages of the consumer %s are left", n, consumer)
		}
	}
}
