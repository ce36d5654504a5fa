package check_test

import (
	"testing"
	"time"

	"modal-github-runner/services/simulator/internal/check"
	"modal-github-runner/services/simulator/internal/fakemodal"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
	"modal-github-runner/services/simulator/internal/world"
)

var began = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return began.Add(d) }

var limits = check.Limits{
	Tidy: 2 * time.Minute, Idle: 10 * time.Minute, Surplus: 4 * time.Minute, Overlap: time.Minute, Register: 5 * time.Minute, CallsPerMinute: 100, Hear: 10 * time.Minute,
}

func newChecker() *check.Checker {
	return check.New(check.Options{
		Limits: limits,
		Ours:   func(j world.Job) bool { return j.Repo == "acme/app" },
		Blamed: func(id string) bool { return id == "sb-cursed" },
	})
}

const (
	job    = 101 // ran on its own runner from minute 1 to 5
	name   = "mgr-101-1"
	second = "mgr-101-2"
)

// sane is a world, an hour after its beginning, in which one job ran and all is well.
func sane() check.World {
	return check.World{
		At: after(time.Hour),
		Jobs: []world.Job{{
			ID: job, Repo: "acme/app", Status: world.Completed, Conclusion: world.Success, RunnerName: name,
			QueuedAt: began, StartedAt: after(time.Minute), CompletedAt: after(5 * time.Minute),
		}},
		Sandboxes: []fakemodal.SandboxRecord{{
			ID: "sb-1", Name: name, Status: sandbox.Success, CreatedAt: after(10 * time.Second), StartedAt: after(12 * time.Second),
			EndedAt: after(5*time.Minute + time.Second),
		}},
		MostPerName: map[string]int{name: 1},
		Calls:       10,
		Stored: &check.Stored{
			At: after(time.Hour), Runs: map[int64]check.Record{job: record("done", "")}, Runners: map[string]string{name: "ended"},
			Queued: map[int64]bool{}, Dead: map[int64]string{}, Pending: map[string]int{},
		},
	}
}

func record(state, reason string) check.Record {
	r := check.Record{State: state, Reason: reason}
	r.History = append(r.History, struct {
		Text string `json:"text"`
	}{"queued"})
	return r
}

// spare adds a sandbox that never had a job.
func spare(w *check.World, name string, from, to time.Duration) *fakemodal.SandboxRecord {
	w.Sandboxes = append(w.Sandboxes, fakemodal.SandboxRecord{
		ID: "sb-" + name, Name: name, Status: sandbox.Failure, CreatedAt: after(from), StartedAt: after(from), EndedAt: after(to),
	})
	return &w.Sandboxes[len(w.Sandboxes)-1]
}

// heldFor has a job wait for an approval, and a sandbox stay whose own job has another runner.
func heldFor(repo, label string) func(*check.World) {
	return func(w *check.World) {
		w.Jobs[0].RunnerName, w.Sandboxes[0].Name = "mgr-55-1", "mgr-55-1"
		w.Jobs = append(w.Jobs, world.Job{
			ID: 56, Repo: repo, Labels: []string{"self-hosted", label}, Environment: "production", Status: world.Waiting, CreatedAt: began,
		})
		w.Registered = []world.Runner{{Name: name, Scope: world.Scope{Owner: "acme", Repo: "app"}, Labels: []string{"self-hosted", "modal"}}}
		spare(w, name, 0, 6*time.Minute)
	}
}

func TestEachInvariantIsSeenToBeViolated(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(*check.World)
		want  string // the invariant; empty if all is well
	}{
		{"a job that ran on its own runner is well", func(*check.World) {}, ""},
		{"a sandbox that is ended while its job runs", func(w *check.World) {
			w.Sandboxes[0].Status, w.Sandboxes[0].EndedAt = sandbox.Terminated, after(3*time.Minute)
		}, "work"},
		{"a sandbox that outlives its timeout with a job", func(w *check.World) {
			w.Sandboxes[0].Status, w.Sandboxes[0].EndedAt = sandbox.TimedOut, after(3*time.Minute)
		}, "work"},
		{"a job that failed though nothing had befallen it", func(w *check.World) { w.Jobs[0].Conclusion = world.Failure }, "work"},
		{"a job that was meant to fail is well", func(w *check.World) {
			w.Jobs[0].Conclusion, w.Jobs[0].ExitCode = world.Failure, check.FailCode
		}, ""},
		{"a job that failed with its cursed sandbox is well", func(w *check.World) {
			w.Jobs[0].Conclusion, w.Sandboxes[0].ID = world.Failure, "sb-cursed"
		}, ""},
		{"a running job that nobody asked to be cancelled", func(w *check.World) { w.Jobs[0].Conclusion = world.Cancelled }, "work"},
		{"a running job that a user cancelled is well", func(w *check.World) {
			w.Jobs[0].Conclusion, w.Jobs[0].Reason = world.Cancelled, "cancelled by a user"
		}, ""},
		{"a job that ran on a sandbox which Modal never had", func(w *check.World) { w.Sandboxes = nil }, "I2"},
		{"two sandboxes of one name", func(w *check.World) { w.MostPerName[name] = 2 }, "I3"},
		{"a second runner for a job while the first may still come", func(w *check.World) {
			w.Jobs[0].RunnerName, w.Sandboxes[0].Name = second, second
			spare(w, name, 0, 4*time.Minute)
		}, "I3"},
		{"a second runner for a job whose first has just ended is well", func(w *check.World) {
			w.Jobs[0].RunnerName, w.Sandboxes[0].Name = second, second
			spare(w, name, 0, time.Minute)
		}, ""},
		{"a second runner for a job whose first took another job is well", func(w *check.World) {
			w.Jobs[0].RunnerName, w.Sandboxes[0].Name = second, second
			spare(w, name, 0, 9*time.Minute)
			w.Jobs = append(w.Jobs, world.Job{
				ID: 55, Repo: "acme/app", Status: world.Completed, Conclusion: world.Success, RunnerName: name,
				StartedAt: after(10 * time.Second), CompletedAt: after(9 * time.Minute),
			})
			w.Stored.Runs[55] = record("done", "")
		}, ""},
		{"a sandbox that stays after its job", func(w *check.World) { w.Sandboxes[0].EndedAt = after(8 * time.Minute) }, "I5"},
		{"a sandbox that stays without a job", func(w *check.World) { spare(w, "mgr-99-1", 0, 11*time.Minute) }, "I5"},
		{"a sandbox that is still there without a job", func(w *check.World) {
			spare(w, "mgr-99-1", 0, time.Minute).EndedAt = time.Time{}
		}, "I5"},
		{"a sandbox that stays when another has taken its job", func(w *check.World) {
			w.Jobs[0].RunnerName, w.Sandboxes[0].Name = "mgr-55-1", "mgr-55-1"
			spare(w, name, 0, 6*time.Minute)
		}, "I5"},
		{"a sandbox that stays for a job which waits for an approval is well", heldFor("acme/app", "modal"), ""},
		{"a sandbox that stays for a job of other labels which waits for an approval", heldFor("acme/app", "windows"), "I5"},
		{"a sandbox that stays for a job elsewhere which waits for an approval", heldFor("stranger/elsewhere", "modal"), "I5"},
		{"a sandbox that stays for a job elsewhere in its organization which waits for an approval is well", func(w *check.World) {
			heldFor("acme/other", "modal")(w)
			w.Registered[0].Scope.Repo = ""
		}, ""},
		{"a sandbox that stays, while another's runner could take the job that waits for an approval", func(w *check.World) {
			heldFor("acme/app", "modal")(w)
			w.Registered[0].Name = second
		}, "I5"},
		{"a record that is done while its job is queued", func(w *check.World) {
			w.Jobs[0].Status, w.Jobs[0].RunnerName, w.Jobs[0].Conclusion = world.Queued, "", ""
			w.Sandboxes = nil
		}, "I8"},
		{"a record that has not heard of its job's end", func(w *check.World) { w.Stored.Runs[job] = record("running", "") }, "I8"},
		{"a record without a history", func(w *check.World) { w.Stored.Runs[job] = check.Record{State: "done"} }, "I12"},
		{"a job that was given up without a reason", func(w *check.World) { w.Stored.Runs[job] = record("dead", "") }, "I12"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := sane()
			test.spoil(&w)
			c := newChecker()
			c.Look(w)
			expect(t, c, test.want)
		})
	}
}

func TestWhatIsLeftAtRestIsSeen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(*check.World)
		want  string
	}{
		{"nothing is left", func(*check.World) {}, ""},
		{"a job of ours that is still queued", func(w *check.World) {
			w.Jobs = append(w.Jobs, world.Job{ID: 7, Repo: "acme/app", Status: world.Queued, QueuedAt: began})
		}, "I4"},
		{"a queued job that was given up for a reason", func(w *check.World) {
			w.Jobs = append(w.Jobs, world.Job{ID: 7, Repo: "acme/app", Status: world.Queued, QueuedAt: began})
			w.Stored.Runs[7], w.Stored.Dead[7] = record("dead", "no such group"), "no such group"
		}, ""},
		{"a queued job of somebody else's", func(w *check.World) {
			w.Jobs = append(w.Jobs, world.Job{ID: 7, Repo: "other/app", Status: world.Queued, QueuedAt: began})
		}, ""},
		{"a record that still waits", func(w *check.World) { w.Stored.Runs[7] = record("waiting", "") }, "I4"},
		{"a message that nobody handles", func(w *check.World) { w.Stored.Pending["outcomes"] = 1 }, "I4"},
		{"a broker that is down", func(w *check.World) { w.Stored = nil }, "I4"},
		{"a sandbox", func(w *check.World) {
			spare(w, "mgr-99-1", time.Hour-time.Minute, 0).EndedAt = time.Time{}
		}, "I5"},
		{"a registration", func(w *check.World) { w.Runners = []world.Runner{{Name: name}} }, "I6"},
		{"a runner's record", func(w *check.World) { w.Stored.Runners[second] = "launched" }, "I6"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := sane()
			test.spoil(&w)
			c := newChecker()
			c.Settled(w)
			expect(t, c, test.want)
		})
	}
}

// expect checks that the invariant was violated, and no other; with "", that none was.
func expect(t *testing.T, c *check.Checker, want string) {
	t.Helper()
	found := c.Violations()
	if want != "" && len(found) == 0 {
		t.Errorf("found nothing, want a violation of %s", want)
	}
	for _, v := range found {
		if v.Invariant != want {
			t.Errorf("found %v, want %q only", v, want)
		}
	}
}
