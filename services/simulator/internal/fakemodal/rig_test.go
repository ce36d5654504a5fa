package fakemodal_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	"go.uber.org/goleak"

	"modal-github-runner/services/simulator/internal/fakemodal"
)

const (
	tokenID     = "ak-test"
	tokenSecret = "as-canary-4f1c"
	// patience bounds everything that a loaded machine may delay.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) {
	// The developer's own ~/.modal.toml must not be read.
	if err := os.Setenv("MODAL_CONFIG_PATH", "/nonexistent"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// rig is a server on loopback, an unmodified SDK client of it, and an app and an image to make sandboxes from.
type rig struct {
	*fakemodal.Server

	url    string
	client *modal.Client
	app    *modal.App
	image  *modal.Image
}

func newRig(t *testing.T, o fakemodal.Options) *rig {
	t.Helper()
	o.TokenID, o.TokenSecret = tokenID, tokenSecret
	server, err := fakemodal.New(o)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	r := &rig{Server: server, url: "http://" + lis.Addr().String()}
	r.client = r.newClient(t, nil)
	if r.app, err = r.client.Apps.FromName(r.context(t), "runners", &modal.AppFromNameParams{CreateIfMissing: true}); err != nil {
		t.Fatalf("app: %v", err)
	}
	if r.image, err = r.client.Images.FromRegistry("debian:13", nil).Build(r.context(t), r.app, nil); err != nil {
		t.Fatalf("image: %v", err)
	}
	return r
}

// newClient applies change, which may be nil, to working parameters.
func (r *rig) newClient(t *testing.T, change func(*modal.ClientParams)) *modal.Client {
	t.Helper()
	t.Setenv("MODAL_SERVER_URL", r.url)
	params := &modal.ClientParams{TokenID: tokenID, TokenSecret: tokenSecret, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(params)
	}
	client, err := modal.NewClientWithOptions(params)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	t.Cleanup(client.Close)
	return client
}

func (r *rig) context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (r *rig) create(t *testing.T, params modal.SandboxCreateParams) *modal.Sandbox {
	t.Helper()
	s, err := r.client.Sandboxes.Create(r.context(t), r.app, r.image, &params)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	// Closing the client leaves the sandbox's connection to the command router open.
	t.Cleanup(func() {
		if err := s.Detach(); err != nil {
			t.Errorf("detach: %v", err)
		}
	})
	return s
}

func (r *rig) wait(t *testing.T, s *modal.Sandbox) int {
	t.Helper()
	code, err := s.Wait(r.context(t), nil)
	if err != nil {
		t.Fatalf("wait: %v", err)
	}
	return code
}

// record returns the history of the only sandbox with the id.
func (r *rig) record(t *testing.T, id string) fakemodal.SandboxRecord {
	t.Helper()
	for _, rec := range r.Snapshot().Sandboxes {
		if rec.ID == id {
			return rec
		}
	}
	t.Fatalf("no record of sandbox %s", id)
	return fakemodal.SandboxRecord{}
}

// list returns the ids in the order of the list.
func (r *rig) list(t *testing.T, tags map[string]string) []string {
	t.Helper()
	sandboxes, err := r.client.Sandboxes.List(r.context(t), &modal.SandboxListParams{AppID: r.app.AppID, Tags: tags})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	var ids []string
	for s, err := range sandboxes {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		ids = append(ids, s.SandboxID)
	}
	return ids
}

func read(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}

// eventually polls, since real processes take their time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func sh(script string) []string { return []string{"sh", "-c", strings.TrimSpace(script)} }
