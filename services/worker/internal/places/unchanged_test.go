package places_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

// Each record shares maps with those that it was made of, which others may read at the same time.
func TestWhatIsMadeOfARecordChangesNothingInIt(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	how := rules{USD: 0.001, Timeout: time.Hour, StartLimit: time.Minute, Fleet: upTo(6), Rates: map[string]float64{"default": 2}}
	now := time.Date(2026, 1, 2, 23, 0, 0, 0, time.UTC)
	said := func(r places.Record) string {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var r places.Record
	for n := range 1500 {
		now = now.Add(time.Duration(rnd.IntN(5000)) * time.Millisecond)
		a := ask(fmt.Sprintf("octo/%d", rnd.IntN(3)), rnd.Int64N(12))
		waiting := []places.Waiting{}
		for job := range rnd.Int64N(5) {
			w := ask(fmt.Sprintf("octo/%d", rnd.IntN(3)), job)
			w.Runner = ""
			waiting = append(waiting, places.Waiting{Ask: w, QueuedAt: now})
		}
		changes := []func() places.Record{
			func() places.Record { after, _ := r.Take(a, how, now); return after },
			func() places.Record { after, _ := r.Proceed(a, how, now); return after },
			func() places.Record { after, _ := r.Serve(waiting, how, now); return after },
			func() places.Record { after, _ := r.Free(a.Runner, now); return after },
			func() places.Record { return r.Adopt(a, now) },
			func() places.Record { return r.Pause(places.PoolScope("default"), rnd.IntN(4) == 0, now) },
			func() places.Record { return r.Created("default") },
			func() places.Record { return r.Started("default") },
			func() places.Record { return r.Exhausted("default", now) },
			func() places.Record { return r.Failed("default", a.Runner, "boom", rnd.IntN(9) == 0, now) },
			func() places.Record { return r.Errored("default", a.Runner, "boom", now) },
			func() places.Record { return r.Unready("default", "boom", now) },
			func() places.Record {
				r.Positions(waiting, how, now)
				r.Obstacles(waiting, how, now)
				r.Uses(waiting, []string{"default"}, how, now)
				return r
			},
		}
		if rnd.IntN(3) > 0 {
			a.Spec = spec
		}
		one := func(r places.Record) (some string) { // of the warm ones
			for name := range r.Warm {
				some = name
			}
			return some
		}
		wishes := []places.Wish{wish("default", rnd.IntN(4))}
		changes = append(changes,
			func() places.Record { after, _ := r.TakeWarm(a, how, now); return after },
			func() places.Record { return r.Claim(a, now) },
			func() places.Record { return r.Discard(a.Runner) },
			func() places.Record { return r.Trim(wishes, how, now) },
			func() places.Record { after, _ := r.Fill(wishes, 2, how, now); return after },
			func() places.Record { return r.Made(one(r), "sb-1") },
			func() places.Record { return r.Waits(one(r), "sb-"+one(r)) },
			func() places.Record { return r.Spoilt(one(r), "boom", now) },
			func() places.Record { return r.Unmade(one(r)) },
			func() places.Record { return r.Over(one(r), now) },
			func() places.Record { return r.Crowded("default", now) },
		)
		before, which := said(r), rnd.IntN(len(changes))
		var after places.Record
		for k, change := range changes { // Each of them, and the record goes on with what one of them made.
			made := change()
			if got := said(r); got != before {
				t.Fatalf("step %d: change %d makes of\n%s\nthe record\n%s", n, k, before, got)
			}
			if k == which {
				after = made
			}
		}
		r = after
	}
}
