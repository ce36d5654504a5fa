package ledger_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
)

// hasty gives what is there by one message at a time, as if the answers to all but the first part of a question were lost.
type hasty struct {
	jetstream.JetStream

	before func() // Called before each question.
}

func (h hasty) CreateConsumer(ctx context.Context, of string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	c, err := h.JetStream.CreateConsumer(ctx, of, cfg)
	return hastyConsumer{c, h.before}, err
}

type hastyConsumer struct {
	jetstream.Consumer

	before func()
}

func (c hastyConsumer) FetchNoWait(int) (jetstream.MessageBatch, error) {
	c.before()
	return c.Consumer.FetchNoWait(1)
}

func TestAMirrorReadsOnUntilItHasSeen(t *testing.T) {
	// Jobs 1 to 3 are mirrored. Then some are stored before a list is asked for, and some before each of its first steps.
	tests := []struct {
		name         string
		before, step []int64
	}{
		{"the newest revision of each record", []int64{2, 3}, nil},
		{"a new record that changes before each step", []int64{4, 5}, []int64{5, 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, js, _ := listed(t)
			revisions := map[int64]uint64{}
			save := func(jobs ...int64) {
				for _, job := range jobs {
					revisions[job] = saveRun(t, l, run.Run{Job: run.Job{ID: job}}, revisions[job])
				}
			}
			steps := 0
			m := ledger.NewMirror(ledger.New(hasty{js, func() {
				if steps > 0 {
					steps--
					save(tt.step...)
				}
			}}))
			save(1, 2, 3)
			held(t, m)
			save(tt.before...)
			stored := maps.Clone(revisions)
			steps = 2
			entries, err := m.Runs(t.Context())
			if err != nil || len(entries) != len(stored) {
				t.Errorf("%d of %d jobs are listed, %v", len(entries), len(stored), err)
			}
			for _, e := range entries {
				if e.Revision < stored[e.Record.Job.ID] {
					t.Errorf("job %d is listed at revision %d, stored was %d", e.Record.Job.ID, e.Revision, stored[e.Record.Job.ID])
				}
			}
		})
	}
}

// stored is what the server has acknowledged.
type stored struct {
	mu        sync.Mutex
	revisions map[int64]uint64
}

func (s *stored) note(job int64, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revisions[job] = revision
}

func (s *stored) all() map[int64]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.revisions)
}

func TestAMirrorListsWhatWasStoredBeforeItWasAsked(t *testing.T) {
	t.Parallel()
	l, _, _ := listed(t)
	m := ledger.NewMirror(l)
	acknowledged := stored{revisions: map[int64]uint64{}}
	const writers, changes, lists = 4, 8, 25
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var working sync.WaitGroup
	for writer := range writers {
		working.Go(func() {
			// A new job that changes at once, again and again, is the hardest to see.
			for job := int64(writer + 1); ctx.Err() == nil; job += writers {
				revision := uint64(0)
				for range changes {
					var err error
					if revision, err = l.SaveRun(context.WithoutCancel(ctx), run.Run{Job: run.Job{ID: job}}, revision); err != nil {
						t.Errorf("save %d: %v", job, err)
						return
					}
					acknowledged.note(job, revision)
				}
			}
		})
	}
	var listing sync.WaitGroup
	for range 2 {
		listing.Go(func() {
			for n := range lists {
				before := acknowledged.all()
				entries, err := m.Runs(t.Context())
				if err != nil {
					t.Errorf("list %d: %v", n, err)
					return
				}
				listed := map[int64]uint64{}
				for _, e := range entries {
					listed[e.Record.Job.ID] = e.Revision
				}
				for job, revision := range before {
					if listed[job] < revision {
						t.Errorf("list %d has job %d at revision %d, stored before was %d", n, job, listed[job], revision)
					}
				}
			}
		})
	}
	listing.Wait()
	stop()
	working.Wait()
	jobs := slices.Sorted(maps.Keys(acknowledged.all()))
	wantHeld(t, m, l, jobs...)
}
