package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fault"
)

// The links of a system with one of each.
var (
	ingressNATS  = rig.Link{From: "ingress-1", To: rig.ToNATS}
	workerNATS   = rig.Link{From: "worker-1", To: rig.ToNATS}
	workerGitHub = rig.Link{From: "worker-1", To: rig.ToGitHub}
	workerModal  = rig.Link{From: "worker-1", To: rig.ToModal}
)

func TestAWebhookThatNATSDoesNotConfirmIsRefusedInTimeAndServedOnce(t *testing.T) {
	t.Parallel()
	l := newLinks(t)
	s := start(t, rig.Options{Via: l.via, Env: []string{"ALLOWED_REPOS=Codertocat/Hello-World"}})
	s.do(s.Simulator.AddOwner(t.Context(), "Codertocat", false, "Hello-World"))
	job := s.inRun("Codertocat/Hello-World")
	tests := []struct {
		name  string
		job   int64
		fault string
		ill   toxic
	}{
		{"what ingress says arrives late", 1001, "F19", toxic{Type: "latency", Stream: "upstream", Attributes: map[string]int{"latency": 8000}}},
		{"what NATS answers gets lost", 1002, "F20", toxic{Type: "timeout", Stream: "downstream", Attributes: map[string]int{"timeout": 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			covers(t, tt.fault)
			s := s.in(t)
			eventually(t, "ingress is ready", func(ctx context.Context) bool { return s.ready(ctx, 0) })
			job["id"] = tt.job
			body := remake(t, "workflow_job/queued.payload.json", job)
			guid := newGUID()
			l.poison(ingressNATS, tt.ill)
			began := time.Now()
			got := s.deliver(t.Context(), guid, "workflow_job", body)
			took := time.Since(began)
			l.heal(ingressNATS)
			if got.status != http.StatusServiceUnavailable || got.retryAfter == "" || took > githubPatience {
				t.Errorf("answered %+v after %s, want 503 and Retry-After within %s", got, took, githubPatience)
			}
			eventually(t, "the redelivery is accepted", func(ctx context.Context) bool {
				return s.deliver(ctx, guid, "workflow_job", body).status == http.StatusAccepted
			})
			id := strconv.FormatInt(tt.job, 10)
			eventually(t, "a sandbox is made for the job", func(ctx context.Context) bool { return s.sandboxesFor(ctx, id) > 0 })
			s.handled()
			if n := s.sandboxesFor(t.Context(), id); n != 1 {
				t.Errorf("%d sandboxes were made for one job", n)
			}
		})
	}
}

// ready says whether the program with the number, ingresses first, could do its work now.
func (s *system) ready(ctx context.Context, n int) bool {
	s.t.Helper()
	return getURL(ctx, s.t, s.AdminURLs()[n]+"/readyz").status == http.StatusOK
}

// sandboxesFor is how many sandboxes were made on account of the job.
func (s *system) sandboxesFor(ctx context.Context, job string) int {
	s.t.Helper()
	n := 0
	for _, sandbox := range s.modal(ctx).Sandboxes {
		if sandbox.Tags["job-id"] == job {
			n++
		}
	}
	return n
}

// handled waits until no message is under way to a worker or in its hands.
func (s *system) handled() {
	s.t.Helper()
	s.jetstream(func(js jetstream.JetStream) {
		for _, name := range []string{wire.QueuedConsumer(wire.DefaultPool), wire.ConsumerOutcomes} {
			eventually(s.t, "consumer "+name+" has nothing left", func(ctx context.Context) bool {
				consumer, err := js.Consumer(ctx, wire.StreamJobs, name)
				s.do(err)
				info := consumer.CachedInfo()
				return info.NumPending+uint64(info.NumAckPending) == 0
			})
		}
	})
}

func TestAWorkerThatCanListenButNotSpeakStartsNothing(t *testing.T) {
	long(t)
	t.Parallel()
	covers(t, "F22")
	l := newLinks(t)
	s := start(t, rig.Options{Via: l.via})
	// A job comes by the pull that was under way, if that does not end just then.
	name := "held up"
	for n := 2; !s.isCutOffWith(l, name); n++ {
		l.heal(workerNATS)
		s.succeeds(2*soon, name)
		s.leavesNothing(soon)
		name = fmt.Sprint("held up ", n)
	}
	eventually(t, "the worker knows that it can't work", func(ctx context.Context) bool { return !s.ready(ctx, 1) })
	if sandboxes, registrations := s.left(t.Context()); sandboxes+registrations > 0 {
		t.Errorf("%d sandboxes and %d registrations were made of which nothing is on record", sandboxes, registrations)
	}
	l.heal(workerNATS)
	s.succeeds(2*soon, name)
	s.leavesNothing(soon)
}

// isCutOffWith has the worker say nothing more to NATS, and reports whether it gets the message of a job that comes then.
func (s *system) isCutOffWith(l *links, name string) bool {
	s.t.Helper()
	const failure = `"msg":"message will be handled again"`
	before := strings.Count(s.log("worker-1"), failure)
	l.poison(workerNATS, toxic{Type: "timeout", Stream: "upstream", Attributes: map[string]int{"timeout": 0}})
	s.dispatch(s.t.Context(), "acme/api", task(name, 0))
	return happens(s.t.Context(), soon/2, func(context.Context) bool { return strings.Count(s.log("worker-1"), failure) > before })
}

func TestWorkersCutOffFromNATSWhileTheyLaunchGoOnOnce(t *testing.T) {
	long(t)
	t.Parallel()
	covers(t, "F21")
	l := newLinks(t)
	s := start(t, rig.Options{Workers: 2, Via: l.via})
	const jit = "github.generate-jitconfig"
	s.faults(fault.Rule{Op: jit, Latency: fault.Duration(3 * time.Second), Times: 4})
	s.dispatch(t.Context(), "acme/api", tasks(4, "launched", 0)...)
	eventually(t, "all four launches are under way", func(ctx context.Context) bool { return s.strikes(ctx, jit) == 4 })
	other := rig.Link{From: "worker-2", To: rig.ToNATS}
	l.poison(workerNATS, cut)
	l.poison(other, cut)
	eventually(t, "GitHub has answered", func(ctx context.Context) bool { return len(s.github(ctx).Runners) == 4 })
	eventually(t, "the launches have failed", func(context.Context) bool {
		return strings.Count(s.log("worker-1")+s.log("worker-2"), `"msg":"message will be handled again"`) >= 4
	})
	l.heal(workerNATS)
	l.heal(other)
	s.succeeds(3*soon, "launched-1", "launched-2", "launched-3", "launched-4")
	s.leavesNothing(3 * soon)
}

// log is all that a program has logged.
func (s *system) log(name string) string {
	s.t.Helper()
	return string(readFile(s.t, filepath.Join(s.Dir(), name+".log")))
}

func TestAJobWaitsForALinkToGitHubAndModal(t *testing.T) {
	t.Parallel()
	l := newLinks(t)
	s := start(t, rig.Options{Via: l.via})
	tests := []struct {
		name  string
		fault string
		link  rig.Link
		ill   toxic
	}{
		{"GitHub can't be reached", "F11", workerGitHub, cut},
		{"GitHub's answers break off", "F11", workerGitHub, toxic{Type: "limit_data", Stream: "downstream", Attributes: map[string]int{"bytes": 500}}},
		{"Modal can't be reached", "F65", workerModal, cut},
		{"Modal's answers break off", "F65", workerModal, toxic{Type: "limit_data", Stream: "downstream", Attributes: map[string]int{"bytes": 50}}},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			covers(t, tt.fault)
			s := s.in(t)
			const failure = `"msg":"runner not launched"`
			before := strings.Count(s.log("worker-1"), failure)
			l.poison(tt.link, tt.ill)
			name := fmt.Sprintf("waits-%d", n)
			s.dispatch(t.Context(), "acme/api", task(name, 0))
			eventually(t, "a launch fails", func(context.Context) bool { return strings.Count(s.log("worker-1"), failure) > before })
			l.heal(tt.link)
			s.succeeds(soon, name)
			s.leavesNothing(soon)
		})
	}
}
