package exact

import (
	"context"
	"fmt"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Requeue is of launch.Queue.
func (t *task) Requeue(ctx context.Context, j run.Job, queuedAt time.Time, revision uint64) error {
	return t.do(ctx, t.nats("requeue"), func() error {
		t.s.publish(fmt.Sprintf("retry-%d-%d", j.ID, revision), run.Queued{Job: j, At: queuedAt})
		return nil
	})
}

// Call is of sweep.Caller.
func (t *task) Call(ctx context.Context, j run.Job, queuedAt time.Time, revision uint64) error {
	return t.do(ctx, t.nats("call"), func() error {
		t.s.publish(fmt.Sprintf("turn-%d-%d", j.ID, revision), run.Queued{Job: j, At: queuedAt})
		return nil
	})
}

// Report is of sweep.Queue.
func (t *task) Report(ctx context.Context, ev run.Event, revision uint64) error {
	return t.do(ctx, t.nats("report"), func() error {
		t.tellf("reports %s", describe(ev))
		t.s.publish(fmt.Sprintf("found-%d-%d-%T", run.JobOf(ev).ID, revision, ev), ev)
		return nil
	})
}

// Bury is of launch.Queue.
func (t *task) Bury(ctx context.Context, j run.Job, reason string) error {
	return t.do(ctx, t.nats("bury"), func() error {
		if !slices.Contains(t.s.buried, j.ID) {
			t.s.buried = append(t.s.buried, j.ID)
		}
		t.s.check.buried(j.ID, reason)
		return nil
	})
}

func describe(ev run.Event) string {
	switch ev := ev.(type) {
	case run.Queued:
		return "queued at " + ev.At.Format(time.TimeOnly)
	case run.Held:
		return "waiting at " + ev.At.Format(time.TimeOnly)
	case run.Started:
		return fmt.Sprintf("in_progress on %v", ev.Runner)
	case run.Finished:
		return fmt.Sprintf("completed on %v: %s", ev.Runner, ev.Conclusion)
	}
	return fmt.Sprintf("%T", ev)
}
