package sweep_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace/noop"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/places/placestest"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// newLedger is the real ledger on a real server.
func newLedger(t *testing.T) (*ledger.Ledger, *places.Book) {
	t.Helper()
	s := natstest.Start(t, natstest.InProcess)
	js := s.JetStream(t, nats.InProcessServer(s))
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology([]string{wire.DefaultPool})); err != nil {
		t.Fatal(err)
	}
	return ledger.New(js), places.NewBook(js)
}

// site is two workers, both of which lead.
type site struct {
	*cloud

	ledger   *ledger.Ledger
	book     *places.Book
	launcher *launch.Launcher
	observer *observer
	rules    placestest.Rules
	// warm is how many sandboxes are to be kept warm.
	warm int
}

// run has both workers run their sweeps, and handle what is on the queue, for d. What a message asks to be handled later is
// lost: it is for the sweeps to find.
func (s *site) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	for range 2 {
		running.Go(func() { sweep.Run(ctx, s.loops(), s.observer, slog.New(slog.DiscardHandler)) })
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case ev := <-s.told:
					if _, err := s.launcher.Handle(context.WithoutCancel(ctx), run.JobOf(ev).ID, ev); err != nil {
						t.Errorf("handle %+v: %v", ev, err)
					}
				}
			}
		})
	}
	running.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Second)
			s.pass()
		}
	})
}

func (s *site) loops() []sweep.Loop {
	b := books{s.ledger}
	orphans := &sweep.Orphans{
		Fleet: s.cloud, Scope: s.Scope, Ledger: b, Handler: s.launcher, Places: s.book, Rules: s.rules, Now: time.Now, Clock: s.ledger.Now, Deployment: func(context.Context) (string, error) { return ours, nil },
	}
	registrations := &sweep.Registrations{Registrar: s.cloud, Ledger: b, Reader: s.ledger, Now: time.Now, Scope: s.Scope}
	stuck := &sweep.Stuck{Jobs: s.cloud, Ledger: b, Queue: s.cloud, Now: time.Now}
	unqueued := &sweep.Unqueued{
		Jobs: s.cloud, Ledger: b, Reader: s.ledger, Queue: s.cloud, Now: time.Now, Named: []sweep.Repo{{Owner: "octo", Name: "repo"}},
		Pool: func([]string) string { return wire.DefaultPool }, Admit: func(run.Job) error { return nil },
		LooksLike: func([]string) string { return "" }, Log: slog.New(slog.DiscardHandler),
	}
	line := &sweep.Line{Book: s.book, Ledger: b, Queue: s.cloud, Rules: s.rules, Now: time.Now}
	warm := &sweep.Warm{
		Fleet: s.cloud, Book: s.book, Ready: func(run.Pool) error { return nil }, Rules: s.rules, Now: time.Now,
		Pools: func() (pools []sweep.WarmPool) {
			if s.warm > 0 {
				pools = append(pools, warmPool(s.warm))
			}
			return pools
		},
	}
	return []sweep.Loop{
		{Name: "line", Every: time.Second, RunOnce: line.RunOnce},
		{Name: "warm", Every: time.Second, RunOnce: warm.RunOnce},
		{Name: "warming", Every: time.Second, RunOnce: warm.Fill},
		{Name: "orphans", Every: 15 * time.Second, RunOnce: orphans.RunOnce},
		{Name: "registrations", Every: 2 * time.Minute, RunOnce: registrations.RunOnce},
		{Name: "stuck", Every: time.Minute, RunOnce: stuck.RunOnce},
		{Name: "unqueued", Every: 2 * time.Minute, RunOnce: unqueued.RunOnce},
	}
}

func newSite(c *cloud, records *ledger.Ledger, book *places.Book) *site {
	s := &site{cloud: c, ledger: records, book: book, observer: &observer{}, rules: placestest.Rules{Spec: "abc"}}
	s.launcher = launch.New(launch.Options{
		Ledger: records, Forge: c, Authors: c, Fleet: c, Queue: c, Observer: c, Places: book, Rules: s.rules,
		PoolOf: func(run.Job) (run.Pool, error) { return run.Pool{Name: "default", IdleLimit: 5 * time.Minute}, nil },
		Admit:  func(_ context.Context, j run.Job) (run.Job, error) { return j, nil }, Ready: func(run.Job) error { return nil },
		Tracer: noop.NewTracerProvider().Tracer(""), Now: time.Now, Log: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2)),
	})
	return s
}

// Not one webhook comes through, two workers sweep at once, and sandboxes crash. Still every job is served, its end is on
// record, and nothing is left behind.
func TestSweepsAloneServeEveryJobAndLeaveNothingBehind(t *testing.T) {
	faultstest.Cover(t, "F01", "F47")
	synctest.Test(t, func(t *testing.T) {
		const jobs = 6
		records, book := newLedger(t)
		c := newCloud()
		s := newSite(c, records, book)
		for j := range int64(jobs) {
			c.jobs[j+1] = &ghJob{status: "queued"}
		}
		stray := c.start(run.Name{Job: 900, Attempt: 1}, ours)
		theirs := c.start(run.Name{Job: 901, Attempt: 1}, "deployment-2")
		c.crashes = 2                                       // The first launches.
		c.registrations[run.Name{Job: 1, Attempt: 9}] = 999 // Its sandbox and its record are long gone.
		s.run(t, 5*time.Minute)
		c.mu.Lock()
		c.jobs[77] = &ghJob{status: "queued"} // Comes late, and is cancelled before its runner can take it.
		c.mu.Unlock()
		_, err := s.launcher.Handle(t.Context(), 77, run.Queued{Job: job(77), At: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		c.jobs[77].status, c.jobs[77].conclusion = "completed", "cancelled"
		c.mu.Unlock()
		s.run(t, 45*time.Minute)

		for id, j := range c.jobs {
			record, _, err := records.LoadRun(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			wanted := "success"
			if id == 77 {
				wanted = "cancelled"
			}
			if j.conclusion != wanted || record.State != run.Done || record.Conclusion != wanted {
				t.Errorf("job %d is %+v at GitHub, and %s, %s on record (%s)", id, *j, record.State, record.Conclusion, record.Reason)
			}
		}
		if c.sandboxes[theirs] == nil || len(c.sandboxes) != 1 {
			t.Errorf("sandboxes left: %v (%s had no record), want only another deployment's, %s", c.sandboxes, stray, theirs)
		}
		if c.crashes != 0 {
			t.Errorf("%d launches did not crash that were to", c.crashes)
		}
		if len(c.registrations) != 0 {
			t.Errorf("registrations left: %v", c.registrations)
		}
		runners, err := records.Runners(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runners {
			if r.Record.State != run.Ended {
				t.Errorf("runner %v is %s on record", r.Record.Name, r.Record.State)
			}
		}
		for _, swept := range s.observer.swept {
			if len(swept) > len("registrations") {
				t.Errorf("a sweep failed: %s", swept)
			}
		}
	})
}

// Two workers keep sandboxes warm at once; jobs come in bursts, which have them as long as there are some.
func TestJobsHaveTheWarmSandboxesAndNoneIsLeftOnceNoneIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jobs, warm = 9, 2
		records, book := newLedger(t)
		c := newCloud()
		s := newSite(c, records, book)
		s.warm = warm
		c.crashes = 1 // The first of the warm ones.
		s.run(t, 30*time.Second)
		for j := range int64(jobs) {
			c.mu.Lock()
			c.jobs[j+1] = &ghJob{status: "queued"}
			c.mu.Unlock()
			if _, err := s.launcher.Handle(t.Context(), j+1, run.Queued{Job: job(j + 1), At: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if j%3 == 2 {
				s.run(t, 30*time.Second)
			}
		}
		if c.given != 3*warm {
			t.Errorf("%d of %d jobs, three at a time, got a warm sandbox, want %d", c.given, jobs, 3*warm)
		}
		s.run(t, 8*time.Minute)
		for id, j := range c.jobs {
			if j.conclusion != "success" {
				t.Errorf("job %d is %+v", id, *j)
			}
		}
		r, _, err := book.Read(t.Context())
		if err != nil || ready(r) != warm || len(c.sandboxes) != warm || len(r.Held) != 0 {
			t.Errorf("%d wait, %d run, and held are %v; want %d: %v", ready(r), len(c.sandboxes), r.Held, warm, err)
		}
		s.warm = 0
		s.run(t, time.Minute)
		if r, _, err = book.Read(t.Context()); err != nil || len(r.Warm) != 0 || len(c.sandboxes) != 0 {
			t.Errorf("none is wanted, and on record are %v; %d run: %v", r.Warm, len(c.sandboxes), err)
		}
	})
}
