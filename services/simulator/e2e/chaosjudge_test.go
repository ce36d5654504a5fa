package e2e_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/simulator/internal/check"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/world"
)

const (
	// lookEvery is how often the checker looks at the world.
	lookEvery = 10 * time.Second
	// lookLimit bounds a look at what the broker has stored.
	lookLimit = 20 * time.Second
	// callsPerJob is how many requests to GitHub's API a job may cost in the minute in which it comes, retries and its runner's
	// removal among them; the sweeps of every worker that leads have sweepCalls more.
	callsPerJob, sweepCalls = 30, 300
)

// judge holds the world of real processes against the invariants, as the bubble's does a virtual one. It sees all that the
// checker wants to see but for this:
//   - the registrations of the past, which are of interest only where jobs wait for approvals: here none does;
//   - that the ledger knows of the end of all jobs ([check.Checker.Settled]): of one whose last webhooks are lost nobody asks for
//     half an hour. That a job that is over is over on record within an hour (I8) shows only in a run that lasts longer;
//   - the secrecy, health and exit of processes (I7, I10, I11), which are no part of the world: tests of their own look at them.
type judge struct {
	*system

	checker         *check.Checker
	looked          time.Time
	looks, insights int       // at the world, and of these at what the broker had
	down            time.Time // since when the broker is down or frozen; zero while it is not
}

func newJudge(s *system, rate float64) *judge {
	return &judge{system: s, checker: check.New(check.Options{
		Limits: check.Limits{
			// A sandbox ends by itself with its job. Whoever is to end one may be frozen or cut off for the longest that a mishap lasts,
			// and then puts it off for the longest that a retry is.
			Tidy: 6 * time.Minute, Idle: settleLimit, Surplus: settleLimit, Register: settleLimit,
			Overlap: 2 * time.Minute, Hear: time.Hour,
			CallsPerMinute: sweepCalls + int(callsPerJob*rate*time.Minute.Seconds()),
		},
		Ours:   func(world.Job) bool { return true },
		Blamed: func(string) bool { return false }, // Nothing befalls sandboxes here.
	})}
}

// brokerGoes and brokerIsBack have the checker count deadlines anew that fall into the time between.
func (j *judge) brokerGoes() { j.down = time.Now() }

func (j *judge) brokerIsBack() {
	j.checker.Outage(check.Interval{From: j.down, To: time.Now()})
	j.down = time.Time{}
}

// look judges the world if it has not for a while.
func (j *judge) look(ctx context.Context) {
	j.t.Helper()
	if time.Since(j.looked) < lookEvery {
		return
	}
	if !j.down.IsZero() {
		j.checker.Outage(check.Interval{From: j.down, To: time.Now()})
	}
	j.checker.Look(j.world(ctx))
	j.looked = time.Now()
}

// served judges the world once all is well again, and fails the test for each violation there ever was. It returns how many there
// were, and how many of these are jobs that were interrupted.
func (j *judge) served(ctx context.Context) (violations, interrupted int) {
	j.t.Helper()
	j.checker.Served(j.world(ctx))
	for _, v := range j.checker.Violations() {
		j.t.Error(v)
		violations++
		if v.Invariant == "work" {
			interrupted++
		}
	}
	return violations, interrupted
}

// world is all that can be seen now. Time goes on meanwhile, so the ledger is read first, which knows nothing that has not happened
// at GitHub; and a sandbox is as it was before GitHub was asked about its job, or after that if it was not there yet.
func (j *judge) world(ctx context.Context) check.World {
	j.t.Helper()
	w := check.World{At: time.Now()}
	accepted, err := j.Simulator.Accepted(ctx)
	j.do(err)
	for _, job := range accepted {
		j.checker.Accepted(job, time.Now())
	}
	j.looks++
	if j.down.IsZero() {
		w.Stored = j.stored(ctx, accepted)
	}
	if w.Stored != nil {
		j.insights++
	}
	w.Sandboxes = j.modal(ctx).Sandboxes
	github := j.github(ctx)
	after := j.modal(ctx)
	for _, s := range after.Sandboxes {
		if !slices.ContainsFunc(w.Sandboxes, func(known fakemodal.SandboxRecord) bool { return known.ID == s.ID }) {
			w.Sandboxes = append(w.Sandboxes, s)
		}
	}
	w.Jobs, w.Runners, w.MostPerName = github.Jobs, github.Runners, after.MaxPerName
	for _, codes := range github.API.Calls {
		for _, n := range codes {
			w.Calls += n
		}
	}
	return w
}

// stored is what the broker has, asked by a link that nothing befalls; nil if it does not answer.
func (j *judge) stored(ctx context.Context, accepted []int64) *check.Stored {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	conn, err := nats.Connect(j.NATSURL())
	if err != nil {
		j.t.Logf("no look at the broker: %v", err)
		return nil
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	j.do(err)
	stored, err := check.Read(ctx, js, accepted)
	if err != nil {
		j.t.Logf("no look at the broker: %v", err)
	}
	return stored
}

// A judge that could see nothing would find nothing wrong: it must see a job's whole way.
func TestTheJudgeSeesTheWorldOfProcesses(t *testing.T) {
	t.Parallel()
	s := start(t, rig.Options{})
	j := newJudge(s, 1)
	s.dispatch(t.Context(), "acme/api", task("seen", 0))
	s.succeeds(soon, "seen")
	s.handled()
	id := s.job(t.Context(), "seen").ID
	w := j.world(t.Context())
	if w.Stored == nil || w.Stored.Runs[id].State != "done" || len(w.Stored.Runners) != 1 || w.Calls == 0 {
		t.Errorf("stored %+v, %d calls", w.Stored, w.Calls)
	}
	if len(w.Jobs) != 1 || len(w.Sandboxes) != 1 || w.Sandboxes[0].Name != w.Jobs[0].RunnerName || w.MostPerName[w.Sandboxes[0].Name] != 1 {
		t.Errorf("jobs %+v, sandboxes %+v, most %v", w.Jobs, w.Sandboxes, w.MostPerName)
	}
	accepted, err := s.Simulator.Accepted(t.Context())
	if s.do(err); !slices.Equal(accepted, []int64{id}) {
		t.Errorf("accepted %v, want %d", accepted, id)
	}
	s.leavesNothing(soon)
	if j.checker.Served(j.world(t.Context())); len(j.checker.Violations()) > 0 {
		t.Errorf("all is well, and it found %v", j.checker.Violations())
	}
	w = j.world(t.Context())
	delete(w.Stored.Runs, id)
	if j.checker.Look(w); len(j.checker.Violations()) != 1 {
		t.Errorf("a record is gone, and it found %v", j.checker.Violations())
	}
}
