// Package control keeps what all workers share beside the ledger, in the KV bucket "control": which deployment they are,
// and how far a sweep has come with each webhook. It decides nothing and never sees a secret. The leader's lease, in the same bucket, belongs
// to package leader.
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
)

// Keys of the bucket.
const (
	keyDeployment = "deployment"
	keyDeliveries = "deliveries" // The App's; those of other webhooks have their ids behind it.
)

// Control is the bucket. It is safe for concurrent use.
type Control struct {
	js jetstream.JetStream
	// deployment is nil until it is known.
	deployment atomic.Pointer[string]
}

// New makes a Control. The bucket need not exist yet.
func New(js jetstream.JetStream) *Control { return &Control{js: js} }

// Deployment is the id of all workers that share this bucket, 26 letters and digits. Whoever asks first draws it by lot; it
// stays as long as the bucket does.
func (c *Control) Deployment(ctx context.Context) (string, error) {
	if known := c.deployment.Load(); known != nil {
		return *known, nil
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
	c.deployment.Store(&id)
	return id, nil
}

// Cursor is the time before which no delivery of a webhook needs to be looked at; zero if none was set. The webhook is named by
// GitHub's id, which is unique among those of repositories and organizations alike; 0 stands for the App's.
func (c *Control) Cursor(ctx context.Context, hook int64) (time.Time, error) {
	kv, err := c.open(ctx)
	if err != nil {
		return time.Time{}, err
	}
	key := cursorKey(hook)
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("get %s: %w", key, err)
	}
	var at time.Time
	if err := at.UnmarshalText(entry.Value()); err != nil {
		return time.Time{}, fmt.Errorf("decode %s at revision %d: %w", key, entry.Revision(), err)
	}
	return at, nil
}

// SetCursor sets the Cursor. Should two workers do so, the last one's stays: each has settled what lies before its own.
func (c *Control) SetCursor(ctx context.Context, hook int64, at time.Time) error {
	kv, err := c.open(ctx)
	if err != nil {
		return err
	}
	key := cursorKey(hook)
	text, err := at.UTC().MarshalText()
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	if _, err := kv.Put(ctx, key, text); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func cursorKey(hook int64) string {
	if hook == 0 {
		return keyDeliveries
	}
	return keyDeliveries + "." + strconv.FormatInt(hook, 10)
}

func (c *Control) open(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := c.js.KeyValue(ctx, wire.BucketControl)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", wire.BucketControl, err)
	}
	return kv, nil
}
