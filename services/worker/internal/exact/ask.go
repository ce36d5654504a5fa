package exact

import (
	"context"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// askTimeout is when the adapter gives up a question.
	askTimeout = 5 * time.Second
	// bootTime is how soon after the look the adapter has ended a sandbox that was not scheduled, or lets it be.
	bootTime = 2 * time.Second
)

// Ask is of launch.Fleet.
func (t *task) Ask(ctx context.Context, id string, release bool) (says run.Evidence, err error) {
	began, deaf := t.s.now, false
	c := t.modal("ask " + id)
	c.limit = askTimeout
	err = t.do(ctx, c, func() error {
		b := t.s.modal.boxes[id]
		if release {
			t.s.check.cools(t, b)
		}
		says = t.s.say(b, release)
		deaf = says == ""
		t.tellf("sandbox %s says %q", id, says)
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case deaf: // The SDK waits for as long as it may.
		if !t.pause(askTimeout) {
			return "", errDead
		}
		return "", context.DeadlineExceeded
	case says == run.Unscheduled && release:
		return run.ReleasedNow, t.withdraw(ctx, id, bootTime-(t.s.now-began))
	}
	return says, nil
}

// say is what a sandbox answers, or Modal for it; empty if nobody does.
func (s *Sim) say(b *box, release bool) run.Evidence {
	switch {
	case b == nil || !b.alive():
		return run.Over
	case !b.scheduled:
		return run.Unscheduled
	case b.deaf:
		return ""
	case b.hung:
		return run.Starting
	case b.jit == "":
		return s.sayWarm(b, release)
	case b.hadJob():
		return run.HasJob
	case release && s.release(b, true), b.released:
		return run.ReleasedNow
	case !b.started:
		return run.Starting
	default:
		return run.Idle
	}
}

// withdraw ends a sandbox that was not scheduled a moment ago. Modal schedules none that was ended.
func (t *task) withdraw(ctx context.Context, id string, within time.Duration) error {
	c := t.modal("end " + id + ", which is not scheduled")
	c.limit = max(within, time.Nanosecond)
	return t.do(ctx, c, func() error {
		t.s.terminate(t.s.modal.boxes[id])
		return nil
	})
}

// terminate ends a sandbox, whatever it does.
func (s *Sim) terminate(b *box) {
	if j := b.working(); j != nil && b.alive() {
		s.check.killed(j, "its sandbox was terminated")
	}
	s.endBox(b, "its sandbox ended: terminated")
}
