package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

// sweepLimit is how long after its queueing a job of which no webhook told us may wait to be found: the sweeps come every two
// minutes and leave alone what is younger than two.
const sweepLimit = 6 * time.Minute

// TestAJobIsServedOfWhichNoEventIsLeft takes the events of jobs away at each place on their way. Nobody sends them again but
// the sweeps, which ask GitHub for queued jobs in repositories that they know, and have it send again what it could not deliver.
func TestAJobIsServedOfWhichNoEventIsLeft(t *testing.T) {
	long(t)
	t.Parallel()
	l := newLinks(t)
	s := start(t, rig.Options{Via: l.via})
	known := []string{"acme/api", "octo/tools"}
	for _, repo := range known {
		s.dispatch(t.Context(), repo, task("first in "+repo, 0))
		s.succeeds(soon, "first in "+repo)
	}
	s.leavesNothing(soon)
	tests := []struct {
		name  string
		fault string
		repo  string
		// lose queues the job, and returns when its event is lost.
		lose func(queue func())
	}{
		{"the stream is purged before a worker has seen it", "F59", known[0], s.loseInStream},
		{"GitHub never sends it", "F01", known[1], func(queue func()) {
			s.faults(fault.Rule{Op: "webhook.queued", Error: "lost", Times: 1})
			queue()
		}},
		{"GitHub can't deliver it", "F01", "acme/web", func(queue func()) {
			s.faults(fault.Rule{Op: "webhook.queued", Error: "503", Times: 1})
			queue()
		}},
		{"ingress is killed before it has stored it", "F24", "acme/infra", func(queue func()) { s.loseInIngress(l, queue) }},
	}
	for _, tt := range tests {
		tt.lose(func() { s.dispatch(t.Context(), tt.repo, task(tt.name, 0)) })
	}
	lost := time.Now()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			covers(t, tt.fault)
			s.in(t).succeeds(sweepLimit, tt.name)
			waited := s.job(t.Context(), tt.name).CompletedAt.Sub(lost)
			t.Logf("served %s after the last event was lost", waited.Round(time.Second))
			if waited < soon/2 {
				t.Error("no sweep comes so soon: its event was not lost")
			}
		})
	}
	s.leavesNothing(soon)
	if made, jobs := len(s.modal(t.Context()).Sandboxes), len(known)+len(tests); made != jobs {
		t.Errorf("%d sandboxes were made for %d jobs", made, jobs)
	}
}

// loseInStream has an operator purge the stream by mistake while no worker is there.
func (s *system) loseInStream(queue func()) {
	s.t.Helper()
	s.do(s.Worker(0).Stop(stopLimit))
	received := s.deliveries(s.t.Context()).OK
	queue()
	eventually(s.t, "the event is stored", func(ctx context.Context) bool { return s.deliveries(ctx).OK > received })
	s.jetstream(func(js jetstream.JetStream) {
		stream, err := js.Stream(s.t.Context(), wire.StreamJobs)
		s.do(err)
		s.do(stream.Purge(s.t.Context()))
	})
	s.do(s.StartWorker(s.t.Context(), 0))
}

// loseInIngress kills ingress while what it says to NATS gets lost.
func (s *system) loseInIngress(l *links, queue func()) {
	s.t.Helper()
	l.poison(ingressNATS, toxic{Type: "timeout", Stream: "upstream", Attributes: map[string]int{"timeout": 0}})
	failed := s.deliveries(s.t.Context()).Failed
	queue()
	eventually(s.t, "ingress has the webhook", func(ctx context.Context) bool { return s.deliveries(ctx).Pending > 0 })
	s.do(s.Ingress(0).Kill())
	eventually(s.t, "GitHub knows that nobody took it", func(ctx context.Context) bool { return s.deliveries(ctx).Failed > failed })
	l.heal(ingressNATS)
	s.do(s.StartIngress(s.t.Context(), 0))
}

// TestAnOldBackupOfNATSEndsNoJob restores what NATS had stored before a job was queued that runs now.
func TestAnOldBackupOfNATSEndsNoJob(t *testing.T) {
	long(t)
	t.Parallel()
	covers(t, "F60")
	s := start(t, rig.Options{})
	store, backup := filepath.Join(s.Dir(), "jetstream"), filepath.Join(t.TempDir(), "backup")
	s.dispatch(t.Context(), "acme/api", task("before", 0))
	s.succeeds(soon, "before")
	s.leavesNothing(soon)
	s.do(s.StopNATS())
	s.do(os.CopyFS(backup, os.DirFS(store)))
	s.do(s.StartNATS(t.Context()))
	eventually(t, "ingress is ready", func(ctx context.Context) bool { return s.ready(ctx, 0) })
	s.dispatch(t.Context(), "acme/api", task("meanwhile", 150)) // Longer than the sweeps leave alone what they do not know.
	eventually(t, "the job runs", func(ctx context.Context) bool { return s.job(ctx, "meanwhile").Status == world.InProgress })
	s.do(s.StopNATS())
	s.do(os.RemoveAll(store))
	s.do(os.CopyFS(store, os.DirFS(backup)))
	s.do(s.StartNATS(t.Context()))
	eventually(t, "ingress is ready again", func(ctx context.Context) bool { return s.ready(ctx, 0) })
	s.dispatch(t.Context(), "acme/api", task("after", 0))
	s.succeeds(soon, "after")
	s.succeeds(4*soon, "meanwhile")
	s.leavesNothing(soon)
	if made := len(s.modal(t.Context()).Sandboxes); made != 3 {
		t.Errorf("%d sandboxes were made for three jobs", made)
	}
}

func TestAJobWhoseEndNobodyToldOfGetsNoMoreRunners(t *testing.T) {
	long(t)
	t.Parallel()
	covers(t, "F01")
	s := start(t, rig.Options{})
	s.faults(fault.Rule{Op: "webhook.in_progress", Error: "lost", Times: 1}, fault.Rule{Op: "webhook.completed", Error: "lost", Times: 1})
	s.dispatch(t.Context(), "acme/api", task("silent", 0))
	s.succeeds(soon, "silent")
	id := strconv.FormatInt(s.job(t.Context(), "silent").ID, 10)
	within(t, sweepLimit, "the ledger says that the job is over", func(ctx context.Context) bool {
		var told struct{ State string }
		s.do(json.Unmarshal(s.operator(ctx, "explain", "--json", id), &told))
		return told.State == "done"
	})
	s.leavesNothing(soon)
	if made := len(s.modal(t.Context()).Sandboxes); made > 2 {
		t.Errorf("%d sandboxes were made for a job that the first one had served", made)
	}
}
