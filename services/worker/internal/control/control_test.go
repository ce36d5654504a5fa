package control_test

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect makes a client of a server of its own; the buckets do not exist yet.
func connect(t *testing.T) (jetstream.JetStream, *natstest.Server) {
	t.Helper()
	server := natstest.Start(t)
	return server.JetStream(t), server
}

func ensure(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology([]string{wire.DefaultPool})); err != nil {
		t.Fatal(err)
	}
}

func TestAllWorkersOfADeploymentKnowItByOneID(t *testing.T) {
	js, _ := connect(t)
	ensure(t, js)
	ids := make([]string, 8)
	var asking sync.WaitGroup
	for n := range ids {
		asking.Go(func() {
			id, err := control.New(js).Deployment(t.Context())
			if err != nil {
				t.Error(err)
			}
			ids[n] = id
		})
	}
	asking.Wait()
	for _, id := range ids {
		if len(id) < 20 || id != ids[0] {
			t.Errorf("got %q, want one long id", ids)
		}
	}
}

func TestAnotherDeploymentHasAnotherID(t *testing.T) {
	var ids [2]string
	for n := range ids {
		js, _ := connect(t)
		ensure(t, js)
		var err error
		if ids[n], err = control.New(js).Deployment(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] == ids[1] {
		t.Errorf("both are %s", ids[0])
	}
}

func TestTheIDIsAskedForUntilItIsKnownAndThenNoMore(t *testing.T) {
	js, server := connect(t)
	c := control.New(js)
	if id, err := c.Deployment(t.Context()); err == nil {
		t.Fatalf("got %q without a bucket", id)
	}
	ensure(t, js)
	id, err := c.Deployment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if again, err := c.Deployment(t.Context()); err != nil || again != id {
		t.Errorf("got %q, %v, want %q", again, err, id)
	}
}

func TestTheCursorOfEachWebhookIsWhereItWasSet(t *testing.T) {
	js, _ := connect(t)
	c := control.New(js)
	if err := c.SetCursor(t.Context(), 0, time.Now()); err == nil {
		t.Error("set without a bucket")
	}
	if at, err := c.Cursor(t.Context(), 0); err == nil {
		t.Errorf("got %v without a bucket", at)
	}
	ensure(t, js)
	const theApps, aRepositorys, noneOf = 0, 4711, 4712
	want := map[int64]time.Time{
		theApps:      time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("there", 3600)),
		aRepositorys: time.Date(2026, 3, 5, 5, 6, 7, 8, time.UTC),
		noneOf:       {},
	}
	for hook, at := range want {
		if at.IsZero() {
			continue
		}
		if err := c.SetCursor(t.Context(), hook, at); err != nil {
			t.Fatal(err)
		}
	}
	for hook, at := range want {
		if got, err := control.New(js).Cursor(t.Context(), hook); err != nil || !got.Equal(at) {
			t.Errorf("hook %d: got %v, %v, want %v", hook, got, err, at)
		}
	}
}

func TestACursorThatCannotBeReadIsAnError(t *testing.T) {
	js, _ := connect(t)
	ensure(t, js)
	kv, err := js.KeyValue(t.Context(), wire.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "deliveries.5", []byte("yesterday")); err != nil {
		t.Fatal(err)
	}
	if at, err := control.New(js).Cursor(t.Context(), 5); err == nil {
		t.Errorf("got %v", at)
	}
}
