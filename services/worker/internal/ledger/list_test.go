package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

// listed is a ledger on a server of its own.
func listed(tb testing.TB, changes ...func(*server.Options)) (*ledger.Ledger, jetstream.JetStream, *natstest.Server) {
	tb.Helper()
	s := natstest.Start(tb, changes...)
	js := s.JetStream(tb, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if _, err := natsx.Ensure(tb.Context(), js, wire.JobsTopology([]string{wire.DefaultPool})); err != nil {
		tb.Fatal(err)
	}
	return ledger.New(js), js, s
}

func saveRun(tb testing.TB, l *ledger.Ledger, r run.Run, revision uint64) uint64 {
	tb.Helper()
	next, err := l.SaveRun(tb.Context(), r, revision)
	if err != nil {
		tb.Fatal(err)
	}
	return next
}

func TestAnEmptyLedgerListsNothing(t *testing.T) {
	l, _, _ := listed(t)
	runs, err := l.Runs(t.Context())
	if err != nil || len(runs) != 0 {
		t.Errorf("got %v, %v, want no runs", runs, err)
	}
	runners, err := l.Runners(t.Context())
	if err != nil || len(runners) != 0 {
		t.Errorf("got %v, %v, want no runners", runners, err)
	}
}

func TestListGivesWhatLoadGives(t *testing.T) {
	l, _, _ := listed(t)
	began := time.Now().Add(-time.Minute)    // Generous: it is the server's clock that counts.
	for job := int64(1); job <= 600; job++ { // More than the client buffers of a watch.
		revision := saveRun(t, l, run.Run{Job: run.Job{ID: job}, State: run.Waiting}, 0)
		if job%3 == 0 {
			saveRun(t, l, run.Run{Job: run.Job{ID: job}, State: run.Done}, revision)
		}
	}
	for attempt := 1; attempt <= 3; attempt++ {
		if _, err := l.SaveRunner(t.Context(), run.Runner{Name: run.Name{Job: 7, Attempt: attempt}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := l.Runs(t.Context())
	if err != nil || len(runs) != 600 {
		t.Fatalf("got %d runs, %v, want 600", len(runs), err)
	}
	for _, e := range runs {
		want, revision, err := l.LoadRun(t.Context(), e.Record.Job.ID)
		if err != nil || e.Revision != revision || e.Record.State != want.State {
			t.Errorf("run %d: got %+v at %d, want %+v at %d, %v", e.Record.Job.ID, *e.Record, e.Revision, want, revision, err)
		}
		if e.ChangedAt.Before(began) || e.ChangedAt.After(time.Now().Add(time.Minute)) {
			t.Errorf("run %d: changed at %v, want now", e.Record.Job.ID, e.ChangedAt)
		}
	}
	runners, err := l.Runners(t.Context())
	if err != nil || len(runners) != 3 {
		t.Fatalf("got %d runners, %v, want 3", len(runners), err)
	}
	for _, e := range runners {
		if _, err := l.SaveRunner(t.Context(), *e.Record, e.Revision); err != nil {
			t.Errorf("the revision listed does not let the record be changed: %v", err)
		}
	}
}

func TestARecordThatChangesWhileListedIsNotLeftOut(t *testing.T) {
	l, _, _ := listed(t)
	const jobs = 200
	revisions := make([]uint64, jobs+1)
	for job := 1; job <= jobs; job++ {
		revisions[job] = saveRun(t, l, run.Run{Job: run.Job{ID: int64(job)}}, 0)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for job := writer + 1; ctx.Err() == nil; job = (job+3)%jobs + 1 {
				next, err := l.SaveRun(context.WithoutCancel(ctx), run.Run{Job: run.Job{ID: int64(job)}}, revisions[job])
				if err != nil {
					t.Errorf("save %d: %v", job, err)
					return
				}
				revisions[job] = next
			}
		})
	}
	for range 20 {
		runs, err := l.Runs(t.Context())
		if err != nil || len(runs) != jobs {
			t.Errorf("got %d runs, %v, want %d", len(runs), err, jobs)
			break
		}
	}
	stop()
	wg.Wait()
}

func TestARecordThatCannotBeDecodedIsNamed(t *testing.T) {
	l, js, _ := listed(t)
	kv, err := js.KeyValue(t.Context(), wire.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.Put(t.Context(), wire.JobKey(9), []byte("{"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Runs(t.Context())
	want := fmt.Sprintf("decode job.9 at revision %d", revision)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestADeletedRecordIsNotListed(t *testing.T) {
	l, js, _ := listed(t)
	saveRun(t, l, run.Run{Job: run.Job{ID: 1}}, 0)
	saveRun(t, l, run.Run{Job: run.Job{ID: 2}}, 0)
	kv, err := js.KeyValue(t.Context(), wire.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), wire.JobKey(1)); err != nil {
		t.Fatal(err)
	}
	runs, err := l.Runs(t.Context())
	ids := make([]int64, 0, len(runs))
	for _, e := range runs {
		ids = append(ids, e.Record.Job.ID)
	}
	if err != nil || !slices.Equal(ids, []int64{2}) {
		t.Errorf("got %v, %v, want job 2", ids, err)
	}
}

func TestAListWithoutAServerIsAnError(t *testing.T) {
	l, _, server := listed(t)
	saveRun(t, l, run.Run{Job: run.Job{ID: 1}}, 0)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if runs, err := l.Runs(ctx); err == nil {
		t.Errorf("got %v, want an error", runs)
	}
	server.Restart(t)
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		runs, err := l.Runs(ctx)
		cancel()
		if err == nil && len(runs) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v, %v, want one run", runs, err)
		}
	}
}
