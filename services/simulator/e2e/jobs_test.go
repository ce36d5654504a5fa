package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/simulator/internal/fakegithub/control"
	"modal-github-runner/services/simulator/internal/fakegithub/hooks"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// task is a job for our runners that takes so many seconds. Its name must be unique in the system.
func task(name string, seconds float64) world.JobSpec {
	return world.JobSpec{Name: name, Labels: []string{"self-hosted", "modal"}, Steps: []world.StepSpec{{Run: fmt.Sprintf("sleep %.1f", seconds)}}}
}

// tasks are n of them, with numbers from 1 behind their names.
func tasks(n int, name string, seconds float64) []world.JobSpec {
	var all []world.JobSpec
	for i := range n {
		all = append(all, task(fmt.Sprintf("%s-%d", name, i+1), seconds))
	}
	return all
}

// dispatch starts a workflow run of these jobs.
func (s *system) dispatch(ctx context.Context, repo string, jobs ...world.JobSpec) {
	s.t.Helper()
	s.do(s.Simulator.Dispatch(ctx, world.Workflow{Repo: repo, Jobs: jobs}))
}

// job is what GitHub says of a job.
func (s *system) job(ctx context.Context, name string) world.Job {
	s.t.Helper()
	state := s.github(ctx)
	n := slices.IndexFunc(state.Jobs, func(j world.Job) bool { return j.Name == name })
	if n < 0 {
		s.t.Fatalf("GitHub knows no job %s", name)
	}
	return state.Jobs[n]
}

// succeeds waits until the jobs have ended well, for at most limit.
func (s *system) succeeds(limit time.Duration, names ...string) {
	s.t.Helper()
	for _, name := range names {
		within(s.t, limit, "job "+name+" ends", func(ctx context.Context) bool { return s.job(ctx, name).Status == world.Completed })
		if j := s.job(s.t.Context(), name); j.Conclusion != world.Success {
			s.t.Errorf("job %s ended in %s: %s", name, j.Conclusion, j.Reason)
		}
	}
}

// leavesNothing waits until no sandbox and no registration is left, for at most limit, and checks that there was never more
// than one sandbox for a runner.
func (s *system) leavesNothing(limit time.Duration) {
	s.t.Helper()
	within(s.t, limit, "no sandbox and no registration is left", func(ctx context.Context) bool {
		sandboxes, registrations := s.left(ctx)
		return sandboxes+registrations == 0
	})
	modal := s.modal(s.t.Context())
	for name, most := range modal.MaxPerName {
		if most > 1 {
			s.t.Errorf("there were %d sandboxes at once for runner %s", most, name)
		}
	}
}

// left counts the sandboxes that run and the runners that GitHub knows.
func (s *system) left(ctx context.Context) (sandboxes, registrations int) {
	s.t.Helper()
	modal := s.modal(ctx)
	github := s.github(ctx)
	return modal.Running, len(github.Runners)
}

// strikes is how often faults have struck the operation.
func (s *system) strikes(ctx context.Context, op string) int {
	s.t.Helper()
	state := s.github(ctx)
	return state.Faults[op]
}

// do ends the test on an error.
func (s *system) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *system) faults(rules ...fault.Rule) {
	s.t.Helper()
	s.do(s.Simulator.SetFaults(s.t.Context(), rules...))
}

// deliveries counts what became of GitHub's webhooks.
func (s *system) deliveries(ctx context.Context) hooks.Stats {
	s.t.Helper()
	return s.github(ctx).Deliveries
}

// modal is the state of Modal.
func (s *system) modal(ctx context.Context) fakemodal.Snapshot {
	s.t.Helper()
	state, err := s.Simulator.Modal(ctx)
	s.do(err)
	return state
}

// github is the state of GitHub.
func (s *system) github(ctx context.Context) control.State {
	s.t.Helper()
	state, err := s.Simulator.GitHub(ctx)
	s.do(err)
	return state
}

// jetstream lets f do what an operator does by hand.
func (s *system) jetstream(f func(jetstream.JetStream)) {
	s.t.Helper()
	conn, err := nats.Connect(s.NATSURL())
	s.do(err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	s.do(err)
	f(js)
}
