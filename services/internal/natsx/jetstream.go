package natsx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNotConnected says that there is no connection to NATS now; the error around it says to which servers.
var ErrNotConnected = errors.New("not connected to NATS")

// JetStream returns what [jetstream.New] does, but requests fail with ErrNotConnected while there is no connection. The
// client itself says then that its outbound buffer, which we do not have, is full. And a bucket's values come from the server
// that takes its writes, not from one which may not have the last of them yet.
func JetStream(conn *nats.Conn) (jetstream.JetStream, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &stream{JetStream: js, conn: conn}, nil
}

// explain puts ErrNotConnected in the place of what the client says.
func explain(conn *nats.Conn, err error) error {
	if !errors.Is(err, nats.ErrReconnectBufExceeded) {
		return err
	}
	return notConnected(conn)
}

// notConnected names the servers, which the client lists without user names and passwords.
func notConnected(conn *nats.Conn) error {
	return fmt.Errorf("%w at %s", ErrNotConnected, strings.Join(conn.Servers(), ", "))
}

type stream struct {
	jetstream.JetStream

	conn *nats.Conn
}

func (s *stream) PublishMsg(ctx context.Context, msg *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := s.JetStream.PublishMsg(ctx, msg, o...)
	return ack, explain(s.conn, err)
}

func (s *stream) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	found, err := s.JetStream.Stream(ctx, name)
	return found, explain(s.conn, err)
}

func (s *stream) Consumer(ctx context.Context, of, name string) (jetstream.Consumer, error) {
	found, err := s.JetStream.Consumer(ctx, of, name)
	return found, explain(s.conn, err)
}

func (s *stream) CreateConsumer(ctx context.Context, of string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	made, err := s.JetStream.CreateConsumer(ctx, of, cfg)
	return made, explain(s.conn, err)
}

func (s *stream) KeyValue(ctx context.Context, name string) (jetstream.KeyValue, error) {
	found, err := s.JetStream.KeyValue(ctx, name)
	if err != nil {
		return nil, explain(s.conn, err)
	}
	leader, err := s.JetStream.Stream(ctx, streamOfBucket+name)
	if err != nil {
		return nil, explain(s.conn, err)
	}
	leader.CachedInfo().Config.AllowDirect = false // The handle's own copy: it decides whom the handle asks.
	return &bucket{KeyValue: found, leader: leader, conn: s.conn}, nil
}

type bucket struct {
	jetstream.KeyValue

	leader jetstream.Stream
	conn   *nats.Conn
}

// Get asks the leader of the bucket's stream.
func (b *bucket) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	msg, err := b.leader.GetLastMsgForSubject(ctx, subjectOfBucket+b.Bucket()+"."+key)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, jetstream.ErrKeyNotFound
	case err != nil:
		return nil, explain(b.conn, err)
	case msg.Header.Get(operationHeader) != "" || msg.Header.Get(jetstream.MarkerReasonHeader) != "": // It was deleted, or its time was over.
		return nil, jetstream.ErrKeyNotFound
	}
	return &entry{msg: msg, bucket: b.Bucket(), key: key}, nil
}

func (b *bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	revision, err := b.KeyValue.Put(ctx, key, value)
	return revision, explain(b.conn, err)
}

func (b *bucket) Create(ctx context.Context, key string, value []byte, o ...jetstream.KVCreateOpt) (uint64, error) {
	revision, err := b.KeyValue.Create(ctx, key, value, o...)
	return revision, explain(b.conn, err)
}

func (b *bucket) Update(ctx context.Context, key string, value []byte, at uint64) (uint64, error) {
	revision, err := b.KeyValue.Update(ctx, key, value, at)
	return revision, explain(b.conn, err)
}

func (b *bucket) Watch(ctx context.Context, keys string, o ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	watch, err := b.KeyValue.Watch(ctx, keys, o...)
	return watch, explain(b.conn, err)
}

// How a bucket lies in a stream (NATS ADR-8).
const (
	streamOfBucket  = "KV_"
	subjectOfBucket = "$KV."
	operationHeader = "KV-Operation"
)

// entry is the value of a key.
type entry struct {
	msg         *jetstream.RawStreamMsg
	bucket, key string
}

func (e *entry) Bucket() string                  { return e.bucket }
func (e *entry) Key() string                     { return e.key }
func (e *entry) Value() []byte                   { return e.msg.Data }
func (e *entry) Revision() uint64                { return e.msg.Sequence }
func (e *entry) Created() time.Time              { return e.msg.Time }
func (e *entry) Delta() uint64                   { return 0 }
func (e *entry) Operation() jetstream.KeyValueOp { return jetstream.KeyValuePut }
