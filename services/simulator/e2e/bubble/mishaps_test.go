package bubble_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
)

// mishaps befall the processes and their connections.
type mishaps struct {
	*universe

	rnd  *rand.Rand
	over bool
	turn int
}

func newMishaps(u *universe) *mishaps {
	return &mishaps{universe: u, rnd: rand.New(rand.NewPCG(u.options.seed, 11))}
}

// begin has one mishap befall about every period.
func (m *mishaps) begin(period time.Duration) {
	all := []func(){
		m.killWorker, m.restartBroker, m.partition, m.killIngress, m.deafWorker, m.rollWorkers, m.deafIngress, m.redeliver, m.scale,
		m.restartIngress, m.purge, m.poison, m.badBoxes,
	}
	m.turn = m.rnd.IntN(len(all))
	var next func()
	next = func() {
		if m.over {
			return
		}
		all[m.turn%len(all)]()
		m.turn++
		m.agenda.in(period/2+time.Duration(m.rnd.Int64N(int64(period))), next)
	}
	m.agenda.in(period/2, next)
}

func (m *mishaps) worker() *node  { return m.workers[m.rnd.IntN(len(m.workers))] }
func (m *mishaps) ingress() *node { return m.ingresses[m.rnd.IntN(len(m.ingresses))] }

func (m *mishaps) some(least, most time.Duration) time.Duration {
	return least + time.Duration(m.rnd.Int64N(int64(most-least)))
}

func (m *mishaps) killWorker() {
	w := m.worker()
	m.story.tellf("%s is killed", w.name)
	w.kill()
	m.met("F41", 1)
	m.agenda.in(m.some(0, time.Minute), func() { m.revive(w) })
}

// revive starts a node again, unless somebody has.
func (m *mishaps) revive(n *node) {
	if n.stop == nil {
		m.story.tellf("%s starts", n.name)
		n.start(softStop)
	}
}

func (m *mishaps) killIngress() {
	i := m.ingress()
	m.story.tellf("%s is killed", i.name)
	i.kill()
	m.met("F24", 1)
	m.agenda.in(m.some(0, time.Minute), func() { m.revive(i) })
}

func (m *mishaps) restartIngress() {
	i := m.ingress()
	m.story.tellf("%s is restarted", i.name)
	i.terminate()
	i.start(softStop)
	m.met("F25", 1)
}

func (m *mishaps) rollWorkers() {
	m.story.tellf("the workers are restarted")
	for _, w := range m.workers {
		w.terminate()
		w.start(softStop)
	}
	m.met("F44", 1)
}

// scale takes all workers away but one, for a while.
func (m *mishaps) scale() {
	m.story.tellf("there is one worker only")
	for _, w := range m.workers[1:] {
		w.terminate()
	}
	m.met("F57", 1)
	m.agenda.in(m.some(time.Minute, 10*time.Minute), func() {
		for _, w := range m.workers[1:] {
			m.revive(w)
		}
	})
}

func (m *mishaps) restartBroker() {
	m.story.tellf("the broker is down")
	m.outage("broker")
	m.broker.Stop()
	m.met("F29", 1)
	m.agenda.in(m.some(5*time.Second, 90*time.Second), func() {
		m.broker.Restart(m.t)
		m.outageOver("broker")
		m.story.tellf("the broker is up")
	})
}

// partition cuts a worker off from the broker, in the middle of whatever it does.
func (m *mishaps) partition() {
	l := m.worker().nats
	m.story.tellf("a worker can't reach the broker")
	l.sever()
	m.met("F21", 1)
	m.agenda.in(m.some(5*time.Second, 2*time.Minute), l.mend)
}

// deafWorker loses all answers of the broker to a worker: acknowledgements and writes take effect, and it does not know.
func (m *mishaps) deafWorker() {
	l := m.worker().nats
	m.story.tellf("a worker does not hear the broker")
	l.deafen()
	m.met("F33", 1)
	m.agenda.in(m.some(time.Second, 10*time.Second), l.mend)
}

func (m *mishaps) deafIngress() {
	l := m.ingress().nats
	m.story.tellf("an ingress does not hear the broker")
	l.deafen()
	m.met("F20", 1)
	m.agenda.in(m.some(time.Second, 10*time.Second), l.mend)
}

// redeliver has somebody press the button on old deliveries, long after the window of duplicates.
func (m *mishaps) redeliver() {
	hook := m.github.Hooks.List()[0].ID
	page, _ := m.github.Hooks.Deliveries(hooks.Query{Hook: hook, Limit: 100})
	for range min(20, len(page)) {
		id, ok := page[m.rnd.IntN(len(page))]["id"].(int64)
		if ok && m.github.Hooks.Redeliver(hook, id) == nil {
			m.met("F02", 1)
		}
	}
	m.story.tellf("old deliveries are sent again")
}

// purge empties the stream of events, as an operator does who meant another.
func (m *mishaps) purge() {
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	stream, err := m.js.Stream(ctx, wire.StreamJobs)
	if err == nil {
		err = stream.Purge(ctx)
	}
	if err != nil {
		m.story.tellf("the stream was not purged: %v", err)
		return
	}
	m.story.tellf("the stream of events is purged")
	m.met("F59", 1)
	m.checker.Forget()
}

// poison puts a message among the events that nobody can read.
func (m *mishaps) poison() {
	msg := nats.NewMsg(wire.QueuedSubject(wire.DefaultPool))
	msg.Header.Set(wire.HeaderSchema, fmt.Sprint(wire.SchemaVersion))
	msg.Data = []byte("\xff\xff garbage")
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	if _, err := m.js.PublishMsg(ctx, msg); err == nil {
		m.met("F40", 1)
	}
	m.story.tellf("a message that nobody can read is published")
}

// badBoxes has sandboxes come to harm for a while.
func (m *mishaps) badBoxes() {
	m.story.tellf("sandboxes come to harm")
	odds := map[fate]float64{unborn: 0.2, stillFor: 0.1, hung: 0.2, cutDown: 0.2, stubborn: 0.2}
	for f, p := range odds {
		m.boxes.curse(f, p)
	}
	m.agenda.in(m.some(20*time.Minute, 40*time.Minute), m.goodBoxes)
}

func (m *mishaps) goodBoxes() {
	for _, f := range []fate{unborn, stillFor, hung, cutDown, stubborn} {
		m.boxes.curse(f, 0)
	}
}

// end lets everything be up, and stay so.
func (m *mishaps) end() {
	m.over = true
	m.goodBoxes()
	for _, n := range append(m.workers, m.ingresses...) {
		m.revive(n)
	}
}

// replayAll has an operator replay each dead letter, twice.
func (m *mishaps) replayAll() {
	stored := m.world().Stored
	if stored == nil {
		return
	}
	client := &http.Client{Transport: &http.Transport{DialContext: m.toAdmin, DisableKeepAlives: true}, Timeout: time.Minute}
	for job := range stored.Dead {
		for range 2 {
			resp, err := client.Post(fmt.Sprintf("http://worker/dead-letters/%d/replay", job), "application/json", http.NoBody)
			if err != nil {
				m.t.Errorf("replay of job %d: %v", job, err)
				return
			}
			_ = resp.Body.Close() // nothing of it is read
			m.story.tellf("job %d is replayed: %s", job, resp.Status)
			m.met("F61", 1)
		}
	}
}
