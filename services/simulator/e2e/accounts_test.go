package e2e_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
)

// accountsServer is nats-server as deployments/nats/nats.conf has it, on a port of its own.
func accountsServer(t *testing.T) *server.Server {
	t.Helper()
	t.Setenv("NATS_INGRESS_PASSWORD", `"i"`)
	t.Setenv("NATS_WORKER_PASSWORD", `"w"`)
	options, err := server.ProcessConfigFile(filepath.Join(repositoryRoot(t), "deployments", "nats", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !options.SyncAlways {
		t.Error("what is acknowledged must be on disk: sync_interval must be always")
	}
	options.Host, options.Port, options.HTTPPort, options.StoreDir, options.NoSigs, options.NoLog = "127.0.0.1", server.RANDOM_PORT, 0, t.TempDir(), true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("nats-server does not start")
	}
	return s
}

func connectAs(t *testing.T, s *server.Server, user, password string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX_"+user),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // They are read from the connection.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func TestEachServiceMayDoItsOwnAtNATSAndNothingElse(t *testing.T) {
	s := accountsServer(t)
	publish := func(conn *nats.Conn, subject string) error { return conn.Publish(subject, nil) }
	subscribe := func(conn *nats.Conn, subject string) error {
		_, err := conn.SubscribeSync(subject)
		return err
	}
	tests := []struct {
		name, user string
		do         func(*nats.Conn, string) error
		subject    string
		allowed    bool
	}{
		{"ingress tells of a job that waits", "ingress", publish, wire.QueuedSubject("default"), true},
		{"ingress tells of a job that ended", "ingress", publish, wire.SubjectFinished, true},
		{"ingress hears the answers to its requests", "ingress", subscribe, "_INBOX_ingress.x", true},
		{"ingress writes no record", "ingress", publish, "$KV.runs.job.1", false},
		{"ingress asks for no record", "ingress", publish, "$JS.API.DIRECT.GET.KV_runs.$KV.runs.job.1", false},
		{"ingress does not look at the ledger", "ingress", publish, "$JS.API.STREAM.INFO.KV_runs", false},
		{"ingress hears no answer to a worker", "ingress", subscribe, "_INBOX_worker.>", false},
		{"ingress does not listen to the ledger", "ingress", subscribe, "$KV.>", false},
		{"ingress takes no job", "ingress", publish, "$JS.API.CONSUMER.MSG.NEXT.JOBS.queued-default", false},
		{"ingress does not listen to jobs", "ingress", subscribe, "jobs.>", false},
		{"ingress buries nothing", "ingress", publish, "dead.jobs.1", false},
		{"ingress deletes no stream", "ingress", publish, "$JS.API.STREAM.DELETE.JOBS", false},
		{"ingress puts nothing off", "ingress", publish, "jobs.later.1.1", false},
		{"ingress finds nothing out", "ingress", publish, "jobs.found.queued.default", false},
		{"a worker takes a job", "worker", publish, "$JS.API.CONSUMER.MSG.NEXT.JOBS.queued-default", true},
		{"a worker writes a record", "worker", publish, "$KV.runs.job.1", true},
		{"a worker buries", "worker", publish, "dead.jobs.1", true},
		{"a worker says what it found out", "worker", publish, "jobs.found.queued.default", true},
		{"a worker is not GitHub", "worker", publish, wire.QueuedSubject("default"), false},
		{"a worker tells of no end as if GitHub had", "worker", publish, wire.SubjectFinished, false},
		{"a worker does not listen to all that is said", "worker", subscribe, ">", false},
		{"a worker hears no answer to ingress", "worker", subscribe, "_INBOX_ingress.>", false},
		{"a worker deletes no stream", "worker", publish, "$JS.API.STREAM.DELETE.JOBS", false},
		{"a worker empties no stream of jobs", "worker", publish, "$JS.API.STREAM.PURGE.JOBS", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := connectAs(t, s, tt.user, tt.user[:1])
			if err := tt.do(conn, tt.subject); err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			if refused := errors.Is(conn.LastError(), nats.ErrPermissionViolation); refused == tt.allowed {
				t.Errorf("%s: refused is %v: %v", tt.subject, refused, conn.LastError())
			}
		})
	}
}

func TestNobodyReachesNATSWithoutAPassword(t *testing.T) {
	s := accountsServer(t)
	for _, option := range []nats.Option{nats.UserInfo("", ""), nats.UserInfo("worker", "i"), nats.UserInfo("admin", "admin")} {
		if conn, err := nats.Connect(s.ClientURL(), option); err == nil {
			conn.Close()
			t.Error("connected")
		}
	}
}

// What ingress publishes reaches workers by the stream, and it learns that it is stored there.
func TestAJobPassesFromOneAccountsRightsToTheOthers(t *testing.T) {
	s := accountsServer(t)
	worker, err := jetstream.New(connectAs(t, s, "worker", "w"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := worker.CreateStream(t.Context(), jetstream.StreamConfig{Name: wire.StreamJobs, Subjects: []string{"jobs.>"}}); err != nil {
		t.Fatal(err)
	}
	consumer, err := worker.CreateConsumer(t.Context(), wire.StreamJobs, jetstream.ConsumerConfig{Durable: wire.QueuedConsumer("default"), AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	ingress, err := jetstream.New(connectAs(t, s, "ingress", "i"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ingress.Publish(t.Context(), wire.QueuedSubject("default"), []byte("job")); err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.DoubleAck(t.Context()); err != nil || string(msg.Data()) != "job" {
		t.Errorf("got %q, %v", msg.Data(), err)
	}
}
