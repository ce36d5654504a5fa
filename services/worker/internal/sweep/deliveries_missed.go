package sweep

import (
	"cmp"
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
	// worth is for how long it is: GitHub has cancelled by then whatever waited for a runner. It is less than memory, so that the
	// first attempts of an event are known for as long as the event is of interest.
	worth = 2 * 24 * time.Hour
	// settleTime is how long an attempt may take to be listed, and how long the second waits after the first.
	settleTime = 2 * time.Minute
	// maxDoublings is how often the pause between the attempts to send one event doubles: to 16 minutes, which is the longest
	// that an event waits once ingress is back.
	maxDoublings = 3
	// maxRedeliveries bounds one run, so that ingress, back after an outage, is not flooded, and GitHub's 900 points a minute
	// (five each) are left to launches.
	maxRedeliveries = 60
	// maxUnread is how often in a row the answer must have been that an event can't be read, though another had come through the same way
	// since the event's first attempt, until it is believed: the same bytes get the same answer. With the pauses that takes three quarters
	// of an hour at least, in which a way that mutilates some events has as many chances.
	maxUnread = 5
	// maxProbes bounds what one run sends to a webhook by which nothing gets through. It is more than one, since one may be
	// refused for a reason of its own.
	maxProbes = 3
)

// missed is what a webhook did not bring us since its cursor.
type missed struct {
	hook   Hook
	cursor time.Time
	*backlog
}

// look reads what GitHub has sent. Of what was read before, only what the cursor has not passed yet is needed once more, and that
// is remembered: an event that fails for two days would have the deliveries of two days read each time.
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
	b := r.backlogs[h.ID]
	if b == nil || cursor.Before(b.from) { // A backup of the cursor was restored.
		b = &backlog{}
	}
	since := cursor
	if settled := b.settled(); settled.After(since) {
		since = settled
	}
	deliveries, err := r.Hooks.Deliveries(ctx, h, since)
	if err != nil {
		return missed{}, err
	}
	b.add(deliveries, since, cursor)
	if r.backlogs == nil {
		r.backlogs = map[int64]*backlog{}
	}
	r.backlogs[h.ID] = b
	return missed{hook: h, cursor: cursor, backlog: b}, nil
}

// silent reports whether nothing was delivered in all the time that was looked at, be it to our liking or not.
func (m missed) silent() bool { return m.newest.Before(m.cursor) }

// sendAgain has GitHub send what it could not deliver, and puts the cursor after what is settled. The error says that GitHub
// does not let us, or that the cursor stays; what else fails is counted, and stays to be sent.
func (r *round) sendAgain(ctx context.Context, m missed) error {
	events := m.events()
	left := maxRedeliveries
	if m.away() {
		left = maxProbes
	}
	for _, e := range due(events, r.began) {
		if r.sent == maxRedeliveries || left == 0 {
			break
		}
		r.sent++
		left--
		err := r.Hooks.Redeliver(ctx, m.hook, e.last.ID)
		if isDenied(err) {
			return err
		}
		if r.note(Undelivered, err); r.over {
			return nil
		}
	}
	r.over = r.sent == maxRedeliveries
	if settled := settledBefore(events, m.settled(), r.began); settled.After(m.cursor) {
		if err := r.Cursors.SetCursor(ctx, m.hook.ID, settled); err != nil {
			return fmt.Errorf("cursor of deliveries: %w", err)
		}
	}
	return nil
}

// due are the events to be sent again, one of each repository, then the next of each: the first makes a repository known that is
// named nowhere, so that its jobs are looked for. A repository's own go by how often they were tried, since what always fails must
// not keep the others waiting, and then by age.
func due(events []event, now time.Time) []event {
	var again []event
	for _, e := range events {
		if e.pending(now) && now.Sub(e.last.At) >= e.pause() {
			again = append(again, e)
		}
	}
	slices.SortStableFunc(again, func(a, b event) int { return cmp.Compare(a.attempts, b.attempts) })
	turns := map[int64]int{}
	for n, e := range again {
		turns[e.last.Repo]++
		again[n].turn = turns[e.last.Repo]
	}
	slices.SortStableFunc(again, func(a, b event) int { return cmp.Compare(a.turn, b.turn) })
	return again
}

// settledBefore is the time, latest at most, from which on the next run is to look. All attempts of an event count, so none of
// those before it belongs to an event that is to be sent again, or that was given up and has attempts after it.
func settledBefore(missing []event, latest, now time.Time) time.Time {
	for _, e := range slices.Backward(missing) {
		if e.first.Before(latest) && (e.pending(now) || !e.last.At.Before(latest)) {
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
	// unread are the last attempts in a row by which it can't be read, and which say something of the event.
	unread int
	// turn is its place among those of its repository that are due, from 1.
	turn int
}

// pending reports whether the event is to be sent again. How else it failed does not matter: whether nobody answered, or ingress was
// told another secret than GitHub, or a proxy knew nothing of ingress, it may be mended.
func (e event) pending(now time.Time) bool { return now.Sub(e.first) < worth && e.unread < maxUnread }

// pause is how long after its last attempt the event is sent again.
func (e event) pause() time.Duration { return settleTime << min(e.attempts-1, maxDoublings) }

// backlog is what is known of the deliveries of a webhook. All times are GitHub's, whose clock need not be ours.
type backlog struct {
	// from is the time since which it is complete; newest, that of the newest delivery that was ever listed; arrived, of the
	// newest that brought us news of a job.
	from, newest, arrived time.Time
	// open are the attempts to tell us of jobs of the events of which none came through, newest first.
	open []attempt
}

// attempt is a delivery that failed, and when the newest before it came that brought us news of a job; zero if none is known.
type attempt struct {
	Delivery

	arrived time.Time
}

// add takes what was delivered since then, newest first, into a backlog that begins at the cursor.
func (b *backlog) add(deliveries []Delivery, since, cursor time.Time) {
	var open []attempt // the oldest first
	known := map[int64]time.Time{}
	for _, a := range slices.Backward(b.open) {
		known[a.ID] = a.arrived
		if a.At.Before(since) && !a.At.Before(cursor) {
			open = append(open, a)
		}
	}
	var latest time.Time
	if b.arrived.Before(since) {
		latest = b.arrived
	}
	arrived := map[string]bool{}
	for _, d := range slices.Backward(deliveries) {
		if d.At.After(b.newest) {
			b.newest = d.At
		}
		switch {
		case d.OK:
			arrived[d.GUID] = true
			if d.Event == jobEvent {
				latest = d.At
			}
		case d.Event == jobEvent:
			before := latest
			if known[d.ID].After(before) { // It was listed with more of those before it.
				before = known[d.ID]
			}
			open = append(open, attempt{d, before})
		}
	}
	if latest.After(b.arrived) {
		b.arrived = latest
	}
	slices.Reverse(open)
	b.from, b.open = cursor, slices.DeleteFunc(open, func(a attempt) bool { return arrived[a.GUID] })
}

// settled is the time before which no delivery will be listed that is not listed yet. Zero if there was none.
func (b *backlog) settled() time.Time {
	if b.newest.IsZero() {
		return time.Time{}
	}
	return b.newest.Add(-settleTime)
}

// away reports whether nothing seems to get through: the last attempt failed.
func (b *backlog) away() bool { return len(b.open) > 0 && b.arrived.Before(b.open[0].At) }

// events are those that did not arrive, the oldest first.
func (b *backlog) events() []event {
	events := make([]event, 0, len(b.open))
	place := map[string]int{}
	for _, a := range slices.Backward(b.open) {
		n, known := place[a.GUID]
		if !known {
			n = len(events)
			place[a.GUID] = n
			events = append(events, event{first: a.At})
		}
		events[n].last = a.Delivery
		events[n].attempts++
		switch {
		case !a.Unreadable:
			events[n].unread = 0
		case a.arrived.After(events[n].first):
			events[n].unread++
		}
	}
	return events
}
