package budget

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// epoch is the start of a slice.
var epoch = time.Unix(1_767_323_045, 0)

func at(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }

// spent is a record of takings by worker w, given as pairs of a time in seconds and points.
func spent(pairs ...float64) (r record) {
	for n := 0; n < len(pairs); n += 2 {
		r = r.granted("w", int(pairs[n+1]), at(pairs[n]), at(pairs[n]))
	}
	return r
}

func TestRoom(t *testing.T) {
	tests := []struct {
		name   string
		record record
		lane   Lane
		at     float64
		want   int
	}{
		{"launches may take all of a minute's points", record{}, Launch, 0, 900},
		{"deletes leave a third of them", record{}, Delete, 0, 600},
		{"sweeps leave two thirds", record{}, Sweep, 0, 300},
		{"who is not known leaves as much", record{}, "other", 0, 300},
		{"what is taken is gone, for any lane", spent(0, 450), Launch, 1, 450},
		{"a lane of which more than its part is taken has none", spent(0, 450), Sweep, 1, 0},
		{"points count for a minute, their slice and the slack", spent(0.2, 900), Launch, 61.24, 0},
		{"and are free then", spent(0.2, 900), Launch, 61.25, 900},
		{"each slice is free in its turn", spent(0, 300, 30, 600), Launch, 62, 300},
		{"a stop leaves no room", record{}.halted(at(60), at(0)), Launch, 59, 0},
		{"a stop ends", record{}.halted(at(60), at(0)), Delete, 60, 600},
		{"for looking, too", record{}.halted(at(60), at(0)), Sweep, 60, 300},
		{"launches leave the first moment after it to the others", record{}.halted(at(60), at(0)), Launch, 62.75, 0},
		{"and may go then", record{}.halted(at(60), at(0)), Launch, 63, 900},
		{"it is not forgotten in that moment", spent(0, 10).halted(at(60), at(0)).granted("w", 1, at(61), at(61)), Launch, 62, 0},
		{"a stop of a day is one of an hour", record{}.halted(at(86400), at(0)), Delete, 3900, 600},
		{"a stop that nobody can have written is none", record{Stop: at(86400)}, Launch, 0, 900},
		{"points that nobody can have taken yet do not count", spent(600, 900), Launch, 0, 900},
		{"those of a clock that is a little ahead do", spent(5, 900), Launch, 0, 0},
		{"more than there can be leaves none", record{Spent: map[int64]int{sliceOf(at(0)): 5000}}, Launch, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.record.room(tt.lane, at(tt.at)); got != tt.want {
				t.Errorf("got %d points, want %d", got, tt.want)
			}
		})
	}
}

func TestFreeAt(t *testing.T) {
	tests := []struct {
		name   string
		record record
		lane   Lane
		points int
		want   float64
	}{
		{"at once if there is room", spent(0, 895), Launch, 5, 10},
		{"when the first slice goes that suffices", spent(0, 3, 2, 2, 4, 895), Launch, 5, 63.25},
		{"later for a lane that leaves more", spent(0, 300, 5, 300, 10, 300), Sweep, 1, 71.25},
		{"not before a stop ends", spent(0, 300).halted(at(50), at(5)), Delete, 5, 50},
		{"a moment later for launches", spent(0, 300).halted(at(50), at(5)), Launch, 5, 53},
		{"nor before there is room after it", spent(0, 900).halted(at(50), at(5)), Launch, 5, 61.25},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.record.freeAt(tt.lane, tt.points, at(10))
			if !got.Equal(at(tt.want)) {
				t.Errorf("got %v, want %v", got.Sub(epoch), at(tt.want).Sub(epoch))
			}
			if room := tt.record.room(tt.lane, got); room < tt.points {
				t.Errorf("there is room for %d points then", room)
			}
		})
	}
}

func TestHour(t *testing.T) {
	tests := []struct {
		name      string
		remaining int
		resets    float64
		want      string // the lanes that get nothing
	}{
		{"all may ask while much remains", 2501, 60, "[]"},
		{"sweeps leave half", 2500, 60, "[sweep]"},
		{"deletes leave a fifth", 1000, 60, "[delete sweep]"},
		{"launches leave nothing", 1, 60, "[delete sweep]"},
		{"nothing is nothing", 0, 60, "[launch delete sweep]"},
		{"what was said of an hour that is over", 0, 0, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hour{limit: 5000, remaining: tt.remaining, resets: at(tt.resets)}
			none := []Lane{}
			for _, l := range []Lane{Launch, Delete, Sweep} {
				if h.keeps(l, at(0)) {
					none = append(none, l)
				}
			}
			if got := fmt.Sprint(none); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestWhoMustWaitComesBackInTurn(t *testing.T) {
	const workers = 4
	var queues [workers]queue
	for n := range queues {
		queues[n].last = map[string]time.Time{}
	}
	perMinute := map[int]int{}
	first := at(60).Add(-early)
	for n := range 6000 {
		back := queues[n%workers].next(at(0), at(60), Request{Points: 5}, workers, 0.5)
		if back.Before(first) || back.After(first.Add(maxQueue)) {
			t.Fatalf("number %d is to come back after %v", n, back.Sub(epoch))
		}
		perMinute[int(back.Sub(first).Minutes())]++
	}
	// Six times as many as there is room for, for five minutes; the others somewhere in the second half of them.
	if perMinute[0] != 1080 || perMinute[1] != 1080 || perMinute[3] != 1080+600 || perMinute[4] != 1080 {
		t.Errorf("by minute: %v", perMinute)
	}
	if again := queues[0].next(at(7199), at(7200), Request{Points: 5}, 1, 0); !again.Equal(at(7199)) {
		t.Errorf("after hours the first of a new queue comes back at %v, want at once", again.Sub(epoch))
	}
}

// arrival is when GitHub counts a request.
type arrival struct {
	at     time.Time
	points int
}

// within fails if any sixty seconds saw more than the limit.
func within(t *rapid.T, arrivals []arrival) {
	for _, end := range arrivals {
		sum := 0
		for _, a := range arrivals {
			if age := end.at.Sub(a.at); age >= 0 && age < time.Minute {
				sum += a.points
			}
		}
		if sum > 900 {
			t.Fatalf("%d points in the minute until %v", sum, end.at.Sub(epoch))
		}
	}
}

// Workers that race for one record, each with an old copy of it, a clock that is a little wrong, and requests that take a
// while to arrive, stay within GitHub's limit in any sixty seconds, and no lane takes of what it leaves to others. Some of what they take
// will be free only soon, and they wait for it.
func TestNoMinuteExceedsTheLimitWhoeverTakes(t *testing.T) {
	const clockError, delay = 100, 800 // milliseconds; together within slack
	rapid.Check(t, func(t *rapid.T) {
		type worker struct {
			clock    time.Duration
			known    record
			revision int
		}
		workers := make([]worker, rapid.IntRange(1, 5).Draw(t, "workers"))
		for n := range workers {
			workers[n].clock = time.Duration(rapid.IntRange(-clockError, clockError).Draw(t, "clock")) * time.Millisecond
		}
		var shared record
		var revision int
		var arrivals []arrival
		now := epoch
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "pause")) * time.Millisecond)
			n := rapid.IntRange(0, len(workers)-1).Draw(t, "worker")
			lane := rapid.SampledFrom([]Lane{Launch, Launch, Delete, Sweep}).Draw(t, "lane")
			wanted := rapid.IntRange(1, 600).Draw(t, "points")
			w := &workers[n]
			clock := now.Add(w.clock)
			// soon is from when how many points may be taken.
			soon := func() (from time.Time, points int) {
				from = clock
				if free := w.known.freeAt(lane, wanted, clock); !free.After(clock.Add(lane.patience())) {
					from = free
				}
				return from, min(wanted, w.known.room(lane, from))
			}
			for from, points := soon(); points > 0; {
				if w.revision != revision { // Somebody else was faster.
					w.known, w.revision = shared, revision
					from, points = soon()
					continue
				}
				sent := from.Add(-w.clock)
				counted := 0
				for _, a := range arrivals {
					if sent.Sub(a.at) < time.Minute {
						counted += a.points
					}
				}
				if left, _ := lane.leaves(); counted+points > 900-left {
					t.Fatalf("%s takes %d points beside %d", lane, points, counted)
				}
				shared, revision = w.known.granted(fmt.Sprint(n), points, from, clock), revision+1
				w.known, w.revision = shared, revision
				late := time.Duration(rapid.IntRange(0, delay).Draw(t, "delay")) * time.Millisecond
				arrivals = append(arrivals, arrival{sent.Add(late), points})
				break
			}
		}
		within(t, arrivals)
	})
}

// Workers that can't tell each other what they take, since NATS is away, stay within the limit too if each knows the record
// as it was written last.
func TestWorkersAloneStayWithinTheLimitTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var shared record
		var arrivals []arrival
		workers := rapid.IntRange(1, 6).Draw(t, "workers")
		now := epoch
		for n := range workers {
			now = now.Add(time.Duration(rapid.IntRange(0, 10_000).Draw(t, "pause")) * time.Millisecond)
			points := min(rapid.IntRange(1, 500).Draw(t, "points"), shared.room(Launch, now))
			shared = shared.granted(fmt.Sprint(n), points, now, now)
			arrivals = append(arrivals, arrival{now, points})
		}
		alone := make([]record, workers)
		for end := now.Add(4 * time.Minute); now.Before(end); {
			n := rapid.IntRange(0, workers-1).Draw(t, "worker")
			points := min(rapid.IntRange(1, 300).Draw(t, "points"), max(0, shared.fair(alone[n], Launch, now)))
			alone[n] = alone[n].granted(fmt.Sprint(n), points, now, now)
			arrivals = append(arrivals, arrival{now, points})
			now = now.Add(time.Duration(rapid.IntRange(0, 5_000).Draw(t, "pause")) * time.Millisecond)
		}
		within(t, arrivals)
	})
}

// Whatever a record says, it neither gives more than GitHub does nor holds launches up for longer than GitHub can.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"spent":{"7069292180":900},"seen":{"a":7069292180},"stop":"2026-01-02T03:05:00Z"}`))
	f.Add([]byte(`{"spent":{"7069292180":-9000,"7069292181":9223372036854775807,"7069292182":1}}`))
	f.Add([]byte(`{"seen":{"":9223372036854775807},"stop":"9999-12-31T23:59:59Z"}`))
	f.Add([]byte(`{"seen":{"a":7069292180,"b":7069292180},"in_flight":{"a":9223372036854775807,"b":-9000,"c":90}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r record
		if json.Unmarshal(text, &r) != nil {
			return
		}
		for _, r := range []record{r, r.granted("w", 5, epoch, epoch), r.granted("w", 5, at(2), epoch), r.halted(at(60), epoch)} {
			room, workers, free := r.room(Launch, epoch), r.workers(epoch), r.freeAt(Launch, 5, epoch)
			if room < 0 || room > 900 || workers < 1 || free.Before(epoch) || free.After(epoch.Add(2*maxStop+2*time.Minute+10*time.Second)) {
				t.Errorf("room for %d, %d workers, free after %v", room, workers, free.Sub(epoch))
			}
			if slots := r.slots("w", epoch); slots < 0 || slots > 45 {
				t.Errorf("%d requests at once", slots)
			}
			if slots := r.slots("w", epoch.Add(maxFlight+2*time.Minute)); slots != 45 {
				t.Errorf("%d requests at once after two minutes in which nobody wrote, want 45", slots)
			}
		}
	})
}
