package budget

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// inBubble runs f in a bubble with a nats-server, and a connection to it as the worker's. There, no slow machine makes a call to
// NATS time out: time stands still while anybody works.
func inBubble(t *testing.T, f func(t *testing.T, js jetstream.JetStream, nats *natstest.Server)) {
	t.Helper()
	natstest.DropTimers()
	synctest.Test(t, func(t *testing.T) {
		server := natstest.Start(t, natstest.InProcess)
		f(t, connect(t, server), server)
	})
}

func connect(t *testing.T, server *natstest.Server) jetstream.JetStream {
	t.Helper()
	conn, err := natsx.Connect(natsx.Config{}, natsx.Options{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Extra: []nats.Option{nats.InProcessServer(server)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := natsx.JetStream(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	return js
}
