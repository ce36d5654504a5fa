package places_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		js := server.JetStream(t)
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

// A server takes messages of 1 MB, and JSON of so many places has four.
func TestTwentyThousandPlacesAreOneRecord(t *testing.T) {
	const many = 20_000
	b := books(t, 1)[0]
	rnd := rand.New(rand.NewPCG(1, 2))
	full := places.Record{Held: map[string]places.Place{}, Turns: map[places.Scope]int64{"repo/acme/web": many}, Turn: many}
	for range many {
		a := ask(fmt.Sprintf("service-%d", rnd.IntN(500)), 57_000_000_000+rnd.Int64N(1_000_000_000))
		a.Price = 0.00003942
		full.Held[a.Runner] = places.Place{Ask: a, Since: start.Add(time.Duration(rnd.Int64N(int64(time.Hour))))}
	}
	if _, err := b.Change(t.Context(), func(places.Record) places.Record { return full }); err != nil {
		t.Fatal(err)
	}
	got, _, err := b.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Error(diff)
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
