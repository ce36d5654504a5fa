package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
)

// The states of the ledger's records that the invariants speak of.
const (
	done   = "done"
	dead   = "dead"
	onHold = "held"
	ended  = "ended"
)

// Record is what the invariants need of a job's record.
type Record struct {
	State   string `json:"state"`
	Reason  string `json:"reason"`
	History []struct {
		Text string `json:"text"`
	} `json:"history"`
}

// Stored is what the broker has.
type Stored struct {
	// At is before the first of it was read.
	At time.Time
	// Runs are the records of jobs, Runners the states of those of runners, by the runner's name.
	Runs    map[int64]Record
	Runners map[string]string
	// Queued are the jobs with an event in the stream JOBS, handled or not.
	Queued map[int64]bool
	// Dead are the jobs that were given up, with the reason.
	Dead map[int64]string
	// Pending is how many messages each consumer has not handled.
	Pending map[string]int
}

// Read reads everything that the broker has. The events of jobs are only read as far as jobs are not on record.
func Read(ctx context.Context, js jetstream.JetStream, accepted []int64) (*Stored, error) {
	s := &Stored{
		At: time.Now(), Runs: map[int64]Record{}, Runners: map[string]string{}, Queued: map[int64]bool{}, Dead: map[int64]string{},
		Pending: map[string]int{},
	}
	const records = "$KV." + wire.BucketRuns + "." // A bucket is the stream KV_<bucket> (NATS ADR-8).
	err := each(ctx, js, "KV_"+wire.BucketRuns, jetstream.DeliverLastPerSubjectPolicy, func(subject string, data []byte) error {
		return s.record(strings.TrimPrefix(subject, records), data)
	})
	if err != nil {
		return nil, err
	}
	missing := false
	for _, job := range accepted {
		_, ok := s.Runs[job]
		missing = missing || !ok
	}
	if missing {
		if err := each(ctx, js, wire.StreamJobs, jetstream.DeliverAllPolicy, s.event); err != nil {
			return nil, err
		}
	}
	if err := each(ctx, js, wire.StreamDead, jetstream.DeliverAllPolicy, s.letter); err != nil {
		return nil, err
	}
	return s, s.pending(ctx, js)
}

// record reads a value of the ledger; a marker of a deletion has none.
func (s *Stored) record(key string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("decode %s: %w", key, err)
	}
	kind, id, _ := strings.Cut(key, ".")
	switch kind {
	case "job":
		job, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		s.Runs[job] = r
	case "runner":
		var job int64
		var attempt int
		if _, err := fmt.Sscanf(id, "%d.%d", &job, &attempt); err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		s.Runners[wire.RunnerName(job, attempt)] = r.State
	}
	return nil
}

func (s *Stored) event(_ string, data []byte) error {
	var ev jobsv1.JobEvent
	if proto.Unmarshal(data, &ev) == nil { // What can't be read is no job's.
		s.Queued[ev.GetJobId()] = true
	}
	return nil
}

func (s *Stored) letter(subject string, data []byte) error {
	var l jobsv1.DeadLetter
	if err := proto.Unmarshal(data, &l); err != nil {
		return fmt.Errorf("decode %s: %w", subject, err)
	}
	if job := l.GetEvent().GetJobId(); job != 0 { // Of what could not be read, nobody knows whose it was.
		s.Dead[job] = l.GetReason()
	}
	return nil
}

func (s *Stored) pending(ctx context.Context, js jetstream.JetStream) error {
	stream, err := js.Stream(ctx, wire.StreamJobs)
	if err != nil {
		return fmt.Errorf("stream %s: %w", wire.StreamJobs, err)
	}
	listed := stream.ListConsumers(ctx)
	for info := range listed.Info() {
		if info.Config.Durable != "" {
			s.Pending[info.Name] = int(info.NumPending) + info.NumAckPending //nolint:gosec // no stream here is that long
		}
	}
	return listed.Err()
}

// each calls f with the messages of the stream, until there is no later one.
func each(
	ctx context.Context, js jetstream.JetStream, stream string, policy jetstream.DeliverPolicy, f func(subject string, data []byte) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: policy})
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	left := consumer.CachedInfo().NumPending
	for left > 0 {
		batch, err := consumer.Fetch(int(min(left, batchSize)), jetstream.FetchMaxWait(fetchWait))
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		n := 0
		for msg := range batch.Messages() {
			n++
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read %s: %w", stream, err)
			}
			// Not one less than before: who is written over while this is read comes at the end.
			left = meta.NumPending
			if err := f(msg.Subject(), msg.Data()); err != nil {
				return err
			}
		}
		if n == 0 {
			return fmt.Errorf("read %s: %d messages did not come: %w", stream, left, errors.Join(batch.Error()))
		}
	}
	return nil
}

const (
	batchSize = 500
	fetchWait = 5 * time.Second
)
