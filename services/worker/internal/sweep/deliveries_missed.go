package sweep

import (
	"context"
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// jobEvent is GitHub's name for the webhooks that tell of jobs.
	jobEvent = "workflow_job"
	// memory is how long GitHub can deliver an event again (docs.github.com, redelivering webhooks).
	memory = 3 * 24 * time.Hour
	// settleTime is how long an attempt may take to be listed, and how long the next waits after it.
	settleTime = 2 * time.Minute
	// maxAttempts is how often an event is sent, the first time included. What was refused that often is refused for a reason.
	maxAttempts = 5
	// maxRedeliveries bounds one run, so that ingress, back after an outage, is not flooded, and GitHub's 900 points a minute
	// (five each) are left to launches.
	maxRedeliveries = 60
)

// missed is what a webhook did not bring us since its cursor.
type missed struct {
	hook   Hook
	cursor time.Time
	events []event
}

func (r *round) look(ctx context.Context, h Hook) (missed, error) {
	cursor, err := r.Cursors.Cursor(ctx, h.ID)
	if err != nil {
		return missed{}, fmt.Errorf("cursor of deliveries: %w", err)
	}
	if cursor.IsZero() { // GitHub has cancelled what was queued before.
		cursor = r.began.Add(-run.GiveUpAfter)
	}
	if oldest := r.began.Add(-memory); cursor.Before(oldest) {
		cursor = oldest
	}
	deliveries, err := r.Hooks.Deliveries(ctx, h, cursor)
	return missed{hook: h, cursor: cursor, events: undelivered(deliveries)}, err
}

// sendAgain has GitHub send what it could not deliver, and puts the cursor after what is settled. The error says that GitHub
// does not let us, or that the cursor stays; what else fails is counted, and stays to be sent.
func (r *round) sendAgain(ctx context.Context, m missed) error {
	for _, e := range m.events {
		if r.sent == maxRedeliveries || e.attempts >= maxAttempts || r.began.Sub(e.last.At) < settleTime {
			continue
		}
		r.sent++
		err := r.Hooks.Redeliver(ctx, m.hook, e.last.ID)
		if isDenied(err) {
			return err
		}
		if r.note(Undelivered, err); r.over {
			return nil
		}
	}
	r.over = r.sent == maxRedeliveries
	if settled := settledBefore(m.events, r.began.Add(-settleTime)); settled.After(m.cursor) {
		if err := r.Cursors.SetCursor(ctx, m.hook.ID, settled); err != nil {
			return fmt.Errorf("cursor of deliveries: %w", err)
		}
	}
	return nil
}

// settledBefore is the time, latest at most, from which on the next run is to look. All attempts of an event count, so none of
// those before it belongs to an event that is to be sent again, or that was given up and has attempts after it.
func settledBefore(missing []event, latest time.Time) time.Time {
	for _, e := range slices.Backward(missing) {
		if e.first.Before(latest) && (e.attempts < maxAttempts || !e.last.At.Before(latest)) {
			latest = e.first
		}
	}
	return latest
}

// event is one that GitHub could not deliver so far.
type event struct {
	first    time.Time
	last     Delivery
	attempts int
}

// undelivered finds the events about jobs of which no attempt came through, the oldest first. deliveries are the newest first.
func undelivered(deliveries []Delivery) []event {
	events := map[string]*event{}
	arrived := map[string]bool{}
	var order []*event
	for _, d := range slices.Backward(deliveries) {
		arrived[d.GUID] = arrived[d.GUID] || d.OK
		if d.Event != jobEvent {
			continue
		}
		e := events[d.GUID]
		if e == nil {
			e = &event{first: d.At}
			events[d.GUID] = e
			order = append(order, e)
		}
		e.last = d
		e.attempts++
	}
	var missing []event
	for _, e := range order {
		if !arrived[e.last.GUID] {
			missing = append(missing, *e)
		}
	}
	return missing
}
