package intake_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/testing/protocmp"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/obs"
	"modal-github-runner/services/worker/internal/run"
)

// jobOfOurs has a value in each field.
func jobOfOurs() run.Job {
	return run.Job{
		ID: 1, RunID: 2, RunAttempt: 3, Owner: "octo", Repo: "repo", RepoID: 4, Installation: 5, OrgOwned: true, Private: true, Fork: true,
		Labels: []string{"self-hosted", "Modal"}, Pool: wire.DefaultPool, WorkflowName: "CI", Name: "build", HeadBranch: "main", HeadSHA: "3484a3fb",
		CreatedAt: time.Date(2000, 1, 1, 0, 1, 2, 3, time.UTC),
	}
}

func TestAJobThatIsAskedForAgainIsQueuedOncePerRevision(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{})
		job, at := jobOfOurs(), time.Date(2000, 1, 1, 0, 2, 0, 0, time.UTC)
		for _, revision := range []uint64{7, 7, 8, 7} {
			if err := r.publisher.Requeue(t.Context(), job, at, revision); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		wantTimes(t, w.handler, 0, 0)
		for _, c := range w.handler.seen() {
			if diff := cmp.Diff(run.Event(run.Queued{Job: job, At: at}), c.event); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// The two revisions count different things, and may be the same number at a time.
func TestAJobsTurnIsCalledThoughItIsAskedForAgainAtTheSameNumber(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{})
		job, at := jobOfOurs(), time.Date(2000, 1, 1, 0, 2, 0, 0, time.UTC)
		for _, ask := range []func(context.Context, run.Job, time.Time, uint64) error{
			r.publisher.Requeue, r.publisher.Call, r.publisher.Call,
		} {
			if err := ask(t.Context(), job, at, 7); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		wantTimes(t, w.handler, 0, 0)
	})
}

func TestAJobWithoutATimeOfCreationStaysWithout(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		w := r.start(t, queuedConsumer, 1, &script{})
		at := time.Date(2000, 1, 1, 0, 2, 0, 0, time.UTC)
		bare := run.Job{ID: 1, Pool: wire.DefaultPool}
		if err := r.publisher.Requeue(t.Context(), bare, at, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantTimes(t, w.handler, 0)
		if diff := cmp.Diff(run.Event(run.Queued{Job: bare, At: at}), w.handler.seen()[0].event); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAJobOfNoPoolCannotBeQueuedAgain(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		err := r.publisher.Requeue(t.Context(), run.Job{ID: 12}, time.Now(), 1)
		want := `requeue job 12: pool: must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or a digit (got "")`
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestAJobThatIsBuriedTwiceIsOneDeadLetter(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		job := jobOfOurs()
		other := job
		other.ID = 9
		for _, j := range []run.Job{job, other, job} {
			if err := r.publisher.Bury(t.Context(), j, "no room"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		subjects, letters := r.deadLetters(t)
		if diff := cmp.Diff([]string{"dead.jobs.9", "dead.jobs.1"}, subjects); diff != "" {
			t.Fatal(diff)
		}
		last := letters[1]
		if last.GetReason() != "no room" || !last.GetAt().AsTime().Equal(time.Now().Add(-time.Hour)) {
			t.Errorf("got %v", last)
		}
		want := queued(1)
		want.RunId, want.RunAttempt, want.Repository.Id, want.InstallationId = 2, 3, 4, 5
		want.RunnerId, want.RunnerName, want.Conclusion, want.DeliveryId = 0, "", "", ""
		want.StartedAt, want.CompletedAt, want.CreatedAt, want.ReceivedAt = nil, nil, last.GetEvent().GetCreatedAt(), last.GetAt()
		if diff := cmp.Diff(want, last.GetEvent(), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNothingIsPublishedToAServerThatHasNoStream(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		if err := r.publisher.Requeue(t.Context(), jobOfOurs(), time.Now(), 1); err == nil {
			t.Error("the job was taken for stored")
		}
		if err := r.publisher.Bury(t.Context(), jobOfOurs(), "no room"); err == nil {
			t.Error("the dead letter was taken for stored")
		}
	})
}

// The span of the handler is a child of the publisher's; so is that of a copy for later.
func TestTheTraceGoesThroughTheQueue(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		recorder := tracetest.NewSpanRecorder()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
		ctx, span := tracer.Start(t.Context(), "publish")
		if err := r.publisher.Requeue(ctx, jobOfOurs(), time.Now(), 1); err != nil {
			t.Fatal(err)
		}
		span.End() // Before anybody handles the message: spans are listed in the order in which they end.
		r.startTraced(t, queuedConsumer, 1, &script{do: func(_ context.Context, n int, c call) (time.Time, error) {
			if n == 1 {
				return c.at.Add(time.Minute), nil
			}
			return time.Time{}, nil
		}}, tracer)
		time.Sleep(2 * time.Minute)
		spans := recorder.Ended()
		if len(spans) != 3 {
			t.Fatalf("%d spans, want 3", len(spans))
		}
		for n, child := range spans[1:] {
			if child.Name() != "handle queued-default" || child.Parent().SpanID() != spans[n].SpanContext().SpanID() ||
				child.SpanContext().TraceID() != span.SpanContext().TraceID() {
				t.Errorf("span %d: %s, parent %v", n+1, child.Name(), child.Parent().SpanID())
			}
		}
		header := map[string][]string{}
		obs.Inject(ctx, header)
		if len(header) == 0 {
			t.Error("the publisher's span was not one to be carried")
		}
	})
}

// A sweep has no span of its own, and who asks for one job may be in the trace of another.
func TestAJobThatIsLookedAtAgainStaysInItsTrace(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		job, other := jobOfOurs(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
		const of = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		job.Trace = of
		if err := r.publisher.Requeue(trace.ContextWithSpanContext(t.Context(), other), job, time.Now(), 1); err != nil {
			t.Fatal(err)
		}
		for _, found := range []run.Event{
			run.Queued{Job: job}, run.Held{Job: job}, run.Started{Job: job}, run.Finished{Job: job},
		} {
			if err := r.publisher.Report(t.Context(), found, 2); err != nil {
				t.Fatal(err)
			}
		}
		stream, err := r.js.Stream(t.Context(), wire.StreamJobs)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(5) {
			msg, err := stream.GetMsg(t.Context(), n+1)
			if err != nil {
				t.Fatal(err)
			}
			if got := obs.Traceparent(obs.Extract(t.Context(), msg.Header)); got != of {
				t.Errorf("%s is of the trace %q, want %q", msg.Subject, got, of)
			}
		}
		var handled script
		r.startTraced(t, queuedConsumer, 1, &handled, noop.NewTracerProvider().Tracer(""))
		time.Sleep(time.Minute)
		for _, call := range handled.seen() {
			if queued, ok := call.event.(run.Queued); !ok || queued.Job.Trace != of {
				t.Errorf("%+v is not of the trace %q", call.event, of)
			}
		}
	})
}

func TestWhatASweepReportsIsHandledAsIfGitHubHadToldOfIt(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		job, at := jobOfOurs(), time.Date(2000, 1, 1, 0, 2, 0, 0, time.UTC)
		foreign := job
		foreign.ID, foreign.Pool = 9, "" // A job that is not ours can have a runner of ours.
		runner := run.Name{Job: 8, Attempt: 2}
		reports := []run.Event{
			run.Queued{Job: job, At: at, Event: run.BySweep},
			run.Held{Job: job, At: at, Event: run.AskedGitHub},
			run.Started{Job: job, Runner: runner, GitHubID: 6, At: at, Event: run.AskedGitHub},
			run.Started{Job: foreign, At: at, Event: run.AskedGitHub},
			run.Finished{Job: job, Runner: runner, GitHubID: 6, Conclusion: "failure", Event: run.AskedGitHub},
			run.Finished{Job: foreign, Conclusion: "gone", Event: run.AskedGitHub},
		}
		queues := []*worker{r.start(t, queuedConsumer, 1, &script{}), r.start(t, wire.ConsumerOutcomes, 1, &script{})}
		for _, ev := range reports {
			for _, revision := range []uint64{7, 7} {
				if err := r.publisher.Report(t.Context(), ev, revision); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := r.publisher.Report(t.Context(), reports[0], 8); err != nil { // The record has changed, and the same is found again.
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		var got []run.Event
		for _, w := range queues {
			for _, c := range w.handler.seen() {
				got = append(got, c.event)
			}
		}
		if diff := cmp.Diff(append(reports[:1:1], reports...), got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOnlyWhatGitHubTellsOfCanBeReported(t *testing.T) {
	withQueue(t, func(t *testing.T, r *rig) {
		tests := []struct {
			event run.Event
			want  string
		}{
			{run.Placed{}, "event: must be one that GitHub tells of (got run.Placed)"},
			{run.Queued{Job: run.Job{ID: 12}}, `report job 12: pool: must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or a digit (got "")`},
		}
		for _, tt := range tests {
			if err := r.publisher.Report(t.Context(), tt.event, 1); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		}
	})
}
