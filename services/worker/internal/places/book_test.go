package places_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
	"modal-github-runner/services/worker/internal/places"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// books are so many workers' books, on one server.
func books(t *testing.T, n int) []*places.Book {
	t.Helper()
	server := natstest.Start(t)
	var all []*places.Book
	for range n {
		conn, err := nats.Connect(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 {
			if _, err := natsx.Ensure(t.Context(), js, wire.JobsTopology([]string{wire.DefaultPool})); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, places.NewBook(js))
	}
	return all
}

func TestRacingWorkersGiveNoPlaceTwice(t *testing.T) {
	const workers, launches, most = 4, 25, 10
	how := rules{Fleet: upTo(most)}
	var racing sync.WaitGroup
	var got atomic.Int64
	all := books(t, workers)
	for n, b := range all {
		for i := range launches {
			racing.Go(func() {
				a := ask("web", int64(n*launches+i+1))
				var refused *places.Obstacle
				_, err := b.Change(t.Context(), func(r places.Record) places.Record {
					var after places.Record
					after, refused = r.Take(a, how, time.Now())
					return after
				})
				switch {
				case err != nil:
					t.Error(err)
				case refused == nil:
					got.Add(1)
				}
			})
		}
	}
	racing.Wait()
	r, _, err := all[0].Read(t.Context())
	if err != nil || got.Load() != most || len(r.Held) != most {
		t.Errorf("%d took a place, %d on record, %v; want %d", got.Load(), len(r.Held), err, most)
	}
}

func TestAChangeThatChangesNothingWritesNothing(t *testing.T) {
	b := books(t, 1)[0]
	take := func(r places.Record) places.Record {
		after, _ := r.Take(ask("web", 1), rules{}, start)
		return after
	}
	first, err := b.Change(t.Context(), take)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Change(t.Context(), take); err != nil || again != first {
		t.Errorf("revision %d, %v; want %d", again, err, first)
	}
}

// BenchmarkTake is one place taken and given back, while so many are held.
func BenchmarkTake(b *testing.B) {
	for _, held := range []int{0, 100, 1000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			r := places.Record{}
			for n := range held {
				r, _ = r.Take(ask(fmt.Sprintf("repo%d", n%50), int64(n+1)), rules{}, start)
			}
			how := rules{Fleet: upTo(held + 1)}
			for b.Loop() {
				after, o := r.Take(ask("web", 1_000_000), how, start)
				if o != nil {
					b.Fatal(o)
				}
				after.Free("1000000.1", start)
			}
		})
	}
}
