package intake_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
)

func TestAMessageForLaterComesAgainAtItsTimeAndHoldsNoPlaceUntilThen(t *testing.T) {
	for _, action := range []jobsv1.Action{
		jobsv1.Action_ACTION_QUEUED, jobsv1.Action_ACTION_WAITING, jobsv1.Action_ACTION_IN_PROGRESS, jobsv1.Action_ACTION_COMPLETED,
	} {
		t.Run(action.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				for n := range r.topology.Consumers {
					r.topology.Consumers[n].MaxAckPending = 1
				}
				r.ensure(t)
				consumer := wire.ConsumerOutcomes
				if action == jobsv1.Action_ACTION_QUEUED {
					consumer = queuedConsumer
				}
				w := r.start(t, consumer, 4, &script{do: func(_ context.Context, n int, _ call) (time.Time, error) {
					switch n {
					case 1:
						return time.Now().Add(89_500 * time.Millisecond), nil // Schedules know whole seconds.
					case 3:
						return time.Now().Add(10 * time.Minute), nil
					}
					return time.Time{}, nil
				}})
				r.publish(t, event(action, 1))
				time.Sleep(time.Second)
				wantVerdicts(t, w, "scheduled")
				r.wantAllAcked(t, consumer)
				r.publish(t, event(action, 2))
				time.Sleep(20 * time.Minute)

				wantTimes(t, w.handler, 0, time.Second, 90*time.Second, 90*time.Second+10*time.Minute)
				wantVerdicts(t, w, "scheduled", "done", "scheduled", "done")
				calls := w.handler.seen()
				if calls[0].job != 1 || calls[1].job != 2 || calls[2].job != 1 || calls[3].job != 1 {
					t.Errorf("calls: %+v", calls)
				}
				for _, copied := range calls[2:] {
					if diff := cmp.Diff(calls[0].event, copied.event); diff != "" {
						t.Errorf("the copy is another event: %s", diff)
					}
				}
				r.wantAllAcked(t, consumer)
				if later := wire.LaterSubject(action, 1); r.stored(t, later) != 0 {
					t.Errorf("%d messages are left on %s", r.stored(t, later), later)
				}
			})
		})
	}
}

// Two events of one kind for one job are one wish to look at it again, and the newer knows better when.
func TestACopyForLaterTakesThePlaceOfAnOlderOneOfItsJobAndAction(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		again := []time.Duration{time.Minute, 5 * time.Minute, 2 * time.Minute}
		w := r.start(t, queuedConsumer, 1, &script{do: func(_ context.Context, n int, c call) (time.Time, error) {
			if n <= len(again) {
				return c.at.Add(again[n-1]), nil
			}
			return time.Time{}, nil
		}})
		r.publish(t, queued(1))
		r.publish(t, queued(1))
		r.publish(t, queued(2))
		time.Sleep(10 * time.Minute)
		wantTimes(t, w.handler, 0, 0, 0, 2*time.Minute, 5*time.Minute)
		if calls := w.handler.seen(); calls[3].job != 2 || calls[4].job != 1 {
			t.Errorf("calls: %+v", calls)
		}
		wantVerdicts(t, w, "scheduled", "scheduled", "scheduled", "done", "done")
	})
}

func TestCopiesOfTwoActionsOfAJobDoNotTakeEachOthersPlace(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		later := func(_ context.Context, n int, c call) (time.Time, error) {
			if n == 1 {
				return c.at.Add(time.Minute), nil
			}
			return time.Time{}, nil
		}
		queue, outcomes := r.start(t, queuedConsumer, 1, &script{do: later}), r.start(t, wire.ConsumerOutcomes, 1, &script{do: later})
		r.publish(t, queued(1))
		r.publish(t, event(jobsv1.Action_ACTION_COMPLETED, 1))
		time.Sleep(10 * time.Minute)
		wantTimes(t, queue.handler, 0, time.Minute)
		wantTimes(t, outcomes.handler, 0, time.Minute)
	})
}

func TestAMessageForATimeThatHasPassedComesAgainAtOnce(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{do: func(_ context.Context, n int, _ call) (time.Time, error) {
			if n == 1 {
				return time.Now().Add(-time.Minute), nil
			}
			return time.Time{}, nil
		}})
		r.publish(t, queued(1))
		time.Sleep(10 * time.Minute)
		wantTimes(t, w.handler, 0, 0)
	})
}
