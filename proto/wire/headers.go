package wire

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	jobsv1 "modal-github-runner/proto/jobs/v1"
)

const (
	// HeaderSchema carries the version of the message's schema.
	HeaderSchema = "Job-Schema"
	// HeaderFailures carries how often in a row the handling of the messages has failed of which this one is a later copy.
	// A message without it has not failed.
	HeaderFailures = "Job-Failures"
	// SchemaVersion is the version that this code writes, and the newest that it understands. It changes only when a
	// reader of the version before would do the wrong thing; an added field is not such a change.
	SchemaVersion = 1
)

var (
	// ErrFutureSchema says that a message was written by a newer version. It is to be held, not given up: a worker that
	// understands it may be on its way.
	ErrFutureSchema = errors.New("written by a newer version")
	// ErrMalformed says that a message can't be decoded, now or later.
	ErrMalformed = errors.New("malformed")
)

// Encode writes ev. The bytes of equal events are equal.
func Encode(ev *jobsv1.JobEvent) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(ev)
	if err != nil {
		return nil, fmt.Errorf("encode job event: %w", err)
	}
	return b, nil
}

// Decode reads what Encode wrote, given the message's HeaderSchema. It returns ErrFutureSchema or ErrMalformed, wrapped.
// Fields that it does not know are kept.
func Decode(schema string, data []byte) (*jobsv1.JobEvent, error) {
	v, err := strconv.Atoi(schema)
	if err != nil || v < 1 {
		return nil, fmt.Errorf("%s: must be a positive number (got %q): %w", HeaderSchema, schema, ErrMalformed)
	}
	if v > SchemaVersion {
		return nil, fmt.Errorf("%s: must be at most %d (got %d): %w", HeaderSchema, SchemaVersion, v, ErrFutureSchema)
	}
	ev := &jobsv1.JobEvent{}
	if err := proto.Unmarshal(data, ev); err != nil {
		return nil, fmt.Errorf("job event: %w: %w", ErrMalformed, err)
	}
	if ev.GetJobId() < 1 {
		return nil, fmt.Errorf("job_id: must be positive (got %d): %w", ev.GetJobId(), ErrMalformed)
	}
	if _, err := Subject(ev); err != nil {
		return nil, fmt.Errorf("job event: %w: %w", ErrMalformed, err)
	}
	return ev, nil
}
