package natsx

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
)

// ErrDrift says that something on the server is not as the topology wants it. The error around it names every
// difference. An operator decides: nothing is changed here, since a wrong stream may hold jobs.
var ErrDrift = errors.New("topology on the server differs")

// unlimitedDeliveries: a message that was delivered too often would become invisible, to consumers and to metrics.
const unlimitedDeliveries = -1

// Ensure creates what the server lacks of the topology and compares the rest. It returns the names of what it created. It
// returns ErrDrift, wrapped, if something is different; whatever the server adds (placement, metadata) does not count, nor do
// replicas, which are no reason not to work: see [Guard]. Two processes may call it at once. It is bounded by ctx and by the
// client's timeout per request.
func Ensure(ctx context.Context, js jetstream.JetStream, t wire.Topology) ([]string, error) {
	var created []string
	var drift []error
	step := func(name string, made bool, differences []error, err error) error {
		if err != nil {
			if errors.Is(err, nats.ErrNoResponders) {
				err = fmt.Errorf("JetStream must be enabled at the server and in the user's account: %w", err)
			}
			return fmt.Errorf("ensure %s: %w", name, err)
		}
		if made {
			created = append(created, name)
		}
		for _, d := range differences {
			drift = append(drift, fmt.Errorf("%s: %w", name, d))
		}
		return nil
	}
	for _, want := range t.Streams {
		made, differences, err := ensureStream(ctx, js, want, t.Replicas)
		if err := step("stream "+want.Name, made, differences, err); err != nil {
			return created, err
		}
	}
	for _, want := range t.Consumers {
		made, differences, err := ensureConsumer(ctx, js, want)
		if err := step("consumer "+want.Name, made, differences, err); err != nil {
			return created, err
		}
	}
	for _, want := range t.Buckets {
		made, differences, err := ensureBucket(ctx, js, want, t.Replicas)
		if err := step("bucket "+want.Name, made, differences, err); err != nil {
			return created, err
		}
	}
	if len(drift) > 0 {
		return created, fmt.Errorf("%w: %w", ErrDrift, errors.Join(drift...))
	}
	return created, nil
}

// noLimit stands for limits that are not set.
const noLimit = -1

// streamConfig is w in the terms of JetStream. wire.Stream says why one with schedules can't refuse.
func streamConfig(w wire.Stream) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:              w.Name,
		Subjects:          w.Subjects,
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxAge:            w.MaxAge,
		MaxBytes:          w.MaxBytes,
		MaxMsgsPerSubject: noLimit,
		Duplicates:        w.Duplicates,
		AllowMsgSchedules: w.Schedules,
	}
	if w.LastOnly {
		c.MaxMsgsPerSubject = 1
	}
	if w.Schedules {
		c.Discard, c.MaxBytes = jetstream.DiscardOld, noLimit // The two without a limit: nothing is dropped before its age.
	}
	return c
}

func ensureStream(ctx context.Context, js jetstream.JetStream, w wire.Stream, replicas int) (bool, []error, error) {
	want := streamConfig(w)
	want.Replicas = replicas
	if w.LastOnly {
		want.MaxMsgsPerSubject = 1
	}
	stream, err := js.Stream(ctx, w.Name)
	made := errors.Is(err, jetstream.ErrStreamNotFound)
	if made {
		stream, err = js.CreateStream(ctx, want)
	}
	if err != nil {
		return false, nil, err
	}
	have := stream.CachedInfo().Config
	return made, compare(
		field("subjects", have.Subjects, want.Subjects, slices.Equal),
		scalar("retention", have.Retention, want.Retention),
		scalar("storage", have.Storage, want.Storage),
		scalar("discard", have.Discard, want.Discard),
		scalar("max_age", have.MaxAge, want.MaxAge),
		scalar("max_bytes", have.MaxBytes, want.MaxBytes),
		scalar("last_only", have.MaxMsgsPerSubject == 1, w.LastOnly),
		scalar("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject),
		scalar("duplicate_window", have.Duplicates, want.Duplicates),
		scalar("allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules),
	), nil
}

func ensureConsumer(ctx context.Context, js jetstream.JetStream, w wire.Consumer) (bool, []error, error) {
	want := jetstream.ConsumerConfig{
		Durable:        w.Name,
		FilterSubjects: w.Subjects,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        w.AckWait,
		MaxDeliver:     unlimitedDeliveries,
		MaxAckPending:  w.MaxAckPending,
	}
	consumer, err := js.Consumer(ctx, w.Stream, w.Name)
	made := errors.Is(err, jetstream.ErrConsumerNotFound)
	if made {
		consumer, err = js.CreateConsumer(ctx, w.Stream, want)
	}
	if err != nil {
		return false, nil, err
	}
	have := consumer.CachedInfo().Config
	return made, compare(
		field("filter_subjects", filters(have), want.FilterSubjects, slices.Equal),
		scalar("deliver_policy", have.DeliverPolicy, want.DeliverPolicy),
		scalar("ack_policy", have.AckPolicy, want.AckPolicy),
		scalar("ack_wait", have.AckWait, want.AckWait),
		scalar("max_deliver", have.MaxDeliver, want.MaxDeliver),
		scalar("max_ack_pending", have.MaxAckPending, want.MaxAckPending),
	), nil
}

// filters unites the two ways in which a consumer names a single subject.
func filters(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

func ensureBucket(ctx context.Context, js jetstream.JetStream, w wire.Bucket, replicas int) (bool, []error, error) {
	bucket, err := js.KeyValue(ctx, w.Name)
	made := errors.Is(err, jetstream.ErrBucketNotFound)
	if made {
		bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: w.Name, History: w.History, TTL: w.TTL, Storage: jetstream.FileStorage, Replicas: replicas,
		})
	}
	if err != nil {
		return false, nil, err
	}
	have, err := bucket.Status(ctx)
	if err != nil {
		return false, nil, err
	}
	return made, compare(
		scalar("history", have.History(), int64(w.History)),
		scalar("ttl", have.TTL(), w.TTL),
		scalar("config.storage", have.Config().Storage, jetstream.FileStorage),
	), nil
}

// compare keeps the differences.
func compare(differences ...error) []error {
	return slices.DeleteFunc(differences, func(err error) bool { return err == nil })
}

func scalar[T comparable](name string, have, want T) error {
	return field(name, have, want, func(a, b T) bool { return a == b })
}

func field[T any](name string, have, want T, equal func(T, T) bool) error {
	if equal(have, want) {
		return nil
	}
	return fmt.Errorf("%s must be %v (got %v)", name, want, have)
}
