package world_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modal-github-runner/services/simulator/internal/world"
)

// bench is a world with one organization and two repositories, and what it told its listener.
type bench struct {
	*world.World
	t      testing.TB
	events []string
}

func newBench(t testing.TB, timing world.Timing) *bench {
	t.Helper()
	b := &bench{t: t}
	b.World = world.New(world.Options{Seed: 1, Timing: timing, Listener: func(e world.Event) {
		b.events = append(b.events, fmt.Sprintf("%s %s/%s%s", e.Job.Name, e.Action, e.Job.Status, e.Job.Conclusion))
	}})
	t.Cleanup(b.Close)
	_, err := b.AddOwner("acme", true)
	must(t, err)
	for _, name := range []string{"app", "web"} {
		_, err = b.AddRepo("acme", name, true)
		must(t, err)
	}
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) dispatch(repo string, jobs ...world.JobSpec) (world.Run, []world.Job) {
	b.t.Helper()
	run, out, err := b.Dispatch(world.Workflow{Repo: repo, Jobs: jobs})
	must(b.t, err)
	return run, out
}

func (b *bench) register(s world.Scope, name string, labels ...string) world.Registration {
	b.t.Helper()
	reg, err := b.Register(s, name, world.DefaultGroup, labels)
	must(b.t, err)
	return reg
}

func (b *bench) online(s world.Scope, name string, labels ...string) string {
	b.t.Helper()
	reg := b.register(s, name, labels...)
	session, err := b.Connect(reg.Runner.ID, reg.Secret, "2.337.0", "Linux")
	must(b.t, err)
	return session
}

func (b *bench) poll(session string) *world.Message {
	b.t.Helper()
	m, err := b.Poll(b.t.Context(), session)
	must(b.t, err)
	return m
}

func (b *bench) job(id int64) world.Job {
	b.t.Helper()
	j, ok := b.Job(id)
	if !ok {
		b.t.Fatalf("job %d is unknown", id)
	}
	return j
}

var (
	orgScope  = world.Scope{Owner: "acme"}
	repoScope = world.Scope{Owner: "acme", Repo: "app"}
)

func spec(name string, labels ...string) world.JobSpec {
	return world.JobSpec{Name: name, Labels: labels, Steps: []world.StepSpec{{Run: "true"}}}
}

func TestJobRunsThroughItsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, world.Timing{})
		run, jobs := b.dispatch("acme/app", spec("build", "Modal"))
		time.Sleep(time.Second)
		session := b.online(repoScope, "r1", "modal", "x64")
		if m := b.poll(session); m == nil || m.JobID != jobs[0].ID {
			t.Fatalf("polled %+v, want job %d", m, jobs[0].ID)
		}
		time.Sleep(time.Second)
		_, _, err := b.Acquire(session, jobs[0].ID)
		must(t, err)
		must(t, b.ReportStep(session, jobs[0].ID, world.Step{Number: 2, Status: world.Completed, Conclusion: world.Success}))
		time.Sleep(time.Second)
		must(t, b.Finish(session, jobs[0].ID, world.Success, 0))
		j := b.job(jobs[0].ID)
		if got := j.StartedAt.Sub(j.CreatedAt); got != 2*time.Second || j.CompletedAt.Sub(j.StartedAt) != time.Second {
			t.Errorf("started %v after its creation and took %v, want 2s and 1s", got, j.CompletedAt.Sub(j.StartedAt))
		}
		if j.RunnerName != "r1" || len(j.Steps) != 3 {
			t.Errorf("got runner %q and %d steps, want r1 and 3", j.RunnerName, len(j.Steps))
		}
		if diff := cmp.Diff([]string{"build queued/queued", "build in_progress/in_progress", "build completed/completedsuccess"}, b.events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if r, _ := b.Run("acme/app", run.ID); r.Status != world.Completed || r.Conclusion != world.Success {
			t.Errorf("the run is %s %s, want completed success", r.Status, r.Conclusion)
		}
		if got := b.Runners(repoScope); len(got) != 0 {
			t.Errorf("an ephemeral runner is still registered after its job: %+v", got)
		}
	})
}

func TestAssignmentTakesOnlyFittingRunners(t *testing.T) {
	tests := []struct {
		name   string
		scope  world.Scope
		labels []string
		repo   string
		job    []string
		want   bool
	}{
		{"the same labels", repoScope, []string{"modal"}, "acme/app", []string{"modal"}, true},
		{"labels in another case", repoScope, []string{"MODAL"}, "acme/app", []string{"Modal"}, true},
		{"more labels than the job asks for", repoScope, []string{"modal", "gpu"}, "acme/app", []string{"modal"}, true},
		{"fewer labels than the job asks for", repoScope, []string{"modal"}, "acme/app", []string{"modal", "gpu"}, false},
		{"a runner of another repository", repoScope, []string{"modal"}, "acme/web", []string{"modal"}, false},
		{"a runner of the organization", orgScope, []string{"modal"}, "acme/web", []string{"modal"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, world.Timing{LongPoll: time.Nanosecond})
			session := b.online(tt.scope, "r", tt.labels...)
			b.dispatch(tt.repo, spec("j", tt.job...))
			if got := b.poll(session) != nil; got != tt.want {
				t.Errorf("assigned: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestUnacquiredJobGoesToAnotherRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, world.Timing{LongPoll: time.Nanosecond})
		silent := b.online(repoScope, "silent", "modal")
		_, jobs := b.dispatch("acme/app", spec("j", "modal"))
		if b.poll(silent) == nil {
			t.Fatal("the only runner was not offered the job")
		}
		live := b.online(repoScope, "live", "modal")
		must(t, b.Disconnect(silent))
		if m := b.poll(live); m == nil || m.JobID != jobs[0].ID {
			t.Errorf("after the first runner left, the other polled %+v, want the job", m)
		}
		time.Sleep(time.Minute + time.Nanosecond)
		if j := b.job(jobs[0].ID); j.Requeued != 2 || j.Status != world.Queued {
			t.Errorf("job is %s after %d re-queues, want queued after 2", j.Status, j.Requeued)
		}
	})
}

func TestCancelledInTheQueueHasNoRunner(t *testing.T) {
	b := newBench(t, world.Timing{})
	run, jobs := b.dispatch("acme/app", spec("j", "modal"))
	must(t, b.CancelRun(run.ID))
	j := b.job(jobs[0].ID)
	if j.Status != world.Completed || j.Conclusion != world.Cancelled || j.RunnerID != 0 || len(j.Steps) != 0 || !j.StartedAt.Equal(j.CompletedAt) {
		t.Errorf("got %+v, want completed, cancelled, no runner, no steps, start = end", j)
	}
	if err := b.CancelRun(run.ID); !errors.Is(err, world.ErrState) {
		t.Errorf("cancelling twice: %v, want ErrState", err)
	}
}

func TestCancelReachesTheRunningRunner(t *testing.T) {
	b := newBench(t, world.Timing{})
	session := b.online(repoScope, "r", "modal")
	run, jobs := b.dispatch("acme/app", spec("j", "modal"))
	_, _, err := b.Acquire(session, jobs[0].ID)
	must(t, err)
	must(t, b.CancelRun(run.ID))
	if m := b.poll(session); m == nil || !m.Cancel {
		t.Fatalf("polled %+v, want a cancellation", m)
	}
	if got := b.job(jobs[0].ID).Status; got != world.InProgress {
		t.Errorf("job is %s before its runner stopped, want in_progress", got)
	}
	must(t, b.Finish(session, jobs[0].ID, world.Cancelled, 0))
	if got := b.job(jobs[0].ID).Conclusion; got != world.Cancelled {
		t.Errorf("conclusion %s, want cancelled", got)
	}
}

func TestEnvironmentWaitsForApproval(t *testing.T) {
	b := newBench(t, world.Timing{LongPoll: time.Nanosecond})
	session := b.online(repoScope, "r", "modal")
	_, jobs := b.dispatch("acme/app", world.JobSpec{Name: "deploy", Labels: []string{"modal"}, Environment: "prod"})
	if m := b.poll(session); m != nil {
		t.Fatalf("a waiting job was assigned: %+v", m)
	}
	must(t, b.Approve(jobs[0].ID))
	if b.poll(session) == nil {
		t.Error("an approved job was not assigned")
	}
	if err := b.Approve(jobs[0].ID); !errors.Is(err, world.ErrState) {
		t.Errorf("approving twice: %v, want ErrState", err)
	}
	want := []string{"deploy queued/waiting", "deploy waiting/waiting", "deploy queued/queued"}
	if diff := cmp.Diff(want, b.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestRerunGivesNewJobs(t *testing.T) {
	b := newBench(t, world.Timing{})
	run, first := b.dispatch("acme/app", spec("j", "modal"))
	if _, _, err := b.Rerun(run.ID); !errors.Is(err, world.ErrState) {
		t.Errorf("re-run of a queued run: %v, want ErrState", err)
	}
	must(t, b.CancelRun(run.ID))
	again, second, err := b.Rerun(run.ID)
	must(t, err)
	if again.ID != run.ID || again.Attempt != 2 || second[0].ID == first[0].ID || second[0].Attempt != 2 {
		t.Errorf("got run %d attempt %d, job %d of attempt %d; want the same run, attempt 2, a new job", again.ID, again.Attempt, second[0].ID, second[0].Attempt)
	}
	if latest, all := b.RunJobs(run.ID, false), b.RunJobs(run.ID, true); len(latest) != 1 || len(all) != 2 {
		t.Errorf("got %d latest and %d jobs in all, want 1 and 2", len(latest), len(all))
	}
}

func TestTimeLimits(t *testing.T) {
	connect := func(b *bench, reg world.Registration) error {
		_, err := b.Connect(reg.Runner.ID, reg.Secret, "2.337.0", "Linux")
		return err
	}
	tests := []struct {
		name  string
		after time.Duration
		setUp func(b *bench) (check func() string)
		want  string
	}{
		{"a job queued for a day is cancelled", 24 * time.Hour, func(b *bench) func() string {
			_, jobs := b.dispatch("acme/app", spec("j", "modal"))
			return func() string { j := b.job(jobs[0].ID); return fmt.Sprint(j.Status, " ", j.Conclusion) }
		}, "completed cancelled"},
		{"a JIT configuration is refused after an hour", time.Hour, func(b *bench) func() string {
			reg := b.register(repoScope, "r", "modal")
			return func() string { return fmt.Sprint(errors.Is(connect(b, reg), world.ErrBadCredentials)) }
		}, "true"},
		{"a runner that never connected goes after a day", 24 * time.Hour, func(b *bench) func() string {
			b.register(repoScope, "r", "modal")
			return func() string { return fmt.Sprint(len(b.Runners(repoScope))) }
		}, "0"},
		{"a runner that left goes after a day", 24 * time.Hour, func(b *bench) func() string {
			must(b.t, b.Disconnect(b.online(repoScope, "r", "modal")))
			return func() string { return fmt.Sprint(len(b.Runners(repoScope))) }
		}, "0"},
		{"an idle runner that falls silent is offline", 2 * time.Minute, func(b *bench) func() string {
			b.online(repoScope, "r", "modal")
			return func() string { return fmt.Sprint(b.Runners(repoScope)[0].Online) }
		}, "false"},
		{"a job whose runner falls silent fails", 10 * time.Minute, func(b *bench) func() string {
			session := b.online(repoScope, "r", "modal")
			_, jobs := b.dispatch("acme/app", spec("j", "modal"))
			_, _, err := b.Acquire(session, jobs[0].ID)
			must(b.t, err)
			return func() string { j := b.job(jobs[0].ID); return fmt.Sprint(j.Status, " ", j.Conclusion) }
		}, "completed failure"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, world.Timing{})
				check := tt.setUp(b)
				time.Sleep(tt.after - time.Second)
				synctest.Wait()
				if tt.name != "a JIT configuration is refused after an hour" { // its check would use the configuration up
					if got := check(); got == tt.want {
						t.Errorf("one second early it is %q already", got)
					}
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if got := check(); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestConnectRefusals(t *testing.T) {
	b := newBench(t, world.Timing{})
	b.RequireVersion("2.329.0")
	reg := b.register(repoScope, "r", "modal")
	used := b.register(repoScope, "used", "modal")
	session, err := b.Connect(used.Runner.ID, used.Secret, "2.337.0", "Linux")
	must(t, err)
	tests := []struct {
		name    string
		id      int64
		secret  string
		version string
		want    error
	}{
		{"an unknown registration", 999, "x", "2.337.0", world.ErrDeregistered},
		{"a wrong secret", reg.Runner.ID, "x", "2.337.0", world.ErrBadCredentials},
		{"an old version", reg.Runner.ID, reg.Secret, "2.328.9", world.ErrDeprecated},
		{"a second session at the same time", used.Runner.ID, used.Secret, "2.337.0", world.ErrConflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := b.Connect(tt.id, tt.secret, tt.version, "Linux"); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	must(t, b.Disconnect(session))
	if _, err := b.Connect(used.Runner.ID, used.Secret, "2.337.0", "Linux"); !errors.Is(err, world.ErrDeregistered) {
		t.Errorf("a second session after the first: %v, want ErrDeregistered", err)
	}
}

func TestRemoveRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, world.Timing{BusyLag: time.Minute})
		session := b.online(repoScope, "r", "modal")
		_, jobs := b.dispatch("acme/app", spec("j", "modal"))
		_, _, err := b.Acquire(session, jobs[0].ID)
		must(t, err)
		id := b.Runners(repoScope)[0].ID
		time.Sleep(time.Minute)
		if err := b.RemoveRunner(repoScope, id); !errors.Is(err, world.ErrRunnerBusy) {
			t.Errorf("removing a runner that shows busy: %v, want ErrRunnerBusy", err)
		}
		must(t, b.Finish(session, jobs[0].ID, world.Success, 0))

		session = b.online(repoScope, "lagging", "modal")
		_, jobs = b.dispatch("acme/app", spec("j", "modal"))
		_, _, err = b.Acquire(session, jobs[0].ID)
		must(t, err)
		must(t, b.RemoveRunner(repoScope, b.Runners(repoScope)[0].ID))
		must(t, b.Finish(session, jobs[0].ID, world.Success, 0))

		idle := b.online(repoScope, "idle", "modal")
		must(t, b.RemoveRunner(repoScope, b.Runners(repoScope)[0].ID))
		if _, err := b.Poll(t.Context(), idle); !errors.Is(err, world.ErrDeregistered) {
			t.Errorf("poll after removal: %v, want ErrDeregistered", err)
		}
		if now, ever := len(b.Runners(repoScope)), len(b.Registered()); now != 0 || ever != 3 {
			t.Errorf("%d runners are registered and %d ever were, want 0 and 3", now, ever)
		}
	})
}

// TestEveryJobIsServedOnce plays random workloads: whatever the order, each job runs on exactly one runner.
func TestEveryJobIsServedOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, world.Timing{LongPoll: time.Nanosecond})
		n := rapid.IntRange(1, 12).Draw(rt, "jobs")
		order := rapid.Permutation(append(make([]int, n), slices.Repeat([]int{1}, n)...)).Draw(rt, "order")
		var sessions []string
		for i, what := range order {
			if what == 0 {
				b.dispatch("acme/app", spec(fmt.Sprint("j", i), "modal"))
			} else {
				sessions = append(sessions, b.online(orgScope, fmt.Sprint("r", i), "modal"))
			}
		}
		for _, s := range sessions {
			m := b.poll(s)
			if m == nil {
				rt.Fatalf("a runner got no job although there are as many jobs as runners")
			}
			_, _, err := b.Acquire(s, m.JobID)
			must(t, err)
			must(t, b.Finish(s, m.JobID, world.Success, 0))
		}
		seen := map[string]bool{}
		for _, j := range b.Jobs() {
			if j.Conclusion != world.Success || seen[j.RunnerName] {
				rt.Fatalf("job %s ended %q on runner %q, which ran another: %v", j.Name, j.Conclusion, j.RunnerName, seen[j.RunnerName])
			}
			seen[j.RunnerName] = true
		}
	})
}

func TestRefusesBadInput(t *testing.T) {
	b := newBench(t, world.Timing{})
	b.register(repoScope, "taken", "modal")
	register := func(s world.Scope, name string, group int64) error {
		_, err := b.Register(s, name, group, []string{"modal"})
		return err
	}
	dispatch := func(repo string, jobs ...world.JobSpec) error {
		_, _, err := b.Dispatch(world.Workflow{Repo: repo, Jobs: jobs})
		return err
	}
	second := func(_ any, err error) error { return err }
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"an owner without a name", second(b.AddOwner("", false)), world.ErrInvalid},
		{"an owner that exists in another case", second(b.AddOwner("ACME", false)), world.ErrExists},
		{"a repository of nobody", second(b.AddRepo("nobody", "x", false)), world.ErrNotFound},
		{"a repository that exists", second(b.AddRepo("acme", "APP", false)), world.ErrExists},
		{"a repository with a slash", second(b.AddRepo("acme", "a/b", false)), world.ErrInvalid},
		{"an installation of an unknown repository", second(b.Install("acme", "nope")), world.ErrNotFound},
		{"a group of nobody", second(b.AddGroup("nobody", "g")), world.ErrNotFound},
		{"a runner name that is taken", register(repoScope, "TAKEN", 1), world.ErrExists},
		{"a hosted runner group", register(repoScope, "r", 2), world.ErrHostedGroup},
		{"an unknown runner group", register(repoScope, "r", 99999), world.ErrNotFound},
		{"a runner of an unknown organization", register(world.Scope{Owner: "nobody"}, "r", 1), world.ErrNotFound},
		{"a run of an unknown repository", dispatch("acme/nope", spec("j", "modal")), world.ErrNotFound},
		{"a run without jobs", dispatch("acme/app"), world.ErrInvalid},
		{"a job without labels", dispatch("acme/app", world.JobSpec{Name: "j"}), world.ErrInvalid},
		{"approval of an unknown job", b.Approve(1), world.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !errors.Is(tt.err, tt.want) {
				t.Errorf("got %v, want %v", tt.err, tt.want)
			}
		})
	}
}
