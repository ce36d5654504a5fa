package sweep

import (
	"context"
	"errors"
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
	// maxRedeliveries bounds one run, so that ingress, back after an outage, is not flooded.
	maxRedeliveries = 20
)

// Deliveries finds events that GitHub could not deliver and has it send them again. GitHub does not do so by itself.
type Deliveries struct {
	Hook   Hook
	Cursor Cursor
	Now    func() time.Time
}

// RunOnce looks once.
func (d *Deliveries) RunOnce(ctx context.Context) (Report, error) {
	began := d.Now()
	cursor, err := d.Cursor.Cursor(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("cursor of deliveries: %w", err)
	}
	if cursor.IsZero() { // GitHub has cancelled what was queued before.
		cursor = began.Add(-run.GiveUpAfter)
	}
	if oldest := began.Add(-memory); cursor.Before(oldest) {
		cursor = oldest
	}
	deliveries, err := d.Hook.Deliveries(ctx, cursor)
	var t tally
	if _, permanent := errors.AsType[*run.PermanentError](err); permanent { // The App has no hook: its events come by others.
		t.found(Unreadable, nil)
		return t.result()
	}
	if err != nil {
		return Report{}, err
	}
	missing := undelivered(deliveries)
	sent := 0
	for _, e := range missing {
		if sent == maxRedeliveries || e.attempts >= maxAttempts || began.Sub(e.last.At) < settleTime {
			continue
		}
		sent++
		if t.found(Undelivered, d.Hook.Redeliver(ctx, e.last.ID)) {
			return t.result()
		}
	}
	settled := settledBefore(missing, began.Add(-settleTime))
	if settled.After(cursor) {
		if err := d.Cursor.SetCursor(ctx, settled); err != nil {
			t.found("", fmt.Errorf("cursor of deliveries: %w", err))
		}
	}
	return t.result()
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
