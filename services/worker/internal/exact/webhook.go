package exact

import (
	"fmt"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// delivery is an event that GitHub sends.
type delivery struct {
	guid   string
	ev     run.Event
	serial int // among the events of its job
}

type attempt struct {
	*delivery

	at time.Time
	ok bool
}

// send has GitHub tell of a job. It sends once.
func (s *Sim) send(j *ghJob, ev run.Event) {
	_, isFinished := ev.(run.Finished)
	_, isStarted := ev.(run.Started)
	switch j.nature {
	case silentRepo:
		return
	case ours:
	case foreign, other: // Only what a runner of ours took is heard of; ingress knows by its name.
		if !isStarted && !isFinished || j.ranOn.IsZero() {
			if j.nature == other {
				s.count(JobForeign)
			}
			return
		}
	}
	s.serial64++
	j.sent++
	d := &delivery{guid: fmt.Sprintf("guid-%d", s.serial64), ev: ev, serial: j.sent}
	switch {
	case s.hits(WebhookLost, j.dice):
		s.tellf(j.ID, "GitHub: webhook %s is lost", describe(ev))
		if j.dice.chance(0.5) || j.rare { // Else GitHub does not know that it is, and all there is are jobs of known repositories.
			s.attempted(d, false)
		}
		return
	case s.hits(WebhookTwice, j.dice):
		s.after(j.dice.between(0, 10*time.Second), func() { s.receive(d) })
	case s.hits(WebhookByTwoHooks, j.dice):
		twin := &delivery{guid: d.guid + "-twin", ev: ev, serial: j.sent}
		s.after(j.dice.between(0, 10*time.Second), func() { s.receive(twin) })
	}
	takes := j.dice.between(50*time.Millisecond, 500*time.Millisecond)
	if s.hits(WebhookLate, j.dice) {
		takes = j.dice.between(time.Minute, 2*time.Hour)
	}
	s.after(takes, func() { s.receive(d) })
}

func (s *Sim) attempted(d *delivery, ok bool) {
	s.gh.attempts = append(s.gh.attempts, attempt{d, s.time(), ok})
}

// receive is ingress: an event is acknowledged once it is stored.
func (s *Sim) receive(d *delivery) {
	if s.now < s.brokerDown {
		s.attempted(d, false)
		return
	}
	if s.now < s.ingressDown {
		s.attempted(d, false)
		if s.missed++; s.missed == mostMissed {
			s.ingressDown = s.now
		}
		return
	}
	ev := d.ev
	switch e := ev.(type) { // The time is ingress's.
	case run.Queued:
		e.At = s.time()
		ev = e
	case run.Held:
		e.At = s.time()
		ev = e
	case run.Started:
		e.At = s.time()
		ev = e
	}
	j := s.gh.jobs[run.JobOf(ev).ID]
	if d.serial < j.heard {
		s.count(EventsReordered)
	}
	j.heard = max(j.heard, d.serial)
	j.told = true
	s.publish(d.guid, ev)
	s.attempted(d, !s.hits(PubAckLost, j.dice))
}
