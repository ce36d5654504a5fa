package exact

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/run"
)

// errDead is what every call of a dead worker returns: nothing that it does has an effect any more.
var errDead = errors.New("the worker is dead")

// worker is one process. A new life begins with each restart; what the last one had in hand is gone.
type worker struct {
	id      int
	life    int
	alive   bool
	busy    [kinds]int
	skew    time.Duration
	frozen  time.Duration // until then it does not run
	cutOff  time.Duration // until then it can't reach NATS
	mute    time.Duration // until then it can't write the ledger
	retired bool          // takes no new messages
}

// task is what one worker does about one thing: a coroutine that gives way at each call.
type task struct {
	s     *Sim
	w     *worker
	life  int
	about int64  // the job, for the story
	sweep string // the name of the sweep that it is a run of, if it is one
	dice  *dice
	yield func(time.Duration) bool
}

// spawn has the worker do something, and calls done when it has, unless it dies before.
func (s *Sim) spawn(w *worker, about int64, d *dice, do func(*task), done func()) *task {
	t := &task{s: s, w: w, life: w.life, about: about, dice: d}
	f := s.hire()
	f.do = func(yield func(time.Duration) bool) {
		t.yield = yield
		do(t)
	}
	var step func()
	step = func() {
		if !t.dead() && w.frozen > s.now {
			s.after(w.frozen-s.now, step)
			return
		}
		if pause, _ := f.next(); pause != over {
			s.after(pause, step)
			return
		}
		s.idle = append(s.idle, f)
		if !t.dead() {
			done()
		}
	}
	s.after(0, step)
	return t
}

// fiber runs one task after the other. A coroutine for each task would do, but the race detector keeps something of each for good, and
// a story has tens of thousands of tasks.
type fiber struct {
	do   func(yield func(pause time.Duration) bool) // The task.
	next func() (pause time.Duration, ok bool)
	stop func()
}

// over is the pause after a task.
const over time.Duration = -1

// hire returns a fiber that has nothing to do.
func (s *Sim) hire() *fiber {
	if last := len(s.idle) - 1; last >= 0 {
		f := s.idle[last]
		s.idle = s.idle[:last]
		return f
	}
	f := &fiber{}
	f.next, f.stop = iter.Pull(func(yield func(time.Duration) bool) {
		for {
			f.do(yield)
			if !yield(over) {
				return
			}
		}
	})
	return f
}

// dismiss ends the fibers that have nothing to do.
func (s *Sim) dismiss() {
	for _, f := range s.idle {
		f.stop()
	}
	s.idle = nil
}

func (t *task) dead() bool { return t.life != t.w.life || !t.w.alive }

// pause lets time pass. It reports whether the worker still lives then.
func (t *task) pause(d time.Duration) bool {
	if t.dead() {
		return false
	}
	t.yield(d)
	return !t.dead()
}

// call is how a call to the outside goes.
type call struct {
	what     string
	from, to time.Duration // how long it takes
	limit    time.Duration // when the adapter gives it up
	up       func() error  // why the other side can't be reached
	fails    Fault         // an error without an effect
	lost     Fault         // an effect without an answer
	late     Fault         // an effect after the limit
}

// do makes a call. Its effect comes between two pauses, at each of which others act and the worker can die.
func (t *task) do(ctx context.Context, c call, effect func() error) error {
	if t.dead() {
		return errDead
	}
	takes := t.dice.between(c.from, c.to)
	before := time.Duration(t.dice.next() % uint64(takes+1)) //nolint:gosec // not negative
	dies, diesAfter := t.s.hits(WorkerDiesBefore, t.dice), t.s.hits(WorkerDiesAfter, t.dice)
	fails := c.fails != "" && t.s.hits(c.fails, t.dice)
	lost := c.lost != "" && t.s.hits(c.lost, t.dice)
	late := c.late != "" && t.s.hits(c.late, t.dice)
	if late {
		return t.doLate(ctx, c, effect)
	}
	limit, began := t.limit(ctx, c), t.s.now
	if !t.pause(before) {
		return errDead
	}
	if c.limit > 0 && t.s.now-began > limit { // It was frozen: who wakes up after the deadline of a call sends nothing.
		t.tellf("%s: too late", c.what)
		return context.DeadlineExceeded
	}
	if dies {
		t.s.kill(t.w)
		return errDead
	}
	if err := c.up(); err != nil {
		t.tellf("%s: %v", c.what, err)
		return err
	}
	if fails {
		t.tellf("%s: fails", c.what)
		return errors.New(string(c.fails))
	}
	err := effect()
	t.told(c.what, err)
	if diesAfter {
		t.s.kill(t.w)
		return errDead
	}
	if !t.pause(takes - before) {
		return errDead
	}
	if lost && err == nil {
		t.tellf("%s: the answer is lost", c.what)
		return errors.New(string(c.lost))
	}
	return err
}

// doLate is a call whose effect comes after its caller has given up.
func (t *task) doLate(ctx context.Context, c call, effect func() error) error {
	limit := t.limit(ctx, c)
	t.s.after(limit+t.dice.between(time.Second, 20*time.Second), func() {
		if c.up() == nil {
			t.tellf("%s: works late (%v)", c.what, effect())
		}
	})
	if !t.pause(limit) {
		return errDead
	}
	return context.DeadlineExceeded
}

// limit is how long the call may take: until the adapter gives it up, or its caller does.
func (t *task) limit(ctx context.Context, c call) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(c.limit, max(0, deadline.Sub(t.time())))
	}
	return c.limit
}

// time is the worker's clock.
func (t *task) time() time.Time { return t.s.time().Add(t.w.skew) }

func (t *task) told(what string, err error) {
	if err != nil {
		t.tellf("%s: %v", what, err)
		return
	}
	t.tellf("%s", what)
}

func (t *task) tellf(format string, args ...any) {
	if t.s.Story != nil {
		t.s.tellf(t.about, "worker %d: "+format, append([]any{t.w.id}, args...)...)
	}
}

// launcher is the shell, as it is, in this worker's hands.
func (t *task) launcher() *launch.Launcher {
	return launch.New(launch.Options{
		Ledger: t, Forge: t, Authors: t, Fleet: t, Queue: t,
		Places: t, Rules: t.s.rules(), Observer: silent{}, PoolOf: pool, Log: t.s.log, Rand: t.s.jitter,
		Tracer: noop.NewTracerProvider().Tracer(""), Now: t.time, Ready: func(run.Job) error { return nil },
		Admit: func(_ context.Context, j run.Job) (run.Job, error) { return j, nil },
	})
}

// kill ends the worker now; another life begins a little later.
func (s *Sim) kill(w *worker) {
	if !w.alive {
		return
	}
	w.alive = false
	w.life++
	w.busy, w.skew, w.frozen, w.cutOff, w.mute, w.retired = [kinds]int{}, 0, 0, 0, 0, false
	s.tellf(0, "worker %d dies", w.id)
	if s.leader == w {
		s.leader = nil
	}
	s.after(s.hands.between(time.Second, 10*time.Second), func() { s.start(w) })
}

func (s *Sim) start(w *worker) {
	if w.alive {
		return
	}
	w.alive = true
	s.tellf(0, "worker %d starts", w.id)
	s.pull()
}

// silent is an observer that nobody asks.
type silent struct{}

func (silent) Launched(string, string)             {}
func (silent) QueueToLaunch(string, time.Duration) {}
func (silent) QueueToStart(string, time.Duration)  {}
func (silent) Step(string, time.Duration)          {}
func (silent) Buried()                             {}

func (s *Sim) tellf(job int64, format string, args ...any) {
	if s.Story != nil {
		fmt.Fprintf(s.Story, "%s job %-4d %s\n", s.time().Format("15:04:05.000"), job, fmt.Sprintf(format, args...))
	}
}
