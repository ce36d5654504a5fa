package exact

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// loop is one sweep in the hands of one worker.
type loop struct {
	name  string
	every time.Duration
	once  func(*task, context.Context) (sweep.Report, error)
}

// newLoops are the sweeps of one life of a worker; they keep what they know of the last run. What they call goes by way of the
// task that runs them.
func (s *Sim) newLoops() []*loop {
	orphans := &sweep.Orphans{
		Rules: s.rules(), Scope: scopeOf, Deployment: func(context.Context) (string, error) { return deployment, nil }, Each: oneByOne,
		Clock: func(context.Context) (time.Time, error) { return s.time(), nil }, // Where the broker is away, the reads fail that follow.
	}
	line := &sweep.Line{Rules: s.rules()}
	registrations, stuck := &sweep.Registrations{Scope: scopeOf, Named: s.repos()}, &sweep.Stuck{}
	deliveries := &sweep.Deliveries{App: true, Admit: func(run.Job) error { return nil }, Log: slog.New(slog.DiscardHandler)}
	unqueued := &sweep.Unqueued{
		Pool: poolOf, LooksLike: func([]string) string { return "" }, Admit: func(run.Job) error { return nil }, Named: s.repos(),
		Log: slog.New(slog.DiscardHandler),
	}
	loops := []*loop{
		{"orphans", 15 * time.Second, func(t *task, ctx context.Context) (sweep.Report, error) {
			orphans.Fleet, orphans.Ledger, orphans.Handler, orphans.Places, orphans.Now = t, t, t.launcher(), t, t.time
			return orphans.RunOnce(ctx)
		}},
		{"line", time.Second, func(t *task, ctx context.Context) (sweep.Report, error) {
			line.Book, line.Ledger, line.Queue, line.Now = t, t, t, t.time
			return line.RunOnce(ctx)
		}},
		{"registrations", 2 * time.Minute, func(t *task, ctx context.Context) (sweep.Report, error) {
			registrations.Registrar, registrations.Ledger, registrations.Reader, registrations.Now = t, t, t, t.time
			return registrations.RunOnce(ctx)
		}},
		{"stuck", time.Minute, func(t *task, ctx context.Context) (sweep.Report, error) {
			stuck.Jobs, stuck.Ledger, stuck.Queue, stuck.Now = t, t, t, t.time
			return stuck.RunOnce(ctx)
		}},
		{"unqueued", 2 * time.Minute, func(t *task, ctx context.Context) (sweep.Report, error) {
			unqueued.Jobs, unqueued.Ledger, unqueued.Reader, unqueued.Queue, unqueued.Now = t, t, t, t, t.time
			return unqueued.RunOnce(ctx)
		}},
		{"deliveries", 2 * time.Minute, func(t *task, ctx context.Context) (sweep.Report, error) {
			deliveries.Hooks, deliveries.Cursors, deliveries.Ledger, deliveries.Now = t, t, t, t.time
			return deliveries.RunOnce(ctx)
		}},
	}
	if s.Warm > 0 {
		loops = append(loops, s.warmLoops()...)
	}
	return loops
}

// oneByOne is what a task can do about many things: one at a time.
func oneByOne(n int, do func(int)) {
	for i := range n {
		do(i)
	}
}

// lead has the worker sweep for as long as it lives and still leads.
func (s *Sim) lead(w *worker, leads func() bool) {
	s.tellf(0, "worker %d leads", w.id)
	life := w.life
	for _, l := range s.newLoops() {
		var once func()
		once = func() {
			if w.life != life || !w.alive || !leads() {
				return
			}
			if l.name == "line" && s.nobodyWaits() || l.name == warmLoop && s.allWarm() { // It would look, and see that.
				s.after(l.every, once)
				return
			}
			s.spawn(w, 0, s.hands, func(t *task) {
				t.sweep = l.name
				ctx, cancel := context.WithDeadline(context.Background(), t.time().Add(10*time.Minute))
				defer cancel()
				report, err := l.once(t, ctx)
				if len(report.Found) > 0 || err != nil {
					t.tellf("sweep %s: %v, %v", l.name, report.Found, err)
				}
				s.found(report)
			}, func() { s.after(l.every, once) })
		}
		once()
	}
}

func (s *Sim) found(r sweep.Report) {
	for kind, n := range r.Found {
		s.swept[kind] += n
	}
}

// elect sees to it that somebody leads, as leadership in KV does within seconds.
func (s *Sim) elect() {
	if s.leader == nil && s.now >= s.brokerDown {
		if n := slices.IndexFunc(s.workers, func(w *worker) bool { return w.alive && s.now >= w.cutOff && s.now >= w.frozen }); n >= 0 {
			w := s.workers[n]
			s.leader = w
			s.lead(w, func() bool { return s.leader == w })
		}
	}
	if w := s.leader; w != nil && (s.now < w.cutOff || s.now < w.frozen) {
		s.leader = nil // Another takes over; this one may go on with what it has begun.
	}
	s.after(15*time.Second, s.elect)
}

// blow lets the weather change: each second, each of its faults may come.
func (s *Sim) blow() {
	if s.healed {
		return
	}
	w := s.workers[s.weather.below(len(s.workers))]
	lasts := s.weather.between(5*time.Second, 2*time.Minute)
	long := s.weather.between(time.Minute, 10*time.Minute)
	age := 1 + s.weather.below(backupsKept)
	skew := s.weather.between(-5*time.Minute, 5*time.Minute)
	for _, change := range []struct {
		fault Fault
		do    func()
	}{
		{WorkerKilled, func() { s.kill(w) }},
		{WorkerFreezes, func() { w.frozen = s.now + lasts }},
		{WorkerCutOff, func() { w.cutOff = s.now + lasts; s.after(lasts, s.pull) }},
		{LedgerReadOnly, func() { w.mute = s.now + lasts }},
		{ClockSkew, func() { w.skew = skew; s.after(long, func() { w.skew = 0 }) }},
		{WorkersRoll, s.roll},
		{BrokerRestarts, func() { s.stopBroker(min(lasts, 30*time.Second)) }},
		{BackupRestored, func() { s.stopBroker(restoreTakes + lasts); s.restore(age) }},
		{DedupeForgotten, func() { clear(s.queue.seen) }},
		{QueuePurged, func() { s.purge(); s.forget() }},
		{IngressAway, func() { s.stopIngress(6 * long) }},
		{GitHubAway, func() { s.githubDown = s.now + long }},
		{GPUsAway, func() { s.gpusAway = s.now + 6*long }},
		{ModalAway, func() { s.modalDown = s.now + long }},
		{TwoLeaders, func() { s.leadToo(w, s.now+long) }},
	} {
		comes := s.weather.chance(s.rates[change.fault] * s.Intensity / 3600)
		if comes && w.alive && !s.Without[change.fault] {
			s.count(change.fault)
			s.tellf(0, "%s", change.fault)
			change.do()
		}
	}
	s.after(time.Second, s.blow)
}

// stopBroker has the broker away for so long at least: a restart does not end what takes longer.
func (s *Sim) stopBroker(d time.Duration) {
	s.brokerDown = max(s.brokerDown, s.now+d)
	s.after(d, s.pull)
}

// mostMissed is how many attempts fail at most while ingress is away: then somebody has brought it back. GitHub's limits would make
// it take hours to deliver more of them, which is no news.
const mostMissed = 3000

func (s *Sim) stopIngress(d time.Duration) { s.ingressDown, s.missed = s.now+d, 0 }

// leadToo has a worker lead beside the one that does.
func (s *Sim) leadToo(w *worker, until time.Duration) {
	if w != s.leader {
		s.lead(w, func() bool { return s.now < until })
	}
}

// roll restarts all workers, one after the other: each takes no more, and ends when it has nothing in hand or after half a
// minute.
func (s *Sim) roll() {
	for n, w := range s.workers {
		s.after(time.Duration(n)*40*time.Second, func() { w.retired = true })
		s.after(time.Duration(n)*40*time.Second+30*time.Second, func() { s.kill(w) })
	}
}
