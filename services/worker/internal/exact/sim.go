package exact

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// Options says which story is to be told. The zero value of all but Jobs is the usual one.
type Options struct {
	Seed uint64
	// Jobs is how many there are. With Only, those of them that are left out never come.
	Jobs int
	Only map[int64]bool
	// Safety has faults go on to the end, so that nobody is promised to be served; else they stop with the last job, and
	// everything must settle.
	Safety bool
	// Without are faults that do not happen.
	Without map[Fault]bool
	// Intensity is how often faults happen, 1 by default; calm is so little that none does.
	Intensity float64
	// Rate is how many jobs come in a second: 8 by default.
	Rate float64
	// JobTime is how long a job takes on average: a minute by default.
	JobTime time.Duration
	// Workers is how many there are: 4 by default.
	Workers int
	// SurplusLimit is how long a sandbox may live of which nobody has any use: 15 minutes by default, in which each sweep has
	// a few turns, though GitHub or Modal be away for ten.
	SurplusLimit time.Duration
	// NoGPUs is for how long, from the start, Modal has no GPU.
	NoGPUs time.Duration
	// NoMachines is for how long, from the start, Modal schedules no sandbox.
	NoMachines time.Duration
	// MaxSandboxes is how many may exist at a time; 0 for any number.
	MaxSandboxes int
	// Warm is how many sandboxes wait for a runner ahead of time, and whether one with a GPU does: as the seed has it if it is 0, which is
	// none in half of all stories and one to three in the others. Below 0 is none.
	Warm int
	// Settle is how long what is left may take once faults have stopped: three hours by default. A job whose end nobody told of
	// is asked about after half an hour, when GitHub's limits leave room for it; a registration of which nothing is known goes an
	// hour after it was first seen.
	Settle time.Duration
	// Story gets a line for each thing that happens. Nil for none.
	Story io.Writer
}

// Sim is one story.
type Sim struct {
	Options
	engine

	log    *slog.Logger
	jitter *rand.Rand
	// weather is the chance of what hits all; hands, of whose turn it is. Apart from each other, so that the weather is the
	// same whatever else happens.
	weather, hands *dice
	check          *checker
	gh             github
	modal          modal
	queue          queue
	runs           *shelf[int64, run.Run]
	runners        *shelf[run.Name, run.Runner]
	places         places.Record
	placesRevision uint64
	unplaced       unplaced
	idle           []*fiber
	workers        []*worker
	leader         *worker
	cursor         time.Time
	revision       uint64
	serial64       uint64
	messages       map[int64]uint64 // how many there were of each job
	buried         []int64
	rates          map[Fault]float64
	faults         map[Fault]int
	swept          map[sweep.Kind]int
	open           int
	healed         bool
	healedAt       time.Duration
	backups        []backup      // oldest first
	restored       time.Duration // when the broker may be back with the last one that was restored

	brokerDown, ingressDown, githubDown, modalDown, gpusAway time.Duration
	missed                                                   int // attempts to deliver, since ingress is away
}

// Calm is the intensity at which nothing goes wrong.
const Calm = 1e-12

// Result is what came of a story.
type Result struct {
	Seed       uint64
	Jobs       int
	Steps      int
	Took       time.Duration // virtual
	Violations []Violation
	Excused    map[Excuse]int
	Faults     map[Fault]int
	Swept      map[sweep.Kind]int
	Checks     map[string]int
	// Conclusions counts GitHub's; Waits are from queued to started of the jobs that ran, sorted; CPUWaits, of those without a GPU.
	Conclusions     map[string]int
	Waits, CPUWaits []time.Duration
	Sandboxes       int
	// Warm are those of them that waited for a runner and were given one.
	Warm int
	// InUse is which part of the places was in use while jobs waited for one; 0 if none did.
	InUse float64
	Dead  int
}

// New begins a story.
func New(o Options) *Sim {
	o.Intensity, o.Rate, o.Workers = cmp.Or(o.Intensity, 1), cmp.Or(o.Rate, 8), cmp.Or(o.Workers, 4)
	o.JobTime = cmp.Or(o.JobTime, time.Minute)
	o.Warm = warmOf(o)
	o.SurplusLimit, o.Settle = cmp.Or(o.SurplusLimit, 15*time.Minute), cmp.Or(o.Settle, 3*time.Hour)
	s := &Sim{
		Options: o, log: slog.New(slog.DiscardHandler),
		weather: newDice(o.Seed, 1), hands: newDice(o.Seed, 5), jitter: rand.New(newDice(o.Seed, 2)), //nolint:gosec // the story is to come out the same
		runs: newShelf[int64, run.Run](), runners: newShelf[run.Name, run.Runner](),
		messages: map[int64]uint64{}, rates: map[Fault]float64{}, faults: map[Fault]int{}, swept: map[sweep.Kind]int{},
		unplaced: unplaced{},
	}
	for _, k := range kindsOfFaults() {
		s.rates[k.fault] = k.rate
	}
	s.check = newChecker(s)
	s.gh = github{
		jobs: map[int64]*ghJob{}, runners: map[run.Name]*ghRunner{}, points: map[int64]int{}, minute: map[int64]time.Duration{},
		refuses: map[int64]time.Duration{}, notices: map[int64][]notice{},
	}
	s.modal = modal{boxes: map[string]*box{}, running: map[run.Name]*box{}}
	s.queue = queue{stored: map[*message]bool{}, pending: map[*message]bool{}, seen: map[string]time.Duration{}, later: map[string]*message{}}
	for n := range o.Workers {
		s.workers = append(s.workers, &worker{id: n, alive: true})
	}
	return s
}

// Run tells the story to its end.
func (s *Sim) Run() Result {
	defer s.dismiss()
	last := s.plan()
	s.gpusAway = s.NoGPUs
	s.after(0, s.elect)
	s.after(time.Second, s.blow)
	s.after(time.Second, s.check.watch)
	s.after(0, s.backUp)
	s.after(20*time.Second, s.operate)
	s.run(last + time.Minute)
	if s.Safety {
		s.run(s.now + s.Settle)
		return s.result()
	}
	s.run(s.ingressDown) // What GitHub can't deliver for an hour is to be delivered then.
	s.heal()
	end := s.now + s.Settle
	for s.now < end {
		s.run(s.now + time.Minute)
	}
	s.check.served()
	s.check.clean()
	return s.result()
}

// heal stops all faults.
func (s *Sim) heal() {
	s.tellf(0, "faults stop")
	s.healed, s.healedAt = true, s.now
	s.githubDown, s.modalDown = min(s.githubDown, s.now), min(s.modalDown, s.now)
	if s.brokerDown = min(s.brokerDown, max(s.now, s.restored)); s.brokerDown > s.now { // Nobody brings a backup back sooner.
		s.after(s.brokerDown-s.now, s.pull)
	}
	s.ingressDown = min(s.ingressDown, s.now)
	s.gpusAway = min(s.gpusAway, s.now)
	clear(s.gh.refuses)
	for _, w := range s.workers {
		w.frozen, w.cutOff, w.mute, w.skew = min(w.frozen, s.now), min(w.cutOff, s.now), min(w.mute, s.now), 0
	}
	s.pull()
}

// operate is the operator, who replays what was given up once what was wrong is mended, twice, as people do; and now and then
// something that was not given up at all.
func (s *Sim) operate() {
	for _, job := range s.buried {
		if s.runs.load(job).Value.State == run.Dead && s.now >= s.gh.refuses[job] {
			s.count(ReplayedTwice)
			s.replay(job)
			s.replay(job)
		}
	}
	for n := range min(20, len(s.runs.records)) { // Of the newest, those that wait; and any.
		newest := s.runs.records[len(s.runs.records)-1-n].Value
		if newest.State == run.Waiting && !s.healed && s.hands.chance(0.2) {
			s.replay(newest.Job.ID)
		}
	}
	if n := len(s.runs.records); n > 0 && !s.healed {
		s.replay(s.runs.records[s.hands.below(n)].Value.Job.ID)
	}
	s.after(20*time.Second, s.operate)
}

func (s *Sim) replay(job int64) {
	w := s.workers[s.hands.below(len(s.workers))]
	if !w.alive {
		return
	}
	s.spawn(w, job, newDice(s.Seed, 6, uint64(job), uint64(s.now)), func(t *task) { //nolint:gosec // neither is negative
		_, err := t.launcher().Handle(context.Background(), job, run.Replayed{})
		t.tellf("replay: %v", err)
	}, func() {})
}

func (s *Sim) result() Result {
	r := Result{
		Seed: s.Seed, Jobs: len(s.gh.all), Steps: s.steps, Took: s.now, Violations: s.check.found, Excused: s.check.excused,
		Faults: s.faults, Swept: s.swept, Checks: s.check.total,
		Conclusions: map[string]int{}, Sandboxes: s.modal.serial, Warm: s.modal.given, InUse: s.check.inUse(),
	}
	for _, j := range s.gh.all {
		if j.nature != ours {
			continue
		}
		r.Conclusions[cmp.Or(j.conclusion, j.status)]++
		if j.ran > 0 {
			r.Waits = append(r.Waits, j.startedAt-j.queuedAt)
			if j.Pool == poolName {
				r.CPUWaits = append(r.CPUWaits, j.startedAt-j.queuedAt)
			}
		}
	}
	slices.Sort(r.Waits)
	slices.Sort(r.CPUWaits)
	for _, record := range s.runs.records {
		if record.Value.State == run.Dead {
			r.Dead++
		}
	}
	return r
}

// excuses is how much was excused.
func (r Result) excuses() (n int) {
	for _, times := range r.Excused {
		n += times
	}
	return n
}

// Quantile is how long so great a part of the jobs waited at most.
func (r Result) Quantile(q float64) time.Duration {
	if len(r.Waits) == 0 {
		return 0
	}
	return r.Waits[min(len(r.Waits)-1, int(q*float64(len(r.Waits))))].Truncate(time.Millisecond)
}

// String is a summary for people.
func (r Result) String() string {
	limited := ""
	if r.Warm > 0 {
		limited = fmt.Sprintf(", %d of which waited for their runners", r.Warm)
	}
	if r.InUse > 0 {
		limited += fmt.Sprintf(", %.1f %% of the places in use while jobs waited for one", 100*r.InUse)
	}
	return fmt.Sprintf(`seed %d: %d violations, %d excused
  jobs       %d in %v of virtual time, in %d steps
  ended      %s, of ours; %d given up
  waited     p50 %v, p99 %v, from queued to started
  sandboxes  %d%s`,
		r.Seed, len(r.Violations), r.excuses(), r.Jobs, r.Took.Truncate(time.Second), r.Steps, inWords(r.Conclusions), r.Dead,
		r.Quantile(.5), r.Quantile(.99), r.Sandboxes, limited)
}

// Tally lists counts by name.
func Tally[K cmp.Ordered](counts map[K]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "  %7d  %v\n", counts[k], k)
	}
	return b.String()
}
