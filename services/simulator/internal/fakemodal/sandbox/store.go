package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

// Errors of the Store. Match them with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrNameUsed = errors.New("the name is used by a running sandbox of the app")
	ErrCapacity = errors.New("the limit of concurrent sandboxes is reached")
	ErrStopped  = errors.New("the server is stopping")
)

// DefaultTimeout is the lifetime of a sandbox that asks for none; MaxTimeout the longest that one may ask for.
// Source: modal.com/docs/guide/sandboxes.
const (
	DefaultTimeout = 5 * time.Minute
	MaxTimeout     = 24 * time.Hour
)

// Options configures a Store.
type Options struct {
	Executor machine.Executor
	// Latency is the time from a sandbox's creation to the start of its program.
	Latency time.Duration
	// Late is asked for each sandbox how much later than that it starts. Nil means no later.
	Late func() time.Duration
	// OutputLimit is how many bytes of a program's output are kept; the oldest go first.
	OutputLimit int
	Limits      Limits
}

// Store holds all sandboxes since its making. It is safe for concurrent use.
type Store struct {
	options Options
	ctx     context.Context //nolint:containedctx // the lifetime of all sandboxes, ended by Stop
	cancel  context.CancelCauseFunc
	living  sync.WaitGroup

	mu       sync.Mutex
	stopped  bool
	limits   Limits
	rates    map[Backend]*rate.Limiter
	all      []*Sandbox // by creation
	live     []*Sandbox // those of all that have not ended
	byID     map[string]*Sandbox
	byTask   map[string]*Sandbox
	byKey    map[string]*Sandbox // by idempotency key
	perName  map[string]int      // live sandboxes with the name, in all apps
	mostName map[string]int      // the most that perName has ever been
	mostLive int
}

// NewStore makes an empty Store. Stop must be called.
func NewStore(o Options) (*Store, error) {
	if err := o.Limits.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Store{
		options: o, ctx: ctx, cancel: cancel, limits: o.Limits, rates: o.Limits.limiters(),
		byID: map[string]*Sandbox{}, byTask: map[string]*Sandbox{}, byKey: map[string]*Sandbox{},
		perName: map[string]int{}, mostName: map[string]int{},
	}, nil
}

// Stop ends all sandboxes as Terminated and returns when nothing of them runs. Create fails from then on.
func (st *Store) Stop() {
	st.mu.Lock()
	st.stopped = true
	st.mu.Unlock()
	st.cancel(ErrStopped)
	st.living.Wait()
}

// Create starts a sandbox, or returns the one that was created with the same idempotency key. The errors are
// ErrNameUsed, ErrCapacity, ErrStopped and *RateError; with all of them, nothing was created.
func (st *Store) Create(spec Spec) (*Sandbox, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if s, ok := st.byKey[spec.IdempotencyKey]; ok && spec.IdempotencyKey != "" {
		return s, nil
	}
	if err := st.admit(spec); err != nil {
		return nil, err
	}
	s := st.add(spec)
	st.living.Go(func() {
		st.finish(s, s.live(st.options.Executor))
	})
	return s, nil
}

// admit decides whether the sandbox may be created. The caller holds mu.
func (st *Store) admit(spec Spec) error {
	if st.stopped {
		return ErrStopped
	}
	if !st.rates[spec.Backend].Allow() {
		return &RateError{PerSecond: st.limits.perSecond(spec.Backend)}
	}
	name := spec.Definition.GetName()
	if name != "" && slices.ContainsFunc(st.live, func(s *Sandbox) bool { return s.spec.AppID == spec.AppID && s.name() == name }) {
		return fmt.Errorf("sandbox %q: %w", name, ErrNameUsed)
	}
	if most := st.limits.MaxSandboxes; most > 0 && len(st.live) >= most {
		return fmt.Errorf("%w (%d)", ErrCapacity, most)
	}
	return nil
}

// add makes the sandbox known. The caller holds mu.
func (st *Store) add(spec Spec) *Sandbox {
	created := st.nextCreation()
	latency := st.options.Latency
	if st.options.Late != nil {
		latency += st.options.Late()
	}
	s := &Sandbox{
		id: newID(spec.Backend), taskID: newTaskID(), createdAt: created, startAt: created.Add(latency),
		timeout: DefaultTimeout, output: newLog(st.options.OutputLimit), started: make(chan struct{}),
		done: make(chan struct{}), spec: spec,
		env: spec.Env, envKeys: slices.Sorted(maps.Keys(spec.Env)), tags: maps.Clone(spec.Tags),
		status: Pending, execs: map[string]*Exec{},
	}
	s.spec.Env = nil
	s.ctx, s.stop = context.WithCancelCause(st.ctx)
	if secs := spec.Definition.GetTimeoutSecs(); secs > 0 {
		s.timeout = time.Duration(secs) * time.Second
	}
	st.all, st.live = append(st.all, s), append(st.live, s)
	st.byID[s.id], st.byTask[s.taskID] = s, s
	if spec.IdempotencyKey != "" {
		st.byKey[spec.IdempotencyKey] = s
	}
	st.mostLive = max(st.mostLive, len(st.live))
	if name := s.name(); name != "" {
		st.perName[name]++
		st.mostName[name] = max(st.mostName[name], st.perName[name])
	}
	return s
}

// nextCreation returns now, or a little later: the SDK pages through lists by the creation time, which is a float64
// of seconds on the wire, so no two may be less than a microsecond apart.
func (st *Store) nextCreation() time.Time {
	now := time.Now().Truncate(time.Microsecond)
	if n := len(st.all); n > 0 {
		if next := st.all[n-1].createdAt.Add(time.Microsecond); next.After(now) {
			return next
		}
	}
	return now
}

// finish frees the name and the place of the sandbox in the moment that its status becomes final.
func (st *Store) finish(s *Sandbox, o outcome) {
	defer close(s.done)
	s.stop(errEnded) // frees the context
	s.output.close()
	st.mu.Lock()
	defer st.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.startedAt.IsZero() {
		close(s.started)
	}
	s.env, s.endedAt = nil, time.Now()
	s.status, s.exitCode, s.exception = o.status, o.exitCode, o.exception
	st.live = slices.DeleteFunc(st.live, func(other *Sandbox) bool { return other == s })
	if name := s.name(); name != "" {
		if st.perName[name]--; st.perName[name] == 0 {
			delete(st.perName, name)
		}
	}
}

func (s *Sandbox) name() string { return s.spec.Definition.GetName() }
