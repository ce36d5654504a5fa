package exact

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// ackWait is when the server gives a message to another worker, of which it has heard nothing.
	ackWait = 30 * time.Second
	// dedupeWindow is how long the server remembers a message's id.
	dedupeWindow = 2 * time.Minute
	// slots is how many messages of a kind a worker has in hand at once.
	slots = 20
)

// kinds of messages have consumers of their own, so that launches do not hold up what has happened.
const (
	toLaunch = iota
	outcome
	kinds
)

// message is in the stream.
type message struct {
	kind       int
	job        int64
	ev         run.Event
	dice       *dice
	deliveries int
	acked      bool
	due        time.Duration // of one that is kept for later
	serial     uint64        // its place in the stream
}

// queue is the stream JOBS with its consumers.
type queue struct {
	stored  map[*message]bool // not yet acknowledged
	waiting [kinds][]*message
	pending map[*message]bool // given to a worker
	seen    map[string]time.Duration
	later   map[string]*message // scheduled copies: the last of each job and action
	serial  uint64
}

// unacknowledged are the messages that are stored, in their order.
func (q *queue) unacknowledged() []message {
	all := make([]message, 0, len(q.stored))
	for m := range q.stored {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b message) int { return cmp.Compare(a.serial, b.serial) })
	return all
}

func (q *queue) acknowledge(m *message) {
	m.acked = true
	delete(q.stored, m)
	delete(q.pending, m)
}

// publish stores a message, unless one of its id was stored lately. No id is never a duplicate.
func (s *Sim) publish(id string, ev run.Event) {
	if id != "" {
		if at, ok := s.queue.seen[id]; ok && s.now-at < dedupeWindow {
			return
		}
		s.queue.seen[id] = s.now
	}
	job := run.JobOf(ev).ID
	s.messages[job]++
	s.enqueue(&message{kind: kindOf(ev), job: job, ev: ev, dice: newDice(s.Seed, uint64(job), s.messages[job])}) //nolint:gosec // ids are positive
}

func kindOf(ev run.Event) int {
	if _, queued := ev.(run.Queued); queued {
		return toLaunch
	}
	return outcome
}

func (s *Sim) enqueue(m *message) {
	if !s.queue.stored[m] {
		s.queue.serial++
		m.serial, s.queue.stored[m] = s.queue.serial, true
	}
	s.queue.waiting[m.kind] = append(s.queue.waiting[m.kind], m)
	s.pull()
}

// pull gives waiting messages to workers that have room.
func (s *Sim) pull() {
	if s.now < s.brokerDown {
		return
	}
	for kind := range kinds {
		for len(s.queue.waiting[kind]) > 0 {
			w := s.freeWorker(kind)
			if w == nil {
				break
			}
			m := s.queue.waiting[kind][0]
			s.queue.waiting[kind] = s.queue.waiting[kind][1:]
			s.deliver(m, w)
			if s.hits(DeliveredTwice, m.dice) {
				if other := s.freeWorker(kind); other != nil && other != w {
					s.deliver(m, other)
				}
			}
		}
	}
}

func (s *Sim) freeWorker(kind int) *worker {
	first := s.hands.below(len(s.workers))
	for n := range s.workers {
		w := s.workers[(first+n)%len(s.workers)]
		if w.alive && !w.retired && w.busy[kind] < slots && s.now >= w.frozen && s.now >= w.cutOff {
			return w
		}
	}
	return nil
}

func (s *Sim) deliver(m *message, w *worker) {
	w.busy[m.kind]++
	m.deliveries++
	s.queue.pending[m] = true
	delivery := m.deliveries
	t := s.spawn(w, m.job, m.dice, func(t *task) {
		if t.pause(t.dice.between(time.Millisecond, 20*time.Millisecond)) {
			s.handle(t, m, delivery)
		}
	}, func() {
		w.busy[m.kind]--
		s.pull()
	})
	s.after(ackWait, func() { s.expire(m, delivery, t) })
}

// expire has the message delivered again if the worker that has it does not live any more, as far as the server can tell.
func (s *Sim) expire(m *message, delivery int, t *task) {
	if m.acked || m.deliveries != delivery || !s.queue.pending[m] {
		return
	}
	if !t.dead() && t.w.frozen <= s.now && t.natsUp() == nil { // Its heartbeats come.
		s.after(ackWait, func() { s.expire(m, delivery, t) })
		return
	}
	s.again(m, 0)
}

// again has the message delivered once more, unless its consumer has done so as often as it may.
func (s *Sim) again(m *message, in time.Duration) {
	delete(s.queue.pending, m)
	m.deliveries++                                                                        // Whatever the one that has it says from now on.
	if s.hits(DeliveriesSpent, newDice(s.Seed, 8, uint64(m.job), uint64(m.deliveries))) { //nolint:gosec // neither is negative
		s.queue.acknowledge(m)
		s.forget()
		return
	}
	s.after(in, func() {
		if !m.acked {
			s.enqueue(m)
		}
	})
}

// handle does what a worker does with a message.
func (s *Sim) handle(t *task, m *message, delivery int) {
	t.tellf("handles %s", describe(m.ev))
	again, err := t.launcher().Handle(context.Background(), m.job, m.ev)
	if err == nil && !again.IsZero() {
		err = t.do(context.Background(), t.nats("schedule"), func() error { s.schedule(m, again); return nil })
	}
	if t.dead() {
		return
	}
	if err != nil {
		t.tellf("will handle it again: %v", err)
		if m.deliveries == delivery && t.natsUp() == nil {
			s.again(m, min(30*time.Second, time.Second<<min(m.deliveries-1, 5)))
		}
		return
	}
	if s.hits(AckLost, t.dice) || t.natsUp() != nil {
		return // The server gives it to somebody once more, since its heartbeats have ended.
	}
	if m.acked { // Or it was purged meanwhile.
		return
	}
	s.check.acknowledged(m)
	s.queue.acknowledge(m)
}

// schedule keeps a copy of the message for later, in place of an earlier one. The server's schedules know whole seconds.
func (s *Sim) schedule(m *message, at time.Time) {
	in := at.Sub(s.time())
	if rest := at.Sub(epoch()) % time.Second; rest > 0 {
		in += time.Second - rest
	}
	s.keep(fmt.Sprintf("%T %d", m.ev, m.job), &message{kind: m.kind, job: m.job, ev: m.ev, dice: m.dice, due: s.now + in})
}

func (s *Sim) keep(key string, c *message) {
	s.queue.later[key] = c
	s.after(c.due-s.now, func() {
		if s.queue.later[key] == c {
			delete(s.queue.later, key)
			s.enqueue(c)
		}
	})
}

// purge empties the stream.
func (s *Sim) purge() {
	s.queue.waiting = [kinds][]*message{}
	for m := range s.queue.stored {
		s.queue.acknowledge(m)
	}
	clear(s.queue.later)
}

// forget marks the jobs of which an event was acknowledged and no trace is left, if their repositories are named nowhere: nothing
// leads to them any more.
func (s *Sim) forget() {
	traces := map[int64]bool{}
	for m := range s.queue.stored {
		traces[m.job] = true
	}
	for _, m := range s.queue.later {
		traces[m.job] = true
	}
	for _, j := range s.gh.all {
		if j.rare && j.told && !traces[j.ID] && s.runs.load(j.ID).Revision == 0 {
			j.forgotten = true
		}
	}
}
