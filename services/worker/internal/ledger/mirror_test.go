package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

const (
	runsStream = "KV_" + wire.BucketRuns
	// answers is how many messages may come for a list beside the records. Two would do.
	answers = 6
)

// saveJobs makes records of the jobs from first to last.
func saveJobs(tb testing.TB, l *ledger.Ledger, first, last int64, s run.State) {
	tb.Helper()
	for job := first; job <= last; job++ {
		saveRun(tb, l, run.Run{Job: run.Job{ID: job}, State: s}, 0)
	}
}

// held is what the mirror lists: the state of each job.
func held(t *testing.T, m *ledger.Mirror) map[int64]run.State {
	t.Helper()
	entries, err := m.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := map[int64]run.State{}
	for _, e := range entries {
		states[e.Record.Job.ID] = e.Record.State
	}
	if len(states) != len(entries) {
		t.Errorf("%d entries of %d jobs", len(entries), len(states))
	}
	return states
}

// wantHeld checks that the mirror holds what is stored, as it is found by reading it all.
func wantHeld(t *testing.T, m *ledger.Mirror, l *ledger.Ledger, jobs ...int64) {
	t.Helper()
	got := held(t, m)
	if ids := slices.Sorted(maps.Keys(got)); !slices.Equal(ids, jobs) {
		t.Errorf("jobs %v are listed, want %v", ids, jobs)
	}
	for job, state := range got {
		if r, _, err := l.LoadRun(t.Context(), job); err != nil || r.State != state {
			t.Errorf("job %d is listed as %q, but stored as %q, %v", job, state, r.State, err)
		}
	}
}

func stream(tb testing.TB, js jetstream.JetStream) jetstream.Stream {
	tb.Helper()
	s, err := js.Stream(tb.Context(), runsStream)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestAMirrorListsWhatTheLedgerListsButNoHistory(t *testing.T) {
	t.Parallel()
	l, js, _ := listed(t)
	m := ledger.NewMirror(l)
	wantHeld(t, m, l)
	want, wantRunner := filled[run.Run](t), filled[run.Runner](t)
	saveRun(t, l, want, 0)
	want.History = nil
	if _, err := l.SaveRunner(t.Context(), wantRunner, 0); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), wire.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"job.1.x", "runner.1", "runner.1.1.x", "else"} {
		if _, err := kv.PutString(t.Context(), other, "no record"); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := m.Runs(t.Context())
	if err != nil || len(runs) != 1 {
		t.Fatalf("got %v, %v, want a run", runs, err)
	}
	read, err := l.Runs(t.Context())
	if err != nil || len(read) != 1 {
		t.Fatalf("got %v, %v, want a run", read, err)
	}
	read[0].Record.History = nil
	if diff := cmp.Diff(read[0], runs[0]); diff != "" || !cmp.Equal(want, *runs[0].Record) {
		t.Errorf("the mirror's run differs from the ledger's: %s", diff)
	}
	runners, err := m.Runners(t.Context())
	if err != nil || len(runners) != 1 {
		t.Fatalf("got %v, %v, want a runner", runners, err)
	}
	readRunners, err := l.Runners(t.Context())
	if diff := cmp.Diff(readRunners, runners); diff != "" || err != nil || !cmp.Equal(wantRunner, *runners[0].Record) {
		t.Errorf("the mirror's runner differs from the ledger's: %s, %v", diff, err)
	}
}

func TestAMirrorNamesARecordThatCannotBeDecodedUntilItCan(t *testing.T) {
	t.Parallel()
	l, js, _ := listed(t)
	m := ledger.NewMirror(l)
	kv, err := js.KeyValue(t.Context(), wire.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.PutString(t.Context(), wire.JobKey(9), "{")
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Runs(t.Context())
	if want := fmt.Sprintf("decode job.9 at revision %d", revision); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if runners, err := m.Runners(t.Context()); err != nil || len(runners) != 0 {
		t.Errorf("got %v, %v, want no runners", runners, err)
	}
	saveRun(t, l, run.Run{Job: run.Job{ID: 9}, State: run.Done}, revision)
	wantHeld(t, m, l, 9)
}

func TestAListOfAMirrorWithoutABucketIsAnError(t *testing.T) {
	t.Parallel()
	l, js, _ := listed(t)
	m := ledger.NewMirror(l)
	if err := js.DeleteKeyValue(t.Context(), wire.BucketRuns); err != nil {
		t.Fatal(err)
	}
	if runs, err := m.Runs(t.Context()); err == nil || !strings.Contains(err.Error(), "consume stream KV_runs") {
		t.Errorf("got %v, %v, want an error", runs, err)
	}
}
