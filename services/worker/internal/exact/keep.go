package exact

import (
	"context"
	"fmt"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// warmAfter is for how long after faults have stopped sandboxes are kept warm: longer than one is kept.
const warmAfter = 75 * time.Minute

// warmOf is how many sandboxes wait in the story.
func warmOf(o Options) int {
	if d := newDice(o.Seed, 8); o.Warm == 0 && d.chance(0.5) {
		return 1 + d.below(3)
	}
	return max(0, o.Warm)
}

// wants is how many sandboxes of the pool are to wait now.
func (s *Sim) wants(pool string) int {
	switch {
	case s.Warm == 0 || s.healed && s.now > s.healedAt+warmAfter:
		return 0
	case pool == gpuPool:
		return 1
	}
	return s.Warm
}

// warmPools are the pools as the pools file defines them.
func (s *Sim) warmPools() []sweep.WarmPool {
	var all []sweep.WarmPool
	for _, name := range []string{poolName, gpuPool} {
		p, _ := pool(run.Job{Pool: name}) // It knows all pools.
		a := places.Ask{Pool: name, Sandbox: sandboxOf(run.Job{ID: 1, Pool: name})}
		a.StartLimit = p.StartLimit()
		all = append(all, sweep.WarmPool{Ask: a, Want: s.wants(name), Pool: p})
	}
	return all
}

// warmLoop is the name of the sweep that ends warm sandboxes, and sees how far they are.
const warmLoop = "warm"

// warmLoops are the sweeps that keep sandboxes warm. Each has its own keeper, as each is another task.
func (s *Sim) warmLoops() []*loop {
	by := func(once func(*sweep.Warm, context.Context) (sweep.Report, error)) func(*task, context.Context) (sweep.Report, error) {
		keeper := &sweep.Warm{Pools: s.warmPools, Ready: func(run.Pool) error { return nil }, Rules: s.rules(), Each: oneByOne}
		return func(t *task, ctx context.Context) (sweep.Report, error) {
			keeper.Fleet, keeper.Book, keeper.Now = t, t, t.time
			return once(keeper, ctx)
		}
	}
	return []*loop{{warmLoop, time.Second, by((*sweep.Warm).RunOnce)}, {"warming", time.Second, by((*sweep.Warm).Fill)}}
}

// allWarm reports whether the sweep of the warm sandboxes need not look: but for every tenth time, when it looks anyway.
func (s *Sim) allWarm() bool {
	ready := map[string]int{}
	for _, w := range s.places.Warm {
		if !w.Ready() {
			return false
		}
		ready[w.Pool]++
	}
	enough := len(s.places.Short) == 0 && ready[poolName] == s.wants(poolName) && ready[gpuPool] == s.wants(gpuPool)
	return enough && s.now/time.Second%10 != 0
}

// sandboxOf is what a sandbox for the job will be. Some jobs choose something that the sandboxes of their pool do not have.
func sandboxOf(j run.Job) places.Sandbox {
	a := places.Sandbox{Price: 0.0001, Spec: j.Pool}
	if j.ID%10 == 0 {
		a.Spec = ""
	}
	return a
}

// wanted reports whether a sandbox that waits is one of those that are to.
func (s *Sim) wanted(b *box) bool {
	if claimedIn(s.places, b) {
		return true
	}
	w, known := s.places.Warm[b.warm.name]
	if !known || w.Ends {
		return false
	}
	younger := 0
	for _, other := range s.places.Warm {
		if other.Pool == b.warm.pool && !other.Ends && other.Since.After(w.Since) {
			younger++
		}
	}
	return younger < 2*s.wants(b.warm.pool) // One that is old waits for the one that follows it.
}

// nobodyCanEnd reports whether nobody could end a sandbox now, or know that it is to end.
func (s *Sim) nobodyCanEnd() bool { return s.now < s.brokerDown || s.now < s.modalDown }

// claimedIn reports whether a runner has claimed the sandbox.
func claimedIn(r places.Record, b *box) bool {
	for _, place := range r.Held {
		if place.SandboxID == b.id {
			return true
		}
	}
	return false
}

// cools checks that who keeps sandboxes warm ends none that a runner has claimed.
func (c *checker) cools(t *task, b *box) {
	if t.sweep == warmLoop && b != nil {
		c.thatf(!claimedIn(c.s.places, b), "I5", 0, "sandbox %s is ended, which a runner has claimed", b.id)
	}
}

// claims checks that no two have one sandbox.
func (c *checker) claims(r places.Record) {
	if len(r.Warm) == 0 && c.s.Warm == 0 {
		return
	}
	whose := map[string]string{}
	claim := func(id, who string) {
		if other, twice := whose[id]; twice && id != "" {
			c.thatf(false, "I3", 0, "sandbox %s is that of %s and of %s", id, min(who, other), max(who, other))
		}
		whose[id] = who
	}
	for runner, place := range r.Held {
		claim(place.SandboxID, runner)
	}
	for name, w := range r.Warm {
		claim(w.SandboxID, name)
	}
	c.total["I3"]++
}

// warmInWords is how many sandboxes wait.
func warmInWords(r places.Record) string {
	if len(r.Warm) == 0 {
		return ""
	}
	ready := 0
	for _, w := range r.Warm {
		if w.SandboxID != "" && !w.Ends {
			ready++
		}
	}
	return fmt.Sprintf(", %d of %d warm", ready, len(r.Warm))
}
