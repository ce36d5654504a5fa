package sandbox_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
	"modal-github-runner/services/simulator/internal/fakemodal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// obey ends with its context, or after an hour with exit code 0.
var obey = machine.Func(func(ctx context.Context, _ machine.Program) int {
	select {
	case <-time.After(time.Hour):
	case <-ctx.Done():
	}
	return 0
})

// broken has machines that cannot be opened or closed.
type broken struct {
	machine.Machine

	open, close error
}

func (b broken) Open(string) (machine.Machine, error) { return b, b.open }

func (b broken) Main(context.Context, machine.Program) (int, error) { return 2, nil }

func (b broken) Close() error { return b.close }

func TestHowSandboxesEnd(t *testing.T) {
	errBroken := errors.New("broken")
	for _, tt := range []struct {
		name      string
		executor  machine.Executor
		timeout   uint32
		latency   time.Duration
		act       func(*sandbox.Store, *sandbox.Sandbox)
		want      sandbox.Status
		exception string
		started   bool
		after     time.Duration
	}{
		{name: "by itself", executor: obey, timeout: 7200, want: sandbox.Success, started: true, after: time.Hour},
		{name: "after five minutes if no timeout is given", executor: obey, want: sandbox.TimedOut, exception: "the sandbox exceeded its timeout", started: true, after: 5 * time.Minute},
		{name: "after the timeout, counted from the start", executor: obey, timeout: 60, latency: time.Second, want: sandbox.TimedOut, exception: "the sandbox exceeded its timeout", started: true, after: 61 * time.Second},
		{name: "when it is terminated", executor: obey, act: terminate, want: sandbox.Terminated, exception: "the sandbox was terminated", started: true, after: time.Second},
		{name: "when it is terminated before it started", executor: obey, latency: time.Minute, act: terminate, want: sandbox.Terminated, exception: "the sandbox was terminated", after: time.Second},
		{name: "when the store stops", executor: obey, act: func(st *sandbox.Store, _ *sandbox.Sandbox) { st.Stop() }, want: sandbox.Terminated, exception: "the server is stopping", started: true, after: time.Second},
		{name: "when the machine cannot be opened", executor: broken{open: errBroken}, want: sandbox.InitFailure, exception: "broken"},
		{name: "when the machine cannot be closed", executor: broken{close: errBroken}, want: sandbox.InternalFailure, exception: "broken", started: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := store(t, sandbox.Options{Executor: tt.executor, Latency: tt.latency})
				s := create(t, st, pb.Sandbox_builder{TimeoutSecs: tt.timeout}.Build())
				if tt.act != nil {
					time.Sleep(time.Second)
					tt.act(st, s)
				}
				<-s.Done()
				<-s.Started()
				r := s.Record()
				if r.Status != tt.want || r.Exception != tt.exception || r.StartedAt.IsZero() == tt.started || r.EndedAt.Sub(r.CreatedAt) != tt.after {
					t.Errorf("record %+v, want %s %q after %v", r, tt.want, tt.exception, tt.after)
				}
				if entries, more := s.Output().After(0); len(entries) != 0 || more != nil {
					t.Errorf("output %v, want none and no more to come", entries)
				}
				s.Terminate() // too late to change anything
				if again := s.Record(); again.Status != r.Status {
					t.Errorf("status %s after it was %s", again.Status, r.Status)
				}
				if n := st.Snapshot().Running; n != 0 {
					t.Errorf("%d are running", n)
				}
			})
		})
	}
}

func terminate(_ *sandbox.Store, s *sandbox.Sandbox) { s.Terminate() }

func TestExecs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store(t, sandbox.Options{Executor: obey, Latency: time.Second})
		s := create(t, st, &pb.Sandbox{})
		if _, err := s.Exec("a", sandbox.ExecSpec{}); !errors.Is(err, sandbox.ErrNotRunning) {
			t.Errorf("before the start: %v, want %v", err, sandbox.ErrNotRunning)
		}
		<-s.Started()
		timed := exec(t, s, "timed", time.Minute)
		if again := exec(t, s, "timed", time.Minute); again != timed {
			t.Error("the same id started a second command")
		}
		if _, err := s.FindExec("other"); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("unknown id: %v, want %v", err, sandbox.ErrNotFound)
		}
		began := time.Now()
		<-timed.Done()
		if _, signal := timed.Result(); signal != syscall.SIGKILL || time.Since(began) != time.Minute {
			t.Errorf("signal %v after %v, want SIGKILL after 1m", signal, time.Since(began))
		}
		endless := exec(t, s, "endless", 0)
		s.Terminate()
		<-s.Done()
		<-endless.Done()
		if _, signal := endless.Result(); signal != syscall.SIGKILL {
			t.Errorf("signal %v, want SIGKILL", signal)
		}
		if _, err := s.Exec("b", sandbox.ExecSpec{}); !errors.Is(err, sandbox.ErrNotRunning) {
			t.Errorf("after the end: %v, want %v", err, sandbox.ErrNotRunning)
		}
	})
}

func exec(t *testing.T, s *sandbox.Sandbox, id string, timeout time.Duration) *sandbox.Exec {
	t.Helper()
	e, err := s.Exec(id, sandbox.ExecSpec{Args: []string{"x"}, Timeout: timeout})
	if err != nil {
		t.Fatalf("exec: %v", err)
	}
	return e
}

func TestCreationRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store(t, sandbox.Options{Executor: obey, Limits: sandbox.Limits{CreatesPerSecondV2: 5}})
		count := func() (n int) {
			for ; ; n++ {
				_, err := st.Create(sandbox.Spec{Backend: sandbox.V2, Definition: &pb.Sandbox{}})
				if limited, ok := errors.AsType[*sandbox.RateError](err); ok && limited.PerSecond == 5 {
					return n
				}
				if err != nil {
					t.Fatalf("create: %v", err)
				}
			}
		}
		for second := range 3 {
			if n := count(); n != 5 {
				t.Errorf("%d creations in second %d, want 5", n, second)
			}
			time.Sleep(time.Second)
		}
		if _, err := st.Create(sandbox.Spec{Backend: sandbox.V1, Definition: &pb.Sandbox{}}); err != nil {
			t.Errorf("the other backend: %v", err)
		}
	})
}

func TestNamesAndCapacityAreFreedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store(t, sandbox.Options{Executor: obey, Limits: sandbox.Limits{MaxSandboxes: 2}})
		name := "R"
		spec := func(app string) sandbox.Spec {
			return sandbox.Spec{Backend: sandbox.V2, AppID: app, Definition: pb.Sandbox_builder{Name: &name}.Build()}
		}
		first, err := st.Create(spec("a"))
		if err != nil {
			t.Fatalf("create: %v", err)
		}
		if _, err := st.Create(spec("a")); !errors.Is(err, sandbox.ErrNameUsed) {
			t.Errorf("the name again: %v, want %v", err, sandbox.ErrNameUsed)
		}
		if _, err := st.Create(spec("b")); err != nil {
			t.Errorf("the name in another app: %v", err)
		}
		if _, err := st.Create(spec("c")); !errors.Is(err, sandbox.ErrCapacity) {
			t.Errorf("a third: %v, want %v", err, sandbox.ErrCapacity)
		}
		first.Terminate()
		<-first.Done()
		if _, err := st.Create(spec("a")); err != nil {
			t.Errorf("the name after the end: %v", err)
		}
		got := st.Snapshot()
		if got.MaxPerName[name] != 2 || got.PeakRunning != 2 || got.Running != 2 || len(got.Sandboxes) != 3 {
			t.Errorf("snapshot %+v", got)
		}
		st.Stop()
		if _, err := st.Create(spec("d")); !errors.Is(err, sandbox.ErrStopped) {
			t.Errorf("after stop: %v, want %v", err, sandbox.ErrStopped)
		}
	})
}

func store(t *testing.T, o sandbox.Options) *sandbox.Store {
	t.Helper()
	o.OutputLimit = 1 << 10
	st, err := sandbox.NewStore(o)
	if err != nil {
		t.Fatalf("new store: %v", err)
	}
	t.Cleanup(st.Stop)
	return st
}

func create(t *testing.T, st *sandbox.Store, def *pb.Sandbox) *sandbox.Sandbox {
	t.Helper()
	s, err := st.Create(sandbox.Spec{Backend: sandbox.V2, Definition: def})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return s
}
