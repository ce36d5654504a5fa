package ledger_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

// received is how many messages come for a list, answers to questions included.
func received(t *testing.T, js jetstream.JetStream, m *ledger.Mirror) int {
	t.Helper()
	before := js.Conn().Stats().InMsgs
	held(t, m)
	return int(js.Conn().Stats().InMsgs - before)
}

// wantCheap checks that before long a list costs what has changed. The first may not: on a machine that hangs for a second,
// the client gives an answer up.
func wantCheap(t *testing.T, js jetstream.JetStream, m *ledger.Mirror, changes int, change func()) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		change()
		n := received(t, js, m)
		if n >= changes && n <= changes+answers {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("with %d changes, a list took %d messages", changes, n)
		}
	}
}

func TestAListOfAMirrorCostsWhatHasChanged(t *testing.T) {
	t.Parallel()
	l, js, _ := listed(t)
	m := ledger.NewMirror(l)
	const changes = 30
	jobs := int64(2500) // More than two batches.
	saveJobs(t, l, 1, jobs, run.Waiting)
	if n := received(t, js, m); n < int(jobs) {
		t.Errorf("the first list took %d messages, want at least %d", n, jobs)
	}
	wantCheap(t, js, m, 0, func() {})
	wantCheap(t, js, m, changes, func() {
		saveJobs(t, l, jobs+1, jobs+changes, run.Waiting)
		jobs += changes
	})
	if got := held(t, m); len(got) != int(jobs) {
		t.Errorf("%d jobs are listed, want %d", len(got), jobs)
	}
}

func TestRecordsThatGoByAgeCostAMirrorNothing(t *testing.T) {
	t.Parallel()
	l, js, _ := listed(t)
	m := ledger.NewMirror(l)
	const jobs = 100
	saveJobs(t, l, 1, jobs, run.Waiting)
	held(t, m)
	gone := uint64(0)
	wantCheap(t, js, m, 0, func() {
		if gone++; gone == jobs/2 {
			t.Fatalf("each list was dear, though only one record of %d had gone", jobs)
		}
		if err := stream(t, js).Purge(t.Context(), jetstream.WithPurgeSequence(gone+1)); err != nil {
			t.Fatal(err)
		}
	})
	if got := held(t, m); len(got) != jobs-int(gone) {
		t.Errorf("%d jobs are listed, want %d without the first %d", len(got), jobs, gone)
	}
	if err := stream(t, js).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := ledger.NewMirror(l) // It never sees the last revision.
	wantHeld(t, late, l)
	wantCheap(t, js, late, 0, func() {})
}

func TestAMirrorThatLostWhatCameLastIsWholeOnceMore(t *testing.T) {
	t.Parallel()
	l, js, _ := listed(t)
	m := ledger.NewMirror(l)
	const jobs = 100
	saveJobs(t, l, 1, jobs-1, run.Waiting)
	held(t, m)
	saveJobs(t, l, jobs, jobs, run.Waiting)
	if _, err := feedOf(t, js).Next(jetstream.FetchMaxWait(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := held(t, m); len(got) != jobs {
			t.Errorf("%d jobs are listed, want %d", len(got), jobs)
		}
	}
	wantCheap(t, js, m, 0, func() {})
}

func TestAMirrorThatForgotBeginsAnew(t *testing.T) {
	t.Parallel()
	l, js, _ := listed(t)
	m := ledger.NewMirror(l)
	const jobs = 100
	saveJobs(t, l, 1, jobs, run.Waiting)
	m.Forget() // There is nothing yet.
	for range 2 {
		if n := received(t, js, m); n < jobs {
			t.Errorf("a list took %d messages, want at least %d", n, jobs)
		}
		m.Forget()
	}
	if got := held(t, m); len(got) != jobs {
		t.Errorf("%d jobs are listed, want %d", len(got), jobs)
	}
}
