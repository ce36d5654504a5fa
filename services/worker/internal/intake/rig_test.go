package intake_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/run"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// rig is a real nats-server, inside a bubble: hours pass in no time.
type rig struct {
	*natstest.Server

	js        jetstream.JetStream
	publisher *intake.Publisher
	topology  wire.Topology
}

// inBubble runs test with a rig whose topology does not exist yet; see rig.ensure.
func inBubble(t *testing.T, test func(*testing.T, *rig)) {
	t.Helper()
	natstest.DropTimers()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{Server: natstest.Start(t, natstest.InProcess), topology: wire.JobsTopology([]string{wire.DefaultPool})}
		conn, err := natsx.Connect(natsx.Config{}, natsx.Options{
			Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Extra: []nats.Option{nats.InProcessServer(r)},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		if r.js, err = jetstream.New(conn); err != nil {
			t.Fatal(err)
		}
		r.publisher = intake.NewPublisher(r.js)
		test(t, r)
	})
}

// withQueue is inBubble with the topology in place.
func withQueue(t *testing.T, test func(*testing.T, *rig)) {
	t.Helper()
	inBubble(t, func(t *testing.T, r *rig) { r.ensure(t); test(t, r) })
}

func (r *rig) ensure(t *testing.T) {
	t.Helper()
	if _, err := natsx.Ensure(t.Context(), r.js, r.topology); err != nil {
		t.Fatal(err)
	}
}

var queuedConsumer = wire.QueuedConsumer(wire.DefaultPool)

// delivery is GitHub's id of the delivery that told of an event.
const delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958"

// event is a job's event in which each field that a worker reads has a value of its own.
func event(action jobsv1.Action, job int64) *jobsv1.JobEvent {
	at := func(minutes int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2000, 1, 1, 0, minutes, 0, 0, time.UTC))
	}
	return &jobsv1.JobEvent{
		Action: action, JobId: job, RunId: 20, RunAttempt: 3, Labels: []string{"self-hosted", "Modal"}, Pool: wire.DefaultPool, InstallationId: 4,
		Repository: &jobsv1.Repository{Id: 5, Owner: "octo", Name: "repo", Private: true, Fork: true, OwnedByOrganization: true},
		RunnerId:   6, RunnerName: wire.RunnerName(8, 2), Conclusion: "success",
		CreatedAt: at(1), StartedAt: at(2), CompletedAt: at(3), ReceivedAt: at(4),
		DeliveryId: delivery, WorkflowName: "CI", JobName: "build", HeadBranch: "main", HeadSha: "3484a3fb",
	}
}

func queued(job int64) *jobsv1.JobEvent { return event(jobsv1.Action_ACTION_QUEUED, job) }

// publish puts ev on the queue as ingress does.
func (r *rig) publish(t *testing.T, ev *jobsv1.JobEvent) {
	t.Helper()
	subject, err := wire.Subject(ev)
	if err != nil {
		t.Fatal(err)
	}
	data, err := wire.Encode(ev)
	if err != nil {
		t.Fatal(err)
	}
	r.publishRaw(t, subject, data, nats.Header{wire.HeaderSchema: {"1"}})
}

func (r *rig) publishRaw(t *testing.T, subject string, data []byte, header nats.Header) {
	t.Helper()
	if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: data, Header: header}, jetstream.WithMsgID(rand.Text())); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) startTraced(t *testing.T, consumer string, slots int, handler *script, tracer trace.Tracer) *worker {
	t.Helper()
	w := &worker{observer: &observer{}, ended: make(chan struct{}), handler: handler}
	i := intake.New(intake.Options{
		JS: r.js, Handler: handler, Publisher: r.publisher, Observer: w.observer, Tracer: tracer,
		PoolOf: func(j run.Job) string { return j.Pool }, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}, consumer, slots)
	var pulling, working context.Context
	pulling, w.soften = context.WithCancel(context.Background())
	working, w.kill = context.WithCancel(context.Background())
	go func() { defer close(w.ended); i.Run(pulling, working) }()
	t.Cleanup(func() { w.soften(); w.kill(); <-w.ended })
	return w
}

// state is what the server knows of a consumer.
func (r *rig) state(t *testing.T, consumer string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := r.js.Consumer(t.Context(), wire.StreamJobs, consumer)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// wantAllAcked checks that the consumer has nothing left to deliver or to be acknowledged.
func (r *rig) wantAllAcked(t *testing.T, consumer string) {
	t.Helper()
	if s := r.state(t, consumer); s.NumAckPending != 0 || s.NumPending != 0 {
		t.Errorf("consumer %s: %d unacknowledged, %d to come, want none", consumer, s.NumAckPending, s.NumPending)
	}
}

// deadLetters reads the stream DEAD.
func (r *rig) deadLetters(t *testing.T) (subjects []string, letters []*jobsv1.DeadLetter) {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), wire.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			continue // Replaced by a later letter of its subject.
		}
		letter := &jobsv1.DeadLetter{}
		if err := proto.Unmarshal(msg.Data, letter); err != nil {
			t.Fatal(err)
		}
		subjects, letters = append(subjects, msg.Subject), append(letters, letter)
	}
	return subjects, letters
}

// stored counts the messages of a subject in the stream JOBS.
func (r *rig) stored(t *testing.T, subject string) uint64 {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), wire.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects[subject]
}
