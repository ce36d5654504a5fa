package intake

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// readBatch is how many dead letters are asked for at once.
	readBatch = 500
	// readTimeout bounds reading all dead letters, a quarter of a million at most (wire.JobsTopology).
	readTimeout = time.Minute
	// idleReader is when the server forgets a reader that has died.
	idleReader = 2 * readTimeout
	// messagePrefix tells the id of an unreadable message's letter from that of a job's.
	messagePrefix = "message-"
	// scheduleHeader says when a copy comes: "@at" and a time as in RFC 3339 (NATS ADR-51).
	scheduleHeader, scheduleAt = "Nats-Schedule", "@at "
)

var (
	// ErrNoLetter says that there is no dead letter of that id.
	ErrNoLetter = errors.New("no such dead letter")
	errCutShort = errors.New("the server went away before all dead letters were read")
)

// Letter is what was given up, and why.
type Letter struct {
	// ID is the job's, in digits, or that of a message that could not be read.
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	// Job is what was given up. Zero for a message that could not be read.
	Job run.Job `json:"job,omitzero"`
	// Where such a message stood in the stream JOBS, how large it was, and its SHA-256 in hexadecimal.
	Subject   string `json:"subject,omitempty"`
	Sequence  uint64 `json:"sequence,omitempty"`
	SizeBytes int64  `json:"size_bytes,omitempty"`
	SHA256    string `json:"sha256,omitempty"`

	stored uint64 // the letter's sequence in the stream DEAD
}

// Reader reads what the queue keeps for later, and for people.
type Reader struct{ js jetstream.JetStream }

// NewReader makes a Reader.
func NewReader(js jetstream.JetStream) *Reader { return &Reader{js: js} }

// Letters lists the newest dead letters, at most limit, newest first, and says how many older ones there are.
func (r *Reader) Letters(ctx context.Context, limit int) (newest []Letter, older int, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	consumer, err := r.js.CreateConsumer(ctx, wire.StreamDead, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: idleReader,
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read dead letters: %w", err)
	}
	defer func() {
		if forget := r.js.DeleteConsumer(ctx, wire.StreamDead, consumer.CachedInfo().Name); forget != nil && err == nil {
			err = fmt.Errorf("read dead letters: %w", forget)
		}
	}()
	for read := 0; ; {
		info, err := consumer.Info(ctx)
		switch {
		case err != nil:
			return nil, 0, fmt.Errorf("read dead letters: %w", err)
		case info.Delivered.Consumer != uint64(read):
			return nil, 0, fmt.Errorf("read dead letters: %w", errCutShort)
		case info.NumPending == 0:
			slices.Reverse(newest)
			return newest, read - len(newest), nil
		}
		batch, err := readLetters(consumer)
		if err != nil {
			return nil, 0, fmt.Errorf("read dead letters: %w", err)
		}
		read += len(batch)
		newest = append(newest, batch...)
		newest = slices.Clone(newest[max(0, len(newest)-limit):])
	}
}

// readLetters reads the next of the dead letters that there are.
func readLetters(consumer jetstream.Consumer) ([]Letter, error) {
	batch, err := consumer.FetchNoWait(readBatch)
	if err != nil {
		return nil, err
	}
	var letters []Letter
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		letter, err := letterOf(msg.Data(), meta.Sequence.Stream)
		if err != nil {
			return nil, err
		}
		letters = append(letters, letter)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
		return nil, err
	}
	return letters, nil
}

// Letter returns one dead letter, or ErrNoLetter.
func (r *Reader) Letter(ctx context.Context, id string) (Letter, error) {
	subject, ok := letterSubject(id)
	if !ok {
		return Letter{}, fmt.Errorf("%w as %q", ErrNoLetter, id)
	}
	msg, err := r.last(ctx, wire.StreamDead, subject)
	switch {
	case err != nil:
		return Letter{}, fmt.Errorf("read dead letter %s: %w", id, err)
	case msg == nil:
		return Letter{}, fmt.Errorf("%w as %q", ErrNoLetter, id)
	}
	return letterOf(msg.Data, msg.Sequence)
}

// Remove takes a dead letter off the stream. A newer one of the same id stays.
func (r *Reader) Remove(ctx context.Context, letter Letter) error {
	subject, _ := letterSubject(letter.ID)
	stream, err := r.js.Stream(ctx, wire.StreamDead)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(letter.stored+1))
	}
	if err != nil {
		return fmt.Errorf("remove dead letter %s: %w", letter.ID, err)
	}
	return nil
}

// NextLook is when a job that waits is looked at again, or zero if nothing is set for it.
func (r *Reader) NextLook(ctx context.Context, job int64) (time.Time, error) {
	msg, err := r.last(ctx, wire.StreamJobs, wire.LaterSubject(jobsv1.Action_ACTION_QUEUED, job))
	if err != nil || msg == nil {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339, strings.TrimPrefix(msg.Header.Get(scheduleHeader), scheduleAt))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s of %s: %w", scheduleHeader, msg.Subject, err)
	}
	return at, nil
}

// last returns the last message of a subject, or nil if there is none.
func (r *Reader) last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	handle, err := r.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream, err)
	}
	msg, err := handle.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // the two outcomes that are no error
	}
	return msg, err
}

// letterSubject is where the letter of that id is.
func letterSubject(id string) (subject string, ok bool) {
	if sequence, isMessage := strings.CutPrefix(id, messagePrefix); isMessage {
		n, err := strconv.ParseUint(sequence, 10, 64)
		return wire.DeadMessageSubject(n), err == nil
	}
	n, err := strconv.ParseInt(id, 10, 64)
	return wire.DeadJobSubject(n), err == nil
}

func letterOf(data []byte, stored uint64) (Letter, error) {
	letter := &jobsv1.DeadLetter{}
	if err := proto.Unmarshal(data, letter); err != nil {
		return Letter{}, fmt.Errorf("decode dead letter at sequence %d: %w", stored, err)
	}
	l := Letter{
		At: timeOf(letter.GetAt()), Reason: letter.GetReason(), Subject: letter.GetSubject(), Sequence: letter.GetStreamSequence(),
		SizeBytes: letter.GetSizeBytes(), SHA256: hex.EncodeToString(letter.GetSha256()), stored: stored,
	}
	if letter.GetEvent() == nil {
		l.ID = messagePrefix + strconv.FormatUint(l.Sequence, 10)
		return l, nil
	}
	l.Job = jobOf(letter.GetEvent())
	l.ID = strconv.FormatInt(l.Job.ID, 10)
	return l, nil
}
