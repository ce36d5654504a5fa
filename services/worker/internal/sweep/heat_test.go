package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// heat is Modal with warm sandboxes and the record of places, in memory. It fails the test when a sandbox is made beyond the limit, or one
// ends that a runner has claimed. It is safe for concurrent use.
type heat struct {
	t    *testing.T
	mu   sync.Mutex
	book placestest.Memory
	// most may run at a time; zero is no limit.
	most  int
	boxes map[string]*heated
	calls []string
}

// heated is a warm sandbox.
type heated struct {
	name string
	at   time.Time
	over bool
	// claimed says that it is a runner's.
	claimed bool
	// says is what it answers in place of what it would, or it gives none for err.
	says run.Evidence
	err  error
}

// bootsFor is how long a sandbox takes until it waits.
const bootsFor = 3 * time.Second

func newHeat(t *testing.T) *heat { return &heat{t: t, boxes: map[string]*heated{}} }

// hand is a worker's way to it. The call with the number at is the one at which fault happens.
type hand struct {
	*heat

	n, at int
	fault fault
	dead  bool
	// isLate is set while a call works late.
	isLate bool
}

type fault string

const (
	diesBefore fault = "it dies before the call"
	diesAfter  fault = "it dies after the call"
	fails      fault = "the call fails"
	lost       fault = "the answer is lost"
	late       fault = "the call works late, and the answer is lost"
	freezes    fault = "it freezes before the call"
	claimed    fault = "a runner claims a sandbox before the call"
)

var errDead = errors.New("this worker is dead")

// do is a call, which has an effect.
func (h *hand) do(ctx context.Context, call string, effect func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return errDead
	}
	h.calls = append(h.calls, call)
	if h.n++; h.n == h.at {
		switch h.fault {
		case diesBefore:
			h.dead = true
			return errDead
		case diesAfter:
			effect()
			h.dead = true
			return errDead
		case fails:
			return errAway
		case lost:
			effect()
			return errAway
		case late:
			time.AfterFunc(90*time.Second, func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.isLate = true
				effect()
				h.isLate = false
			})
			return errAway
		case freezes:
			h.mu.Unlock()
			time.Sleep(10 * time.Minute)
			h.mu.Lock()
		case claimed:
			h.claim() //nolint:contextcheck // it is another's
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	effect()
	return nil
}

// answer is a call whose effect has an answer. One that comes late is nobody's.
func answer[T any](ctx context.Context, h *hand, call string, effect func() T) (said T, err error) {
	answers := make(chan T, 1)
	err = h.do(ctx, call, func() { answers <- effect() })
	select {
	case said = <-answers:
	default:
	}
	return said, err
}

// wants is the runner that claims a warm sandbox.
var wants = places.Ask{Runner: "1.1", Job: 1, Pool: "default", Owner: "octo", Repo: "repo", Sandbox: places.Sandbox{Spec: "abc"}}

// claim has a runner claim a warm sandbox, if it can.
func (h *heat) claim() {
	var id string
	_, _ = h.book.Change(h.t.Context(), func(r places.Record) places.Record {
		after, _ := r.TakeWarm(wants, placestest.Rules{Fleet: places.Limit{Max: h.most}}, time.Now())
		after = after.Claim(wants, time.Now())
		if id = after.WarmOf(wants.Runner); id == "" { // It would get one of its own.
			return r
		}
		return after
	})
	if b := h.boxes[id]; b != nil {
		b.claimed = true
	}
}

func (h *hand) Read(ctx context.Context) (places.Record, uint64, error) {
	r, err := answer(ctx, h, "read", func() places.Record {
		r, _, _ := h.book.Read(ctx)
		return r
	})
	return r, 0, err
}

func (h *hand) Change(ctx context.Context, change func(places.Record) places.Record) (uint64, error) {
	before, _, _ := h.book.Read(context.WithoutCancel(ctx))
	after := change(before) // Asked for by who makes the call, so that what comes late can only fit or not.
	return answer(ctx, h, "change", func() uint64 {
		revision, _ := h.book.Change(ctx, func(r places.Record) places.Record {
			switch {
			case r.Same(before):
				return after
			case h.isLate:
				return r
			}
			return change(r)
		})
		return revision
	})
}

func (h *hand) Warm(ctx context.Context, name string, _ run.Pool) (id string, err error) {
	started, err := answer(ctx, h, "warm", func() string {
		if _, exists := h.find(name); exists {
			return "exists"
		}
		return h.start(name)
	})
	if started == "exists" {
		return "", run.ErrExists
	}
	return started, err
}

// start starts a sandbox.
func (h *heat) start(name string) string {
	id := fmt.Sprintf("sb-%d", len(h.boxes)+1)
	h.boxes[id] = &heated{name: name, at: time.Now()}
	if n := h.running(); h.most > 0 && n > h.most {
		h.t.Errorf("%d sandboxes run, and %d may", n, h.most)
	}
	return id
}

func (h *heat) running() (n int) {
	for _, b := range h.boxes {
		if !b.over {
			n++
		}
	}
	return n
}

func (h *heat) find(name string) (id string, found bool) {
	for id, b := range h.boxes {
		if b.name == name && !b.over {
			return id, true
		}
	}
	return "", false
}

func (h *hand) FindWarm(ctx context.Context, name string) (string, error) {
	return answer(ctx, h, "find", func() string {
		id, _ := h.find(name)
		return id
	})
}

func (h *hand) Ask(ctx context.Context, id string, release bool) (run.Evidence, error) {
	type evidence struct {
		says run.Evidence
		deaf error
	}
	e, err := answer(ctx, h, "ask", func() evidence {
		says, deaf := h.ask(id, release)
		return evidence{says, deaf}
	})
	return e.says, errors.Join(err, e.deaf)
}

func (h *heat) ask(id string, release bool) (run.Evidence, error) {
	b := h.boxes[id]
	switch {
	case b == nil || b.over:
		return run.Over, nil
	case b.err != nil || b.says != "":
		return b.says, b.err
	case time.Since(b.at) < bootsFor:
		return run.Starting, nil
	case release:
		h.end(b)
		return run.ReleasedNow, nil
	}
	return run.Warm, nil
}

func (h *heat) end(b *heated) {
	b.over = true
	if b.claimed {
		h.t.Error("a sandbox ended that a runner had claimed")
	}
}

func (h *hand) Terminate(ctx context.Context, id string) error {
	return h.do(ctx, "terminate", func() {
		if b := h.boxes[id]; b != nil && !b.over {
			h.end(b)
		}
	})
}

func (h *hand) Fate(ctx context.Context, id string, _ bool) (run.Fate, error) {
	return answer(ctx, h, "fate", func() run.Fate {
		b := h.boxes[id]
		return run.Fate{Running: b != nil && !b.over, How: "its sandbox ended: failure, exit code 1"}
	})
}

// warmPool wants so many.
func warmPool(want int) sweep.WarmPool {
	return sweep.WarmPool{Want: want, Pool: run.Pool{Name: "default"}, Ask: places.Ask{Pool: "default", Sandbox: places.Sandbox{
		Spec: "abc", StartLimit: time.Minute,
	}}}
}

// keeper is a worker's, for which the pools are what pools says.
func keeper(h *hand, pools func() []sweep.WarmPool) *sweep.Warm {
	return &sweep.Warm{
		Fleet: h, Book: h, Pools: pools, Ready: func(run.Pool) error { return nil }, Now: time.Now,
		Rules: placestest.Rules{Fleet: places.Limit{Max: h.most}},
		Each: func(n int, do func(int)) {
			for i := range n {
				do(i)
			}
		},
	}
}

// keep has a worker lead for so long.
func (h *hand) keep(ctx context.Context, d time.Duration, pools func() []sweep.WarmPool) {
	w := keeper(h, pools)
	for until := time.Now().Add(d); ctx.Err() == nil && !h.dead && time.Now().Before(until); {
		_, _ = w.RunOnce(ctx) // What failed is looked at by the next.
		_, _ = w.Fill(ctx)
		time.Sleep(time.Second)
	}
}

// record is what is on record.
func (h *heat) record() places.Record {
	r, _, _ := h.book.Read(h.t.Context())
	return r
}
