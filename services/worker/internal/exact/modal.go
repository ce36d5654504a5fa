package exact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// deployment is the id of the workers.
const deployment = "ours"

// roomWait is what the adapter says when Modal has no room.
const roomWait = 15 * time.Second

// box is a sandbox. Its entrypoint settles whose the runner's time is, once: a job's, or the wish to end it.
type box struct {
	id        string
	name      run.Name // the runner's; zero while it waits for one
	createdAt time.Time
	jit       string // empty while it waits for a runner
	warm      warmth // zero if it was made for a runner
	idle      time.Duration
	dice      *dice
	scheduled bool // Modal has a machine for it
	started   bool // the entrypoint has started the runner
	deaf      bool // it answers no question
	hung      bool // it never starts anything
	released  bool
	ended     string // how, if it has
	runner    *ghRunner
}

func (b *box) alive() bool { return b.ended == "" }

// working is the job that the runner has in hand; nil if it has none.
func (b *box) working() *ghJob {
	if b.runner != nil && b.runner.job != nil && b.runner.job.ranOn == b.name && b.runner.job.status == inProgress {
		return b.runner.job
	}
	return nil
}

// hadJob reports whether a job has claimed the runner.
func (b *box) hadJob() bool {
	return b.runner != nil && b.runner.job != nil && b.runner.job.ranOn == b.name
}

// modal is the sandboxes by name and by id.
type modal struct {
	boxes   map[string]*box
	running map[run.Name]*box
	alive   []*box
	serial  int
	given   int // warm ones
}

func (t *task) modal(what string) call {
	return call{what: what, from: 30 * time.Millisecond, to: 300 * time.Millisecond, limit: 15 * time.Second, fails: ModalError, up: func() error {
		if t.s.now < t.s.modalDown {
			return fmt.Errorf("modal: %w", errAway)
		}
		return nil
	}}
}

// Create is of launch.Fleet.
func (t *task) Create(ctx context.Context, r run.Runner, p run.Pool, jit config.Secret) (id string, err error) {
	c := t.modal("create " + fmt.Sprint(r.Name))
	c.to, c.limit, c.lost, c.late = 2*time.Second, 20*time.Second, CreateLost, CreateLate
	err = t.do(ctx, c, func() error {
		t.s.check.act(r, "created")
		if t.s.modal.running[r.Name] != nil {
			return run.ErrExists
		}
		if err := t.roomFor(p.Name); err != nil {
			return err
		}
		t.s.check.creates(r, jit.Reveal())
		id = t.s.startBox(r.Name, jit.Reveal(), p.IdleLimit, t.dice)
		return nil
	})
	return id, err
}

// roomFor is what Modal says if it has no room for a sandbox of the pool.
func (t *task) roomFor(pool string) error {
	if pool == gpuPool && t.s.now < t.s.gpusAway {
		return &run.LimitedError{Until: t.s.time().Add(roomWait), Err: errors.New("modal: no GPU is free")}
	}
	if t.s.hits(ModalCapacity, t.dice) {
		until := t.s.time().Add(t.dice.between(10*time.Second, time.Minute))
		return &run.LimitedError{Until: until, Err: errors.New("modal: resource exhausted")}
	}
	return nil
}

// startBox starts a sandbox, and what happens in it.
func (s *Sim) startBox(name run.Name, jit string, idle time.Duration, d *dice) string {
	s.modal.serial++
	b := &box{id: fmt.Sprintf("sb-%d", s.modal.serial), name: name, createdAt: s.time(), jit: jit, idle: idle, dice: newDice(d.next())}
	s.modal.running[name] = b
	s.boot(b, func(leaves bool) { s.begin(b, leaves) })
	return b.id
}

// boot has a sandbox boot, and then do what it is for. Leaves says that its runner will go without a job.
func (s *Sim) boot(b *box, then func(leaves bool)) {
	s.modal.boxes[b.id] = b
	s.modal.alive = append(s.modal.alive, b)
	s.check.crowded()
	boot := b.dice.between(2*time.Second, 8*time.Second)
	crash, hang := s.hits(BootCrash, b.dice), s.hits(BootHang, b.dice)
	leaves := !b.warm.waits && s.hits(RunnerLeaves, b.dice)
	b.deaf = s.hits(Deaf, b.dice)
	waits := b.dice.between(0, 20*time.Minute)
	if !s.hits(Unscheduled, b.dice) {
		waits = 0
	}
	waits = max(waits, s.NoMachines-s.now)
	s.after(waits, func() { b.scheduled = b.alive() })
	boot += waits
	switch {
	case hang:
		b.hung = true
	case crash:
		s.after(boot, func() { s.endBox(b, "its sandbox ended: init_failure") })
	default:
		s.after(boot, func() { then(leaves) })
	}
}

// begin starts the runner of a sandbox.
func (s *Sim) begin(b *box, leaves bool) {
	b.started = b.alive()
	s.after(b.dice.between(time.Second, 4*time.Second), func() { s.online(b) })
	if leaves {
		s.after(b.dice.between(time.Second, time.Minute), func() {
			if !b.hadJob() {
				s.endBox(b, "its sandbox ended: success")
			}
		})
	}
	s.after(b.idle, func() { s.release(b, false) })
}

// online is when the runner of a sandbox begins to wait for a job.
func (s *Sim) online(b *box) {
	if !b.alive() || b.released {
		return
	}
	r := s.gh.runners[b.name]
	if r == nil || r.jit != b.jit || r.box != nil || r.job != nil {
		s.endBox(b, "its sandbox ended: failure, exit code 75") // The registration is gone, in use, or was used.
		return
	}
	r.box, b.runner, r.online = b, r, s.now
	s.tellf(b.name.Job, "runner %v is online", b.name)
	s.gh.idle = append(s.gh.idle, r)
	s.assign()
}

// release ends a runner that has no job: by itself, or asked by a worker. It reports whether it has none.
func (s *Sim) release(b *box, asked bool) bool {
	if b.hadJob() {
		return false
	}
	if b.alive() && !b.released {
		b.released = true
		if b.runner != nil {
			s.gh.idle = slices.DeleteFunc(s.gh.idle, func(i *ghRunner) bool { return i == b.runner })
		}
		if asked && s.hits(GoodbyeHangs, b.dice) {
			return true
		}
		s.after(b.dice.between(100*time.Millisecond, time.Second), func() { s.endBox(b, "its sandbox ended: failure, exit code 75") })
	}
	return true
}

func (s *Sim) endBox(b *box, how string) {
	if !b.alive() {
		return
	}
	b.ended = how
	s.tellf(b.name.Job, "sandbox %s of runner %v: %s", b.id, b.name, how)
	if s.modal.running[b.name] == b {
		delete(s.modal.running, b.name)
	}
	s.modal.alive = slices.DeleteFunc(s.modal.alive, func(a *box) bool { return a == b })
	if b.runner != nil {
		s.lostRunner(b.runner)
	}
}

// Find is of launch.Fleet and sweep.Fleet.
func (t *task) Find(ctx context.Context, name run.Name) (id string, err error) {
	err = t.do(ctx, t.modal("find"), func() error {
		if b := t.s.modal.running[name]; b != nil {
			id = b.id
		} else if n := slices.IndexFunc(t.s.modal.alive, func(b *box) bool { return b.warm.tag == name }); n >= 0 {
			id = t.s.modal.alive[n].id
		}
		return nil
	})
	return id, err
}

// LaunchedFor is of launch.Fleet.
func (t *task) LaunchedFor(ctx context.Context, job int64) (ids []string, err error) {
	err = t.do(ctx, t.modal("list the job's sandboxes"), func() error {
		for _, b := range t.s.modal.alive {
			if b.tag().Job == job {
				ids = append(ids, b.id)
			}
		}
		return nil
	})
	return ids, err
}

// Fate is of launch.Fleet and sweep.Fleet.
func (t *task) Fate(ctx context.Context, id string, _ bool) (fate run.Fate, err error) {
	err = t.do(ctx, t.modal("fate"), func() error {
		fate = run.Fate{How: "its sandbox ended: unknown"}
		if b := t.s.modal.boxes[id]; b != nil {
			fate = run.Fate{Running: b.alive(), How: b.ended}
		}
		return nil
	})
	return fate, err
}

// Terminate is of launch.Fleet.
func (t *task) Terminate(ctx context.Context, id string) error {
	return t.do(ctx, t.modal("terminate "+id), func() error {
		b := t.s.modal.boxes[id]
		if b == nil || !b.alive() {
			return nil
		}
		t.s.check.cools(t, b)
		end := func() { t.s.terminate(b) }
		if t.s.hits(TerminateLags, t.dice) {
			t.s.after(t.dice.between(time.Second, 30*time.Second), end)
			return nil
		}
		end()
		return nil
	})
}

// List is of sweep.Fleet.
func (t *task) List(ctx context.Context) (listed []sweep.Sandbox, err error) {
	c := t.modal("list sandboxes")
	c.to, c.fails = time.Second, ListFails
	err = t.do(ctx, c, func() error {
		for _, b := range t.s.modal.alive {
			listed = append(listed, t.s.listed(b))
		}
		return nil
	})
	return listed, err
}
