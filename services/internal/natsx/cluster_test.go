package natsx_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

// durable has a server acknowledge what is on disk, as deployments/nats does.
func durable(o *server.Options) { o.SyncAlways = true }

func connectAll(t *testing.T, servers []*natstest.Server) jetstream.JetStream {
	t.Helper()
	var cfg natsx.Config
	for _, s := range servers {
		u, err := url.Parse(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		cfg.URL = append(cfg.URL, u)
	}
	conn, err := natsx.Connect(cfg, natsx.Options{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Extra: []nats.Option{nats.ReconnectWait(50 * time.Millisecond)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := natsx.JetStream(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

var clustered = []string{wire.StreamJobs, wire.StreamDead, "KV_" + wire.BucketRuns, "KV_" + wire.BucketControl}

// awaitCopies waits until each stream is on three servers, all of them up to date.
func awaitCopies(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for _, name := range clustered {
		var last string
		poll(t, func() bool {
			stream, err := js.Stream(t.Context(), name)
			if err != nil {
				return false
			}
			info := stream.CachedInfo()
			current := 0
			for _, peer := range info.Cluster.Replicas {
				if peer.Current && !peer.Offline {
					current++
				}
			}
			last = fmt.Sprintf("%s: %d replicas, %d followers up to date", name, info.Config.Replicas, current)
			return info.Config.Replicas == 3 && info.Cluster.Leader != "" && current == 2
		})
		t.Log(last)
	}
}

// load publishes and consumes events, and writes and reads a record, until as many events are acknowledged and consumed as it
// was told.
type load struct {
	js jetstream.JetStream

	mu       sync.Mutex
	acked    map[string]bool
	consumed map[string]int
	stale    []string
}

const publishers, eventsEach = 3, 60

// publish publishes events, each until it is acknowledged, as GitHub's redelivery does.
func (l *load) publish(ctx context.Context, publisher int) {
	for n := range eventsEach {
		id := fmt.Sprintf("%d-%d", publisher, n)
		for ctx.Err() == nil {
			attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := l.js.PublishMsg(attempt, &nats.Msg{Subject: wire.QueuedSubject(wire.DefaultPool), Data: []byte(id)}, jetstream.WithMsgID(id))
			cancel()
			if err == nil {
				break
			}
			pause(ctx)
		}
		l.mu.Lock()
		l.acked[id] = true
		l.mu.Unlock()
	}
}

func (l *load) consume(ctx context.Context) {
	for ctx.Err() == nil {
		consumer, err := l.js.Consumer(ctx, wire.StreamJobs, wire.QueuedConsumer(wire.DefaultPool))
		if err != nil {
			pause(ctx)
			continue
		}
		batch, err := consumer.Fetch(10, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			pause(ctx)
			continue
		}
		for msg := range batch.Messages() {
			l.mu.Lock()
			l.consumed[string(msg.Data())]++
			l.mu.Unlock()
			_ = msg.DoubleAck(ctx) // If that fails it comes again.
		}
	}
}

// keep changes a record by compare-and-set, and notes each read that does not have the last acknowledged write.
func (l *load) keep(ctx context.Context) {
	var last uint64
	var kv jetstream.KeyValue
	for ctx.Err() == nil {
		var err error
		if kv == nil {
			if kv, err = l.js.KeyValue(ctx, wire.BucketRuns); err != nil {
				kv = nil
				pause(ctx)
				continue
			}
		}
		entry, err := kv.Get(ctx, "job.1")
		var at uint64
		switch {
		case err == nil:
			at = entry.Revision()
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			pause(ctx)
			continue
		}
		if at < last {
			l.mu.Lock()
			l.stale = append(l.stale, fmt.Sprintf("read %d after %d was written", at, last))
			l.mu.Unlock()
		}
		var revision uint64
		if at == 0 {
			revision, err = kv.Create(ctx, "job.1", []byte("0"))
		} else {
			revision, err = kv.Update(ctx, "job.1", []byte(strconv.FormatUint(at, 10)), at)
		}
		if err == nil {
			last = revision
		}
	}
}

func (l *load) count() (acked, consumed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), len(l.consumed)
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

func TestAServerOfAClusterDiesUnderLoadAndNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F36")
	servers := natstest.StartCluster(t, 3, durable)
	js := connectAll(t, servers)
	topology := wire.JobsTopology([]string{wire.DefaultPool})
	topology.Replicas = 3
	poll(t, func() bool { // Until the leader of the cluster knows all three.
		_, err := natsx.Ensure(t.Context(), js, topology)
		return err == nil
	})
	awaitCopies(t, js)

	l := &load{js: js, acked: map[string]bool{}, consumed: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for n := range publishers {
		running.Go(func() { l.publish(ctx, n) })
	}
	running.Go(func() { l.consume(ctx) })
	running.Go(func() { l.keep(ctx) })
	const all = publishers * eventsEach
	poll(t, func() bool { acked, _ := l.count(); return acked > all/4 })
	stream, err := js.Stream(ctx, wire.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	leader := stream.CachedInfo().Cluster.Leader
	var dead *natstest.Server
	for _, s := range servers {
		if s.Name() == leader {
			dead = s
		}
	}
	dead.Stop()
	if acked, _ := l.count(); acked == all {
		t.Error("the server died when all was done")
	}
	poll(t, func() bool { acked, consumed := l.count(); return acked == all && consumed == all })
	dead.Restart(t)
	awaitCopies(t, js)
	cancel()
	running.Wait()
	for id := range l.acked {
		if l.consumed[id] == 0 {
			t.Errorf("event %s was acknowledged and is lost", id)
		}
	}
	if len(l.stale) > 0 {
		t.Errorf("%d reads were older than what had been written: %s", len(l.stale), l.stale[0])
	}
}

func TestWhatLiesOnOneServerIsPutOnThreeAndStaysThere(t *testing.T) {
	t.Parallel()
	js := connectAll(t, natstest.StartCluster(t, 3))
	poll(t, func() bool {
		_, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil))
		return err == nil
	})
	var log lines
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { newGuard(t, js, 3, &log).Run(ctx) })
	awaitCopies(t, js)

	// A worker of before, that was told of one, may still run.
	risk, err := guardOnce(t, js, 1, true)
	if err != nil || risk != "" {
		t.Errorf("more servers than asked for: %v, risk %q", err, risk)
	}
	awaitCopies(t, js)
}

func TestAServiceWithoutTheRightToAddReplicasSaysThatTheyAreMissingAndWorks(t *testing.T) {
	t.Parallel()
	js, _ := connect(t, natstest.Start(t).URL())
	if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
		t.Fatal(err)
	}
	for _, mayAdd := range []bool{false, true} { // One server can't be three, whoever asks.
		risk, err := guardOnce(t, js, 3, mayAdd)
		if err != nil || risk == "" {
			t.Errorf("with the right %v: %v, risk %q", mayAdd, err, risk)
		}
	}
}

// guardOnce runs a guard until it has looked for risks. It returns whether the topology is as it should be, and the warning.
func guardOnce(t *testing.T, js jetstream.JetStream, replicas int, mayAdd bool) (risk string, topology error) {
	t.Helper()
	var log lines
	registry := prometheus.NewRegistry()
	guard, err := natsx.NewGuard(natsx.GuardOptions{
		JS: js, Topology: func() wire.Topology { return wire.JobsTopology(nil) }, Replicas: replicas, AddReplicas: mayAdd,
		Log: slog.New(slog.NewTextHandler(&log, nil)), Registry: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	guard.Recheck(t.Context())
	if log.contains("what is acknowledged could be lost") {
		risk = log.String()
	}
	return risk, guard.Check(t.Context())
}
