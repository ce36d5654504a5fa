package intake_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
)

// slack is what a delivery may come late by: schedules know whole seconds, and a pull may have to be asked anew.
const slack = 2 * time.Second

var errBoom = errors.New("boom")

// wantTimes checks that the handler was called at these times after its first call.
func wantTimes(t *testing.T, handler *script, want ...time.Duration) {
	t.Helper()
	got := handler.times()
	if len(got) != len(want) {
		t.Fatalf("handled at %v, want %v", got, want)
	}
	for n := range want {
		if got[n] < want[n] || got[n] > want[n]+slack {
			t.Errorf("handled at %v, want %v", got, want)
			return
		}
	}
}

func wantVerdicts(t *testing.T, w *worker, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, w.said()); diff != "" {
		t.Error(diff)
	}
}

func TestAMessageThatIsDoneIsAcknowledgedAndNeverComesAgain(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 4, &script{})
		r.publish(t, queued(1))
		time.Sleep(10 * time.Minute)
		wantTimes(t, w.handler, 0)
		wantVerdicts(t, w, "done")
		r.wantAllAcked(t, queuedConsumer)
		if w.acks() != 1 {
			t.Errorf("%d acknowledgements, want 1", w.acks())
		}
	})
}

func TestAMessageBecomesTheEventOfItsAction(t *testing.T) {
	at := func(minutes int) time.Time { return time.Date(2000, 1, 1, 0, minutes, 0, 0, time.UTC) }
	job := run.Job{
		ID: 1, RunID: 20, RunAttempt: 3, Owner: "octo", Repo: "repo", RepoID: 5, Installation: 4, OrgOwned: true, Private: true, Fork: true,
		Labels: []string{"self-hosted", "Modal"}, Pool: "default", WorkflowName: "CI", Name: "build", HeadBranch: "main", HeadSHA: "3484a3fb", CreatedAt: at(1),
	}
	runner := run.Name{Job: 8, Attempt: 2}
	tests := []struct {
		name     string
		action   jobsv1.Action
		change   func(*jobsv1.JobEvent)
		consumer string
		want     run.Event
	}{
		{"queued", jobsv1.Action_ACTION_QUEUED, nil, queuedConsumer, run.Queued{Job: job, At: at(4), Event: delivery}},
		{"waiting", jobsv1.Action_ACTION_WAITING, nil, wire.ConsumerOutcomes, run.Held{Job: job, At: at(4), Event: delivery}},
		{"in progress", jobsv1.Action_ACTION_IN_PROGRESS, nil, wire.ConsumerOutcomes, run.Started{Job: job, Runner: runner, GitHubID: 6, At: at(4), Event: delivery}},
		{"completed", jobsv1.Action_ACTION_COMPLETED, nil, wire.ConsumerOutcomes, run.Finished{Job: job, Runner: runner, GitHubID: 6, Conclusion: "success", Event: delivery}},
		{
			"a runner of somebody else's is none of ours", jobsv1.Action_ACTION_COMPLETED,
			func(ev *jobsv1.JobEvent) { ev.RunnerName = "GitHub Actions 5" },
			wire.ConsumerOutcomes,
			run.Finished{Job: job, Conclusion: "success", Event: delivery},
		},
		{
			"a field that GitHub left out is zero", jobsv1.Action_ACTION_WAITING,
			func(ev *jobsv1.JobEvent) {
				ev.Repository, ev.CreatedAt, ev.ReceivedAt, ev.Labels, ev.RunId, ev.RunAttempt, ev.DeliveryId = nil, nil, nil, nil, 0, 0, ""
			},
			wire.ConsumerOutcomes,
			run.Held{Job: run.Job{
				ID: 1, Installation: 4, Pool: "default", WorkflowName: "CI", Name: "build", HeadBranch: "main", HeadSHA: "3484a3fb",
			}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			withQueue(t, func(t *testing.T, r *rig) {
				w := r.start(t, tt.consumer, 1, &script{})
				ev := event(tt.action, 1)
				if tt.change != nil {
					tt.change(ev)
				}
				r.publish(t, ev)
				time.Sleep(time.Second)
				wantTimes(t, w.handler, 0)
				if got := w.handler.seen()[0]; got.job != 1 || !cmp.Equal(tt.want, got.event) {
					t.Errorf("job %d: %s", got.job, cmp.Diff(tt.want, got.event))
				}
			})
		})
	}
}

// As many messages fail as the consumer may have out at once, for hours. One that comes then is handled all the same.
func TestMessagesThatGoOnFailingDoNotHoldUpOthers(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		const healthy = 9999
		w := r.start(t, queuedConsumer, 32, &script{do: func(_ context.Context, _ int, c call) (time.Time, error) {
			if c.job != healthy {
				return time.Time{}, errBoom
			}
			return time.Time{}, nil
		}})
		for job := range int64(256) { // The limit of the topology.
			r.publish(t, queued(job+1))
		}
		time.Sleep(10 * time.Minute)
		at := time.Now()
		r.publish(t, queued(healthy))
		time.Sleep(time.Minute)
		for _, c := range w.handler.seen() {
			if c.job == healthy {
				if waited := c.at.Sub(at); waited > 5*time.Second {
					t.Errorf("it waited for %v", waited)
				}
				return
			}
		}
		t.Error("it was never handled")
	})
}

func TestAMessageThatMetAnErrorComesAgainWithGrowingPauses(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 4, &script{do: func(_ context.Context, n int, _ call) (time.Time, error) {
			if n < 9 {
				return time.Now().Add(time.Minute), errBoom // An error goes before a wish for later.
			}
			return time.Time{}, nil
		}})
		r.publish(t, queued(1))
		time.Sleep(10 * time.Minute)
		s := time.Second
		wantTimes(t, w.handler, 0, s, 3*s, 7*s, 15*s, 31*s, 61*s, 91*s, 121*s)
		wantVerdicts(t, w, "retry", "retry", "retry", "retry", "retry", "scheduled", "scheduled", "scheduled", "done")
		r.wantAllAcked(t, queuedConsumer)
		for _, want := range []string{"message will be handled again", "job_id=1", "pause=16s", "err=boom"} {
			if !strings.Contains(w.log.String(), want) {
				t.Errorf("%q was not logged: %s", want, w.log.String())
			}
		}
	})
}

func TestAMessageOfANewerVersionIsHeldForAWorkerThatUnderstandsIt(t *testing.T) {
	faultstest.Cover(t, "F39", "F58")
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{})
		r.publishRaw(t, wire.QueuedSubject(wire.DefaultPool), []byte("whatever the future brings"), nats.Header{wire.HeaderSchema: {"2"}})
		time.Sleep(2*time.Minute + slack)
		wantTimes(t, w.handler)
		wantVerdicts(t, w, "held", "held", "held")
		if s := r.state(t, queuedConsumer); s.NumAckPending != 1 {
			t.Errorf("%d unacknowledged, want 1", s.NumAckPending)
		}
		if _, letters := r.deadLetters(t); len(letters) != 0 {
			t.Errorf("dead letters: %v", letters)
		}
	})
}

func TestAMessageThatNobodyCanReadIsGivenUpWithoutItsContents(t *testing.T) {
	faultstest.Cover(t, "F40")
	encoded, err := wire.Encode(queued(1))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		data   string
		header nats.Header
		reason string
	}{
		{"bytes that are no message", "canary \xff\xff", nats.Header{wire.HeaderSchema: {"1"}}, "job event: malformed"},
		{"a message without the version of its schema", string(encoded), nats.Header{}, `Job-Schema: must be a positive number (got "")`},
		{"a version that is no number", string(encoded), nats.Header{wire.HeaderSchema: {"one"}}, `Job-Schema: must be a positive number (got "one")`},
		{"a message of no bytes", "", nats.Header{wire.HeaderSchema: {"1"}}, "job_id: must be positive (got 0)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			withQueue(t, func(t *testing.T, r *rig) {
				w := r.start(t, queuedConsumer, 1, &script{})
				r.publish(t, queued(7))
				r.publishRaw(t, wire.QueuedSubject(wire.DefaultPool), []byte(tt.data), tt.header)
				time.Sleep(10 * time.Minute)
				wantTimes(t, w.handler, 0)
				wantVerdicts(t, w, "done", "dead")
				r.wantAllAcked(t, queuedConsumer)
				subjects, letters := r.deadLetters(t)
				if diff := cmp.Diff([]string{"dead.messages.2"}, subjects); diff != "" {
					t.Fatal(diff)
				}
				got, sum := letters[0], sha256.Sum256([]byte(tt.data))
				if !strings.HasPrefix(got.GetReason(), tt.reason) || got.GetSubject() != "jobs.queued.default" || got.GetStreamSequence() != 2 ||
					got.GetSizeBytes() != int64(len(tt.data)) || string(got.GetSha256()) != string(sum[:]) || got.GetEvent() != nil {
					t.Errorf("got %v", got)
				}
				kept, err := proto.Marshal(got)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(kept), "canary") || strings.Contains(w.log.String(), "canary") {
					t.Error("the contents were kept or logged")
				}
			})
		})
	}
}

func TestAMessageThatCannotBeBuriedComesAgain(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		if err := r.js.DeleteStream(t.Context(), wire.StreamDead); err != nil {
			t.Fatal(err)
		}
		w := r.start(t, queuedConsumer, 1, &script{})
		r.publishRaw(t, wire.QueuedSubject(wire.DefaultPool), []byte("\xff"), nats.Header{wire.HeaderSchema: {"1"}})
		time.Sleep(time.Minute)
		r.ensure(t)
		time.Sleep(time.Minute)
		if said := w.said(); len(said) < 2 || said[0] != "retry" || said[len(said)-1] != "dead" {
			t.Errorf("verdicts %v, want retry, and dead in the end", said)
		}
		if _, letters := r.deadLetters(t); len(letters) != 1 {
			t.Errorf("%d dead letters, want 1", len(letters))
		}
		r.wantAllAcked(t, queuedConsumer)
	})
}
