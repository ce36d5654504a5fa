package intake_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/run"
)

// Ingress is deployed before the workers, or after them. Fields come and go; a new version of the schema is for what can't be done
// so (TestAMessageOfANewerVersionIsHeldForAWorkerThatUnderstandsIt).
func TestAWorkerUnderstandsAnIngressThatIsNewerOrOlder(t *testing.T) {
	faultstest.Cover(t, "F58")
	encode := func(ev *jobsv1.JobEvent) []byte {
		data, err := wire.Encode(ev)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	const unknown = 1000
	later := protowire.AppendString(protowire.AppendTag(nil, unknown, protowire.BytesType), "of the future")
	of := func(job run.Job, event string, at time.Time) run.Queued {
		return run.Queued{Job: job, At: at, Event: event}
	}
	tests := []struct {
		name string
		data []byte
		want run.Queued
	}{
		{
			"a newer one says what the worker has never heard of", append(encode(queued(1)), later...),
			of(run.Job{
				ID: 1, RunID: 20, RunAttempt: 3, Owner: "octo", Repo: "repo", RepoID: 5, Installation: 4, OrgOwned: true, Private: true, Fork: true,
				Labels: []string{"self-hosted", "Modal"}, Pool: "default", WorkflowName: "CI", Name: "build", HeadBranch: "main", HeadSHA: "3484a3fb",
				CreatedAt: time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC),
			}, delivery, time.Date(2000, 1, 1, 0, 4, 0, 0, time.UTC)),
		},
		{
			"an older one says no more than whose job it is and what it asks for", encode(&jobsv1.JobEvent{
				Action: jobsv1.Action_ACTION_QUEUED, JobId: 1, Labels: []string{"modal"}, Pool: wire.DefaultPool,
				Repository: &jobsv1.Repository{Owner: "octo", Name: "repo"},
			}),
			of(run.Job{ID: 1, Owner: "octo", Repo: "repo", Labels: []string{"modal"}, Pool: "default"}, "", time.Time{}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			withQueue(t, func(t *testing.T, r *rig) {
				w := r.start(t, queuedConsumer, 1, &script{do: func(_ context.Context, n int, c call) (time.Time, error) {
					if n == 1 {
						return c.at.Add(time.Minute), nil
					}
					return time.Time{}, nil
				}})
				subject := wire.QueuedSubject(wire.DefaultPool)
				r.publishRaw(t, subject, tt.data, nats.Header{wire.HeaderSchema: {"1"}})
				time.Sleep(2 * time.Minute)
				wantVerdicts(t, w, "scheduled", "done")
				for _, got := range w.handler.seen() {
					if diff := cmp.Diff(run.Event(tt.want), got.event); diff != "" {
						t.Error(diff)
					}
				}
				// What a worker puts off may be another's that understands more of it.
				stream, err := r.js.Stream(t.Context(), wire.StreamJobs)
				if err != nil {
					t.Fatal(err)
				}
				if last, err := stream.GetLastMsgForSubject(t.Context(), subject); err != nil || !bytes.Equal(last.Data, tt.data) {
					t.Errorf("the copy for later is another message: %+v, %v", last, err)
				}
			})
		})
	}
}
