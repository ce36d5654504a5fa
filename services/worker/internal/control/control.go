// Package control keeps which deployment all workers are, and how far a sweep has come with each webhook, in the KV bucket "control".
// It decides nothing and never sees a secret. What else is in that bucket belongs to other packages; see wire.BucketControl.
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
	"modal-github-runner/services/worker/internal/records"
	"modal-github-runner/services/worker/internal/run"
)

// Keys of the bucket.
const (
	keyDeployment = "deployment"
	keyDeliveries = "deliveries" // The App's; those of other webhooks have their ids behind it.
)

// Control is the bucket. It is safe for concurrent use.
type Control struct {
	bucket *records.Bucket
	// deployment is nil until it is known.
	deployment atomic.Pointer[string]
}

// New makes a Control. The bucket need not exist yet.
func New(js jetstream.JetStream) *Control {
	return &Control{bucket: records.Named(js, wire.BucketControl, 0)}
}

// Deployment is the id of all workers that share this bucket, 26 letters and digits. Whoever asks first draws it by lot; it
// stays as long as the bucket does.
func (c *Control) Deployment(ctx context.Context) (string, error) {
	if known := c.deployment.Load(); known != nil {
		return *known, nil
	}
	id := []byte(rand.Text())
	_, err := c.bucket.Put(ctx, keyDeployment, id, 0)
	if errors.Is(err, run.ErrConflict) {
		id, _, err = c.bucket.Get(ctx, keyDeployment)
	}
	if err != nil {
		return "", err //nolint:wrapcheck // the bucket names the key
	}
	known := string(id)
	c.deployment.Store(&known)
	return known, nil
}

// Cursor is the time before which no delivery of a webhook needs to be looked at; zero if none was set. The webhook is named by
// GitHub's id, which is unique among those of repositories and organizations alike; 0 stands for the App's.
func (c *Control) Cursor(ctx context.Context, hook int64) (at time.Time, err error) {
	key := cursorKey(hook)
	text, revision, err := c.bucket.Get(ctx, key)
	if err != nil || revision == 0 {
		return time.Time{}, err //nolint:wrapcheck // the bucket names the key
	}
	if err := at.UnmarshalText(text); err != nil {
		return time.Time{}, fmt.Errorf("decode %s at revision %d: %w", key, revision, err)
	}
	return at, nil
}

// SetCursor sets the Cursor. Of two workers that do so at once one may get run.ErrConflict: each has settled what lies before its own.
func (c *Control) SetCursor(ctx context.Context, hook int64, at time.Time) error {
	key := cursorKey(hook)
	text, err := at.UTC().MarshalText()
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	_, revision, err := c.bucket.Get(ctx, key)
	if err != nil {
		return err //nolint:wrapcheck // the bucket names the key
	}
	_, err = c.bucket.Put(ctx, key, text, revision)
	return err //nolint:wrapcheck // the bucket names the key
}

func cursorKey(hook int64) string {
	if hook == 0 {
		return keyDeliveries
	}
	return keyDeliveries + "." + strconv.FormatInt(hook, 10)
}
