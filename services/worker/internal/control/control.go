// Package control keeps what all workers share beside the ledger, in the KV bucket "control": which deployment they are,
// and how far a sweep has come. It decides nothing and never sees a secret. The leader's lease, in the same bucket, belongs
// to package leader.
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
)

// Keys of the bucket.
const (
	keyDeployment = "deployment"
	keyDeliveries = "deliveries"
)

// Control is the bucket. It is safe for concurrent use.
type Control struct {
	js jetstream.JetStream

	mu         sync.Mutex
	deployment string
}

// New makes a Control. The bucket need not exist yet.
func New(js jetstream.JetStream) *Control { return &Control{js: js} }

// Deployment is the id of all workers that share this bucket, 26 letters and digits. Whoever asks first draws it by lot; it
// stays as long as the bucket does.
func (c *Control) Deployment(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deployment != "" {
		return c.deployment, nil
	}
	kv, err := c.open(ctx)
	if err != nil {
		return "", err
	}
	id := rand.Text()
	_, err = kv.Create(ctx, keyDeployment, []byte(id))
	if errors.Is(err, jetstream.ErrKeyExists) {
		var entry jetstream.KeyValueEntry
		if entry, err = kv.Get(ctx, keyDeployment); err == nil {
			id = string(entry.Value())
		}
	}
	if err != nil {
		return "", fmt.Errorf("get %s: %w", keyDeployment, err)
	}
	c.deployment = id
	return id, nil
}

// Cursor is the time before which no delivery of a webhook needs to be looked at; zero if none was set.
func (c *Control) Cursor(ctx context.Context) (time.Time, error) {
	kv, err := c.open(ctx)
	if err != nil {
		return time.Time{}, err
	}
	entry, err := kv.Get(ctx, keyDeliveries)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("get %s: %w", keyDeliveries, err)
	}
	var at time.Time
	if err := at.UnmarshalText(entry.Value()); err != nil {
		return time.Time{}, fmt.Errorf("decode %s at revision %d: %w", keyDeliveries, entry.Revision(), err)
	}
	return at, nil
}

// SetCursor sets the Cursor. Should two workers do so, the last one's stays: each has settled what lies before its own.
func (c *Control) SetCursor(ctx context.Context, at time.Time) error {
	kv, err := c.open(ctx)
	if err != nil {
		return err
	}
	text, err := at.UTC().MarshalText()
	if err != nil {
		return fmt.Errorf("encode %s: %w", keyDeliveries, err)
	}
	if _, err := kv.Put(ctx, keyDeliveries, text); err != nil {
		return fmt.Errorf("put %s: %w", keyDeliveries, err)
	}
	return nil
}

func (c *Control) open(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := c.js.KeyValue(ctx, wire.BucketControl)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", wire.BucketControl, err)
	}
	return kv, nil
}
