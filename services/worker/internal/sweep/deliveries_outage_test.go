package sweep_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/sweep"
)

// sweepEvery is how often the sweep runs.
const sweepEvery = 2 * time.Minute

// failed has GitHub fail to deliver an event now.
func (s *sender) failed(guid string) {
	s.deliveries[0] = append(s.deliveries[0], sweep.Delivery{
		ID: int64(len(s.deliveries[0]) + 1), GUID: guid, Event: "workflow_job", At: time.Now(),
	})
}

// attempts counts those to send each event; arrived, those of them that arrived.
func (s *sender) attempts() (attempts, arrived map[string]int) {
	attempts, arrived = map[string]int{}, map[string]int{}
	for _, d := range s.deliveries[0] {
		attempts[d.GUID]++
		if d.OK {
			arrived[d.GUID]++
		}
	}
	return attempts, arrived
}

func runFor(t *testing.T, d *sweep.Deliveries, span time.Duration) {
	t.Helper()
	for range span / sweepEvery {
		time.Sleep(sweepEvery)
		if _, err := d.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnEventOutlivesAnOutageOfIngress(t *testing.T) {
	const day = 24 * time.Hour
	for _, outage := range []time.Duration{4 * time.Minute, 10 * time.Minute, 20 * time.Minute, time.Hour, 6 * time.Hour, 2*day - 20*time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.failed("a")
				d := deliveries(s)
				runFor(t, d, outage)
				s.up = true
				runFor(t, d, 16*time.Minute)
				if attempts, arrived := s.attempts(); arrived["a"] != 1 {
					t.Errorf("16 minutes after the outage it had not arrived, in %v attempts", attempts)
				}
			})
		})
	}
}

// Ingress is away for a day, in which an event comes a minute. Few requests are spent on it meanwhile, by whichever leader; then
// all are sent.
func TestAnOutageIsProbedAndWhatItLeftIsSentWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		d := deliveries(s)
		const minutes = 24 * 60
		for n := range minutes {
			s.failed(fmt.Sprint(n))
			time.Sleep(time.Minute)
			if n%2 != 0 {
				if _, err := d.RunOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n%100 == 0 { // Another worker leads.
				d = deliveries(s)
			}
		}
		if most := 3 * minutes / 2; len(s.sent) > most || len(s.sent) < most/2 {
			t.Errorf("meanwhile %d were sent again, want about %d, three a run", len(s.sent), most)
		}
		s.up = true
		const enough = minutes/60 + 1 // runs, after the first, which probes
		runFor(t, d, sweepEvery*(1+enough)+16*time.Minute)
		if _, arrived := s.attempts(); len(arrived) != minutes {
			t.Errorf("%d of %d have arrived", len(arrived), minutes)
		}
		if cursor := s.cursors[0]; time.Since(cursor) > 20*time.Minute {
			t.Errorf("the cursor is at %v ago", time.Since(cursor))
		}
	})
}

// An event fails for ever. It is not sent for ever, though its own attempts are news each time, other events fail as well, and
// leaders come and go.
func TestAnEventThatAlwaysFailsIsSentForTwoDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		began := time.Now()
		s.failed("a")
		for n := range 10 { // Five days.
			runFor(t, deliveries(s), 12*time.Hour)
			s.failed(fmt.Sprint(n))
		}
		last := map[string]time.Time{}
		for _, a := range s.deliveries[0] {
			last[a.GUID] = a.At
		}
		attempts, _ := s.attempts()
		if lived := last["a"].Sub(began); lived > 48*time.Hour || lived < 47*time.Hour || attempts["a"] > 48*4+4 {
			t.Errorf("it was sent for %v, %d times", lived, attempts["a"])
		}
	})
}

func TestWhatAlwaysFailsKeepsNothingElseWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		for n := range 100 {
			s.failed(fmt.Sprint(n))
		}
		d := deliveries(s)
		runFor(t, d, 6*time.Hour)
		s.failed("new")
		runFor(t, d, sweepEvery)
		if attempts, _ := s.attempts(); attempts["new"] != 2 {
			t.Error("others were sent first")
		}
	})
}

func TestEachRepositoryOfManyIsHeardOfFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		for n := range int64(100) {
			s.failed(fmt.Sprint(n))
			s.deliveries[0][n].Repo = max(0, n-96) // Three at the end are of others than the first 97.
		}
		runFor(t, deliveries(s), 2*sweepEvery)
		if want := []int64{1, 98, 99, 2, 100, 3}; !slices.Equal(s.sent, want) {
			t.Errorf("sent %v, want %v", s.sent, want)
		}
	})
}

// The only event of a repository was a probe while ingress was away. It does not wait for all those that were none.
func TestAProbeIsNotSentAfterAllOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		for n := range 1000 {
			s.failed(fmt.Sprint(n))
		}
		s.failed("alone")
		s.deliveries[0][1000].Repo = 1
		d := deliveries(s)
		runFor(t, d, time.Hour)
		if attempts, _ := s.attempts(); attempts["alone"] < 2 {
			t.Fatal("it was no probe")
		}
		s.up = true
		runFor(t, d, 16*time.Minute)
		if _, arrived := s.attempts(); arrived["alone"] != 1 || len(arrived) > 600 {
			t.Errorf("%d have arrived, of it %d", len(arrived), arrived["alone"])
		}
	})
}

// Each worker has a clock of its own; deliveries carry GitHub's time.
func TestAClockThatIsWrongHidesNoDelivery(t *testing.T) {
	for _, skew := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				d := deliveries(s)
				d.Now = func() time.Time { return time.Now().Add(skew) }
				s.up = true
				s.deliveries[0] = []sweep.Delivery{{ID: 9, GUID: "z", Event: "workflow_job", OK: true, At: time.Now()}}
				runFor(t, d, time.Hour)
				s.failed("a")
				runFor(t, d, 10*time.Minute)
				if !slices.Equal(s.sent, []int64{2}) {
					t.Errorf("sent %v", s.sent)
				}
			})
		})
	}
}

// While an event fails, the cursor stays. What came since is not read again at each run for that, but by who does not know it.
func TestWhatIsKnownIsNotReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		s.failed("a")
		first := time.Now()
		d := deliveries(s)
		runFor(t, d, 6*time.Hour)
		if known := s.deliveries[0][len(s.deliveries[0])-2].At; s.since.Before(known.Add(-sweepEvery)) {
			t.Errorf("deliveries were read from %v ago, though those until %v ago were known", time.Since(s.since), time.Since(known))
		}
		cursor := s.cursors[0]
		if cursor.After(first) {
			t.Errorf("the cursor has passed what has not arrived, by %v", cursor.Sub(first))
		}
		runFor(t, deliveries(s), sweepEvery)
		if s.since.After(first) {
			t.Errorf("another worker has read from %v on", s.since)
		}
		s.cursors[0] = first.Add(-2 * time.Hour) // From a backup.
		runFor(t, d, sweepEvery)
		if !s.since.Equal(first.Add(-2 * time.Hour)) {
			t.Errorf("an older cursor was given back, and deliveries were read from %v on", s.since)
		}
		if attempts, _ := s.attempts(); attempts["a"] < 20 {
			t.Errorf("attempts: %v", attempts)
		}
	})
}

// unreadable has GitHub deliver an event of which ingress says that it can't be read, whenever it is sent.
func (s *sender) unreadable(guid string) {
	s.failed(guid)
	s.deliveries[0][len(s.deliveries[0])-1].Unreadable = true
}

// arrives has GitHub deliver another event.
func (s *sender) arrives(guid string) {
	s.failed(guid)
	s.deliveries[0][len(s.deliveries[0])-1].OK = true
}

// A person has a label that no runner can have, or GitHub tells of something new. It is the same whoever leads.
func TestWhatIngressCantReadIsNotSentForTwoDays(t *testing.T) {
	for _, lead := range []time.Duration{24 * time.Hour, 10 * time.Minute, sweepEvery} {
		t.Run(lead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.unreadable("a")
				began := time.Now()
				for n := range int(24 * time.Hour / lead) {
					d := deliveries(s)
					for range lead / sweepEvery {
						runFor(t, d, sweepEvery)
						s.arrives(fmt.Sprint("other-", n))
					}
				}
				last := map[string]time.Time{}
				for _, a := range s.deliveries[0] {
					last[a.GUID] = a.At
				}
				attempts, _ := s.attempts()
				// The first two were made before anything else had come.
				if took := last["a"].Sub(began); attempts["a"] != 2+5 || took > 62*time.Minute {
					t.Errorf("it was sent %d times in %v", attempts["a"], took)
				}
				if behind := time.Since(s.cursors[0]); behind > 2*sweepEvery {
					t.Errorf("the cursor is at %v ago", behind)
				}
			})
		})
	}
}

// A proxy before ingress may say of everything that it can't be read, for as long as it is not mended. Nothing is lost by that, neither where
// it says so of all nor where something comes through at last.
func TestWhatAProxyCantReadIsSentUntilItIsMended(t *testing.T) {
	for _, outage := range []time.Duration{10 * time.Minute, 6 * time.Hour, 47 * time.Hour} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.arrives("before")
				time.Sleep(time.Second)
				s.unreadable("a")
				d := deliveries(s)
				runFor(t, d, outage)
				s.arrives("after")
				s.up = true
				runFor(t, d, 16*time.Minute)
				if attempts, arrived := s.attempts(); arrived["a"] != 1 {
					t.Errorf("16 minutes later it had not arrived, in %v attempts", attempts)
				}
			})
		})
	}
}

// Other failures say nothing of the event, though others come through meanwhile, and cast doubt on what was said of it before.
func TestAnEventIsSentUnlessItIsSaidAgainAndAgainThatItCantBeRead(t *testing.T) {
	for _, unreadable := range []int{0, 4} { // of five
		synctest.Test(t, func(t *testing.T) {
			s := newSender()
			s.failed("a")
			d := deliveries(s)
			for n := range 47 * time.Hour / sweepEvery {
				runFor(t, d, sweepEvery)
				if last := len(s.deliveries[0]) - 1; s.deliveries[0][last].GUID == "a" {
					attempts, _ := s.attempts()
					s.deliveries[0][last].Unreadable = attempts["a"]%5 < unreadable
				}
				s.arrives(fmt.Sprint("other-", n))
			}
			if attempts, _ := s.attempts(); attempts["a"] < 47*3 {
				t.Errorf("with %d of five it was sent %d times", unreadable, attempts["a"])
			}
		})
	}
}
