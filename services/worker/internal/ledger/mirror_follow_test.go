package ledger_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

// feedOf is the consumer from which the mirror reads. What is taken from it the mirror does not get.
func feedOf(t *testing.T, js jetstream.JetStream) jetstream.Consumer {
	t.Helper()
	name, found := <-stream(t, js).ConsumerNames(t.Context()).Name()
	if !found {
		t.Fatal("the mirror has no consumer")
	}
	feed, err := js.Consumer(t.Context(), runsStream, name)
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

// What happens to the ledger behind the mirror's back. Jobs 1 to 3 are waiting and mirrored when it happens.
func TestAMirrorFollowsTheLedgerThrough(t *testing.T) {
	t.Parallel()
	remove := func(t *testing.T, js jetstream.JetStream, how func(jetstream.KeyValue) error) {
		t.Helper()
		kv, err := js.KeyValue(t.Context(), wire.BucketRuns)
		if err == nil {
			err = how(kv)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	purge := func(t *testing.T, js jetstream.JetStream, job int64) {
		t.Helper()
		if err := stream(t, js).Purge(t.Context(), jetstream.WithPurgeSubject("$KV.runs."+wire.JobKey(job))); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		happen func(*testing.T, *ledger.Ledger, jetstream.JetStream)
		want   []int64
	}{
		{"a deletion", func(t *testing.T, _ *ledger.Ledger, js jetstream.JetStream) {
			remove(t, js, func(kv jetstream.KeyValue) error { return kv.Delete(t.Context(), wire.JobKey(2)) })
		}, []int64{1, 3}},
		{"a deletion of which the marker has gone too", func(t *testing.T, _ *ledger.Ledger, js jetstream.JetStream) {
			remove(t, js, func(kv jetstream.KeyValue) error {
				if err := kv.Purge(t.Context(), wire.JobKey(2)); err != nil {
					return err
				}
				return kv.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1))
			})
		}, []int64{1, 3}},
		{"a key that is made again", func(t *testing.T, l *ledger.Ledger, js jetstream.JetStream) {
			remove(t, js, func(kv jetstream.KeyValue) error { return kv.Purge(t.Context(), wire.JobKey(2)) })
			saveRun(t, l, run.Run{Job: run.Job{ID: 2}, State: run.Done}, 0)
		}, []int64{1, 2, 3}},
		{"a key removed without a trace", func(t *testing.T, _ *ledger.Ledger, js jetstream.JetStream) {
			purge(t, js, 2)
		}, []int64{1, 3}},
		{"the last message removed without a trace", func(t *testing.T, _ *ledger.Ledger, js jetstream.JetStream) {
			purge(t, js, 3)
		}, []int64{1, 2}},
		{"a last message that went before it was seen", func(t *testing.T, l *ledger.Ledger, js jetstream.JetStream) {
			saveJobs(t, l, 4, 4, run.Waiting)
			purge(t, js, 4)
		}, []int64{1, 2, 3}},
		{"the loss of the first messages, as by age", func(t *testing.T, _ *ledger.Ledger, js jetstream.JetStream) {
			s := stream(t, js)
			if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(s.CachedInfo().State.LastSeq)); err != nil {
				t.Fatal(err)
			}
		}, []int64{3}},
		{"the loss of all messages", func(t *testing.T, _ *ledger.Ledger, js jetstream.JetStream) {
			if err := stream(t, js).Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"a bucket made anew with as many messages", func(t *testing.T, l *ledger.Ledger, js jetstream.JetStream) {
			if err := js.DeleteKeyValue(t.Context(), wire.BucketRuns); err != nil {
				t.Fatal(err)
			}
			if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology(nil)); err != nil {
				t.Fatal(err)
			}
			saveJobs(t, l, 5, 7, run.Done)
		}, []int64{5, 6, 7}},
		{"the loss of its consumer", func(t *testing.T, l *ledger.Ledger, js jetstream.JetStream) {
			if err := js.DeleteConsumer(t.Context(), runsStream, feedOf(t, js).CachedInfo().Name); err != nil {
				t.Fatal(err)
			}
			saveJobs(t, l, 4, 4, run.Waiting)
		}, []int64{1, 2, 3, 4}},
		{"the loss of a message on its way", func(t *testing.T, l *ledger.Ledger, js jetstream.JetStream) {
			saveJobs(t, l, 4, 6, run.Waiting)
			if _, err := feedOf(t, js).Next(jetstream.FetchMaxWait(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}, []int64{1, 2, 3, 4, 5, 6}},
		{"the loss of all messages on their way", func(t *testing.T, l *ledger.Ledger, js jetstream.JetStream) {
			saveJobs(t, l, 4, 4, run.Waiting)
			if _, err := feedOf(t, js).Next(jetstream.FetchMaxWait(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}, []int64{1, 2, 3, 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, js, _ := listed(t)
			m := ledger.NewMirror(l)
			saveJobs(t, l, 1, 3, run.Waiting)
			wantHeld(t, m, l, 1, 2, 3)
			tt.happen(t, l, js)
			wantHeld(t, m, l, tt.want...)
			saveJobs(t, l, 8, 8, run.Waiting)
			wantHeld(t, m, l, append(slices.Clone(tt.want), 8)...)
			wantCheap(t, js, m, 0, func() {})
		})
	}
}

func TestAMirrorIsWholeAfterTheServerWas(t *testing.T) {
	t.Parallel()
	l, _, s := listed(t)
	m := ledger.NewMirror(l)
	saveJobs(t, l, 1, 3, run.Waiting)
	wantHeld(t, m, l, 1, 2, 3)
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if runs, err := m.Runs(ctx); err == nil {
		t.Errorf("without a server it lists %v", runs)
	}
	s.Restart(t)
	awaitServer(t, l)
	saveJobs(t, l, 4, 4, run.Waiting)
	wantHeld(t, m, l, 1, 2, 3, 4)
}

// The backup has fewer revisions than the mirror saw. Others are written until there are as many, before the mirror looks.
func TestAMirrorFollowsALedgerThatIsRestored(t *testing.T) {
	t.Parallel()
	var dir string
	l, js, s := listed(t, func(o *server.Options) { dir = o.StoreDir })
	m := ledger.NewMirror(l)
	saveJobs(t, l, 1, 3, run.Waiting)
	s.Stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	awaitServer(t, l)
	saveJobs(t, l, 4, 5, run.Waiting)
	wantHeld(t, m, l, 1, 2, 3, 4, 5)
	last := stream(t, js).CachedInfo().State.LastSeq
	s.Stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	awaitServer(t, l)
	saveJobs(t, l, 6, 7, run.Done)
	wantHeld(t, m, l, 1, 2, 3, 6, 7)
	if again := stream(t, js).CachedInfo().State.LastSeq; again != last {
		t.Errorf("the last revision is %d, want %d as before the restoration", again, last)
	}
}

func awaitServer(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, _, err := l.LoadRun(ctx, 1)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server is back, and still: %v", err)
		}
	}
}
