package bubble_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

// fate is what befalls a sandbox.
type fate string

// The fates. All but well are faults.
const (
	well     fate = ""
	unborn   fate = "can't start"
	stillFor fate = "dies before its runner registers"
	hung     fate = "hangs before its runner registers"
	cutDown  fate = "dies in the middle of a job"
	stubborn fate = "goes on for a while after it is ended"
)

// lingers is how long a stubborn sandbox goes on: longer than a sweep takes to come by again, so that it is met still there.
const lingers = 40 * time.Second

// exitNoJob is the entrypoint's exit code for a runner that had no job.
const exitNoJob = 75

// catalogued are the faults that the fates are.
var catalogued = map[fate][]string{
	unborn: {"F47", "F63"}, stillFor: {"F47"}, hung: {"F47"}, cutDown: {"F48"}, stubborn: {"F49"},
}

// boxes is the machine.Executor of a universe: each sandbox is one goroutine that does what fleet/entrypoint.sh and the
// runner in it would.
type boxes struct {
	service *service
	// versionOf is the version of the runner in a sandbox; needed only if versions are cursed.
	versionOf func(id string) string

	mu     sync.Mutex
	rnd    *rand.Rand
	odds   map[fate]float64
	cursed map[string]fate // by version of the runner, of those that are not well
	fates  map[string]fate // by sandbox, of those that are not well
	count  map[fate]int    // how often each came true
}

func newBoxes(seed uint64, s *service) *boxes {
	return &boxes{
		service: s, rnd: rand.New(rand.NewPCG(seed, 3)), odds: map[fate]float64{}, cursed: map[string]fate{}, fates: map[string]fate{}, count: map[fate]int{},
	}
}

// curse makes sandboxes that are opened from now on meet the fate with the probability.
func (b *boxes) curse(f fate, probability float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.odds[f] = probability
}

// curseVersion makes all sandboxes with that version of the runner meet the fate.
func (b *boxes) curseVersion(version string, f fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cursed[version] = f
}

// meant is what befalls the box once it has begun: what befalls all of its version, or what was drawn for it.
func (b *box) meant() fate {
	if b.versionOf == nil {
		return b.fate
	}
	version := b.versionOf(b.id)
	b.boxes.mu.Lock()
	defer b.boxes.mu.Unlock()
	return cmp.Or(b.cursed[version], b.fate)
}

// fateOf is what befell the sandbox.
func (b *boxes) fateOf(id string) fate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fates[id]
}

// counts are how often each fate came true.
func (b *boxes) counts() map[fate]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.count)
}

// met records that a fate came true.
func (b *boxes) met(id string, f fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fates[id] = f
	b.count[f]++
}

func (b *boxes) draw() (f fate, start time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	start = time.Second + time.Duration(b.rnd.Int64N(int64(8*time.Second)))
	for _, f := range []fate{unborn, stillFor, hung, cutDown, stubborn} {
		if b.rnd.Float64() < b.odds[f] {
			return f, start
		}
	}
	return well, start
}

// Open implements machine.Executor.
func (b *boxes) Open(id string) (machine.Machine, error) {
	f, start := b.draw()
	if f == unborn {
		b.met(id, f)
		return nil, errors.New("the image could not be pulled")
	}
	return &box{boxes: b, id: id, fate: f, boot: start, told: make(chan struct{})}, nil
}

// box is one sandbox's machine.
type box struct {
	*boxes

	id   string
	fate fate
	boot time.Duration // from its start to that of the runner

	mu        sync.Mutex
	waits     bool          // for a runner, since it is warm
	given     string        // to which runner; "nobody" once it waits no more
	jit       string        // of that
	told      chan struct{} // closed with given
	claim     string        // whose the runner's time is, once that is settled
	interrupt func()        // what SIGINT does to the runner; nil before it runs
}

// Main is entrypoint.sh.
func (b *box) Main(ctx context.Context, p machine.Program) (int, error) {
	code, err := b.entrypoint(ctx, p)
	if ctx.Err() == nil {
		return code, err
	}
	if b.fate == stubborn || b.fate == hung {
		b.met(b.id, stubborn)
		time.Sleep(lingers)
	}
	return 0, context.Cause(ctx)
}

func (b *box) entrypoint(ctx context.Context, p machine.Program) (int, error) {
	if !sleep(ctx, b.boot) {
		return 0, nil
	}
	switch b.meant() {
	case stillFor:
		b.met(b.id, stillFor)
		_, _ = fmt.Fprintln(p.Stderr, "Segmentation fault") // the log takes everything
		return 139, nil
	case hung:
		b.met(b.id, hung)
		<-ctx.Done()
		return 0, nil
	case well, unborn, cutDown, stubborn:
	}
	jit := p.Env["ACTIONS_RUNNER_INPUT_JITCONFIG"]
	if p.Env["RUNNER_WARM_SECONDS"] != "" {
		if jit = b.await(ctx, p.Env["RUNNER_WARM_SECONDS"]); jit == "" {
			return 0, nil
		}
	}
	idle, err := strconv.Atoi(p.Env["RUNNER_IDLE_SECONDS"])
	if err != nil {
		return 0, fmt.Errorf("RUNNER_IDLE_SECONDS: %w", err)
	}
	listening, interrupt := context.WithCancel(ctx)
	defer interrupt()
	b.mu.Lock()
	b.interrupt = interrupt
	b.mu.Unlock()
	r := &runner{box: b, service: b.service, jit: jit}
	watchdog := time.AfterFunc(time.Duration(idle)*time.Second, func() { b.ask(true) })
	defer watchdog.Stop()
	code := r.run(ctx, listening, p.Stdout)
	if b.ask(false) != "busy" && code == 0 {
		code = exitNoJob
	}
	return code, nil
}

// Exec answers as ask.sh does.
func (b *box) Exec(_ context.Context, p machine.Program) (int, error) {
	question := strings.Join(p.Args, " ")
	var answer string
	switch {
	case strings.Contains(question, "give.sh"):
		answer = b.give(strings.Join(p.Args[len(p.Args)-2:], " "), p.Env["ACTIONS_RUNNER_INPUT_JITCONFIG"])
	case strings.Contains(question, "ask.sh"):
		answer = b.ask(strings.HasSuffix(question, " release"))
	default:
		return 127, nil
	}
	_, err := io.WriteString(p.Stdout, answer+"\n")
	return 0, err
}

// nobody is who has a sandbox that waits for a runner no more, and got none.
const nobody = "nobody"

// await returns the JIT configuration that the box is given; empty if it waits in vain.
func (b *box) await(ctx context.Context, seconds string) (jit string) {
	limit, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return ""
	}
	b.mu.Lock()
	b.waits = true
	b.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		b.give(nobody, "")
	case <-b.told:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waits = false
	return b.jit
}

// give is give.sh: it says whether the box is that runner's.
func (b *box) give(to, jit string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.waits && b.given == "" { // Not yet.
		return "starting"
	}
	if b.given == "" {
		b.given, b.jit = to, jit
		close(b.told)
	}
	if b.given == to {
		return "given"
	}
	return "taken"
}

// Close implements machine.Machine.
func (b *box) Close() error { return nil }

// ask is ask.sh: it says whose the runner's time is, and with release makes it nobody's if it is free.
func (b *box) ask(release bool) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.waits && b.given == "" && !release:
		return "warm"
	case b.waits && b.given == "":
		b.given = nobody
		close(b.told)
		return "released"
	case b.given == nobody:
		return "released"
	case b.interrupt == nil:
		return "starting"
	case b.claim == "" && !release:
		return "idle"
	case b.claim == "":
		b.claim = "released"
		b.interrupt()
	}
	return b.claim
}

// begun claims the runner for a job, and reports whether it was still free.
func (b *box) begun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.claim == "" {
		b.claim = "busy"
	}
	return b.claim == "busy"
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
