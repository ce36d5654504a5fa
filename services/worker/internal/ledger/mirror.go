package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/worker/internal/records"
	"modal-github-runner/services/worker/internal/run"
)

const (
	// batchSize is how many records are asked for at once: some 2 MB, a fraction of what the server buffers for a client.
	batchSize = 1000
	// feedIdle is after how long without a list the server forgets where the mirror stands, so that the next one begins anew.
	// The sweeps list every 15 s.
	feedIdle = 2 * time.Minute
	// maxRounds and firstPause, which doubles, bound to a third of a second how long a list waits for the ledger to be seen in
	// one piece. One round does unless somebody writes meanwhile.
	maxRounds  = 6
	firstPause = 10 * time.Millisecond
)

var (
	errGap       = errors.New("a message is missing")
	errUnsettled = errors.New("the ledger was not seen in one piece")
)

// Mirror is a copy of the ledger in memory, for whoever lists it again and again: a list reads only what has changed since
// the last one. It is safe for concurrent use, and no goroutine of it is left between lists. It takes some 900 bytes
// a record (BenchmarkAListOf10000Records).
//
// What has changed comes from a consumer of the bucket's stream that counts what it delivers and lives no longer than the
// stream: as long as it is there and nothing is missing in the count, all that it has passed is in the mirror. Else the
// stream was made anew or restored, the server was restarted, or an answer was lost, and so the mirror begins anew.
type Mirror struct {
	ledger *Ledger
	turn   chan struct{} // Has a token unless a list is being made, which owns what follows.

	feed      jetstream.Consumer // Nil if the mirror is to begin anew.
	delivered uint64             // How many messages the feed has delivered.
	position  uint64             // The revision of the last one.
	items     map[string]item    // By key: all that the stream holds, and what was removed without a trace.
}

// item is the newest revision of a key.
type item struct {
	revision  uint64
	changedAt time.Time
	record    any   // A *run.Run or *run.Runner; nil if it was deleted, or is neither.
	err       error // Why record could not be decoded.
}

// NewMirror makes an empty Mirror. It calls nobody.
func NewMirror(l *Ledger) *Mirror {
	m := &Mirror{ledger: l, turn: make(chan struct{}, 1)}
	m.turn <- struct{}{}
	return m
}

// Runs lists the records of all jobs as Ledger.Runs does, but they may lack their History. Lists share the records, so
// nobody may change them.
func (m *Mirror) Runs(ctx context.Context) ([]Entry[run.Run], error) {
	return listed(ctx, m, m.ledger.Runs)
}

// Runners lists the records of all runners as Ledger.Runners does.
func (m *Mirror) Runners(ctx context.Context) ([]Entry[run.Runner], error) {
	return listed(ctx, m, m.ledger.Runners)
}

// Forget gives the memory back. The next list begins anew. It waits for a list that is being made.
func (m *Mirror) Forget() {
	<-m.turn
	m.forget()
	m.turn <- struct{}{}
}

func (m *Mirror) forget() { m.feed, m.items = nil, nil }

// listed lists what the mirror holds, or, if that can't be told to be all, what the ledger does.
func listed[T any](ctx context.Context, m *Mirror, read func(context.Context) ([]Entry[T], error)) ([]Entry[T], error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := reflected[T](ctx, m)
	if errors.Is(err, errUnsettled) {
		return read(ctx)
	}
	return list, err
}

func reflected[T any](ctx context.Context, m *Mirror) ([]Entry[T], error) {
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the mirror: %w", ctx.Err())
	case <-m.turn:
	}
	defer func() { m.turn <- struct{}{} }()
	if err := m.catchUp(ctx); err != nil {
		return nil, fmt.Errorf("mirror the ledger: %w", err)
	}
	list := make([]Entry[T], 0, len(m.items))
	for _, i := range m.items {
		record, ok := i.record.(*T)
		switch {
		case !ok:
		case i.err != nil:
			return nil, i.err
		default:
			list = append(list, Entry[T]{Record: record, Revision: i.revision, ChangedAt: i.changedAt})
		}
	}
	return list, nil
}

// catchUp reads what has changed, until the mirror has passed all that was stored when it was called and has as many keys as
// the stream. To have passed a revision is not enough: a new key that changes all the time can be ahead of the reader at
// each step. Nor is it enough that the server says there is no more: a message that replaces another is, for a moment,
// counted out and not yet in. A key that was removed without a trace, as an operator's purge does it, is one too many.
func (m *Mirror) catchUp(ctx context.Context) error {
	var stored uint64
	pause := firstPause
	for range maxRounds {
		if m.feed == nil {
			if err := m.begin(ctx); err != nil {
				return err
			}
		}
		news, err := m.read(ctx)
		if err != nil {
			m.forget() // Should it be in vain, the next call says why.
			continue
		}
		stream, err := m.ledger.js.Stream(ctx, streamName) // The stream's leader answers.
		if err != nil {
			return fmt.Errorf("state of stream %s: %w", streamName, err)
		}
		state := stream.CachedInfo().State
		if stored == 0 {
			stored = state.LastSeq
		}
		maps.DeleteFunc(m.items, func(_ string, i item) bool { return i.revision < state.FirstSeq }) // Too old.
		known, keys := uint64(len(m.items)), state.NumSubjects
		passed := m.position >= stored || state.FirstSeq > stored
		switch {
		case passed && known == keys:
			return nil
		case known > keys:
			m.forget()
		case news == 0: // The feed's server lags behind, or the stream's last message was removed.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
			pause *= 2
		}
	}
	if m.position < stored { // What was stored last was lost on its way here, or has gone.
		m.forget()
	}
	return errUnsettled
}

// begin makes the feed. It gives all messages, not the last of each key: the stream keeps no others, and when those that are
// chosen beforehand go while they are being read, the server takes that for the end.
func (m *Mirror) begin(ctx context.Context) error {
	feed, err := m.ledger.js.CreateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: feedIdle,
	})
	if err != nil {
		return fmt.Errorf("consume stream %s: %w", streamName, err)
	}
	m.feed, m.delivered, m.position, m.items = feed, 0, 0, map[string]item{}
	return nil
}

// read takes what the feed has, and returns how much that was.
func (m *Mirror) read(ctx context.Context) (news int, err error) {
	for {
		batch, err := m.feed.FetchNoWait(batchSize)
		if err != nil {
			return news, fmt.Errorf("fetch: %w", err)
		}
		got := 0
		for msg := range batch.Messages() {
			got++
			err = errors.Join(err, m.apply(msg))
		}
		news += got
		if err = errors.Join(err, batch.Error(), ctx.Err()); err != nil || got < batchSize {
			return news, err
		}
	}
}

func (m *Mirror) apply(msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("metadata of %s: %w", msg.Subject(), err)
	}
	if meta.Sequence.Consumer != m.delivered+1 {
		return fmt.Errorf("%w after %d", errGap, m.delivered)
	}
	m.delivered, m.position = meta.Sequence.Consumer, meta.Sequence.Stream
	key := strings.TrimPrefix(msg.Subject(), subjectPrefix)
	i := item{revision: meta.Sequence.Stream, changedAt: meta.Timestamp}
	// A message with one of these headers says that its key has gone (NATS ADR-8 and ADR-43).
	if header := msg.Headers(); header.Get("KV-Operation") == "" && header.Get(jetstream.MarkerReasonHeader) == "" {
		i.record, i.err = recordOf(key, msg.Data(), i.revision)
	}
	m.items[key] = i
	return nil
}

// recordOf is the record of a key as wire.JobKey and wire.RunnerKey make it, nil for another key.
func recordOf(key string, value []byte, revision uint64) (any, error) {
	switch kind, rest, _ := strings.Cut(key, "."); {
	case kind == "job" && strings.Count(rest, ".") == 0:
		r, err := records.Decode[run.Run](key, value, revision)
		r.History = nil
		return &r, err
	case kind == "runner" && strings.Count(rest, ".") == 1:
		r, err := records.Decode[run.Runner](key, value, revision)
		return &r, err
	}
	return nil, nil //nolint:nilnil // neither, and nothing wrong with it
}
