package exact

import (
	"context"
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

const (
	// warmTime is how long a sandbox waits for a runner.
	warmTime = 90 * time.Minute
	// giveTimeout is when the adapter gives up to give a sandbox.
	giveTimeout = 10 * time.Second
)

// warmth is what there is to a sandbox that was made to wait for a runner.
type warmth struct {
	name, pool string
	waits      bool     // for a runner, or did so; false as long as it boots
	tag        run.Name // the runner that it is said to be given to, before it is
	givenAt    time.Time
}

// tag is the runner that the sandbox is said to be; zero if it is none's.
func (b *box) tag() run.Name {
	if b.warm.name == "" {
		return b.name
	}
	return b.warm.tag
}

// place is the name under which it has its place.
func (b *box) place() string {
	if b.name.IsZero() {
		return b.warm.name
	}
	return places.Key(b.name)
}

// Warm is of sweep.WarmFleet.
func (t *task) Warm(ctx context.Context, name string, p run.Pool) (id string, err error) {
	c := t.modal("create " + name)
	c.to, c.limit, c.lost, c.late = 2*time.Second, 20*time.Second, CreateLost, CreateLate
	err = t.do(ctx, c, func() error {
		if t.s.warmBox(name) != nil {
			return run.ErrExists
		}
		if err := t.roomFor(p.Name); err != nil {
			return err
		}
		t.s.modal.serial++
		b := &box{
			id: fmt.Sprintf("sb-%d", t.s.modal.serial), createdAt: t.s.time(), warm: warmth{name: name, pool: p.Name}, idle: p.IdleLimit,
			dice: newDice(t.dice.next()),
		}
		id = b.id
		t.s.boot(b, func(bool) { t.s.wait(b) })
		return nil
	})
	return id, err
}

// wait has a sandbox wait for a runner, and end if none comes.
func (s *Sim) wait(b *box) {
	b.warm.waits = b.alive()
	s.after(warmTime, func() {
		if b.jit == "" {
			s.release(b, false)
		}
	})
	at := b.dice.between(time.Second, 2*time.Minute)
	if s.hits(WarmDies, b.dice) {
		s.after(at, func() {
			if b.jit == "" {
				s.endBox(b, "its sandbox ended: internal")
			}
		})
	}
	if s.hits(Deaf, b.dice) {
		s.after(at, func() { b.deaf = true })
	}
}

// warmBox is the sandbox of that name that runs, whatever has become of it.
func (s *Sim) warmBox(name string) *box {
	n := slices.IndexFunc(s.modal.alive, func(b *box) bool { return b.warm.name == name })
	if n < 0 {
		return nil
	}
	return s.modal.alive[n]
}

// FindWarm is of sweep.WarmFleet.
func (t *task) FindWarm(ctx context.Context, name string) (id string, err error) {
	err = t.do(ctx, t.modal("find "+name), func() error {
		if b := t.s.warmBox(name); b != nil {
			id = b.id
		}
		return nil
	})
	return id, err
}

// sayWarm is what a sandbox answers that no runner was given to.
func (s *Sim) sayWarm(b *box, release bool) run.Evidence {
	switch {
	case !b.warm.waits:
		return run.Starting
	case release && s.release(b, true), b.released:
		return run.ReleasedNow
	}
	return run.Warm
}

// Give is of launch.Fleet. The sandbox bears the runner's name before it is told.
func (t *task) Give(ctx context.Context, id string, r run.Runner, jit config.Secret) error {
	b := t.s.modal.boxes[id]
	err := t.do(ctx, t.modal("tag "+id), func() error {
		if !b.alive() || !b.warm.tag.IsZero() && b.warm.tag != r.Name {
			return run.ErrNotMade
		}
		b.warm.tag, b.warm.givenAt = r.Name, t.s.time()
		return nil
	})
	if err != nil {
		return err
	}
	c, silent := t.modal("give "+id), false
	c.limit, c.lost, c.late = giveTimeout, GiveLost, GiveLate
	err = t.do(ctx, c, func() error {
		t.s.check.act(r, "given a sandbox")
		switch {
		case b.alive() && b.deaf:
			silent = true
		case b.alive() && b.jit == "" && !b.released:
			t.s.check.creates(r, jit.Reveal())
			t.s.give(b, r.Name, jit.Reveal())
		case !b.alive() || b.jit != jit.Reveal():
			return run.ErrNotMade
		}
		return nil
	})
	if silent && err == nil { // The SDK waits for as long as it may.
		if !t.pause(giveTimeout) {
			return errDead
		}
		return context.DeadlineExceeded
	}
	return err
}

// give starts a runner in a sandbox that waits for one.
func (s *Sim) give(b *box, name run.Name, jit string) {
	b.name, b.jit = name, jit
	s.modal.given++
	if b.hung = s.hits(BootHang, b.dice); b.hung {
		return
	}
	leaves := s.hits(RunnerLeaves, b.dice)
	s.after(b.dice.between(100*time.Millisecond, time.Second), func() { s.begin(b, leaves) })
}

// listed is how Modal lists a sandbox.
func (s *Sim) listed(b *box) sweep.Sandbox {
	l := sweep.Sandbox{ID: b.id, Name: b.tag(), CreatedAt: b.createdAt, Deployment: deployment, Pool: b.warm.pool}
	switch j := s.gh.jobs[l.Name.Job]; {
	case j == nil:
		l.Warm = b.warm.name
	case b.warm.name != "":
		l.CreatedAt = b.warm.givenAt
		fallthrough
	default:
		l.Repo, l.Pool = j.Owner+"/"+j.Repo, j.Pool
	}
	return l
}
