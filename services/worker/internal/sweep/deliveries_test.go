package sweep_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/sweep"
)

// deliveries is the sweep of an App that has a webhook of its own.
func deliveries(s *sender) *sweep.Deliveries {
	return &sweep.Deliveries{Hooks: s, Cursors: s, Ledger: &world{}, Now: time.Now, Log: slog.New(slog.DiscardHandler), App: true}
}

func TestWhatWasNotDeliveredIsSentAgain(t *testing.T) {
	const day = 24 * time.Hour
	attempt := func(guid string, age time.Duration, ok bool) sweep.Delivery {
		return sweep.Delivery{GUID: guid, Event: "workflow_job", OK: ok, At: ago(age)}
	}
	often := func(guid string) (nine []sweep.Delivery) {
		for age := 10 * time.Hour; age > time.Hour; age -= time.Hour {
			nine = append(nine, attempt(guid, age, false))
		}
		return nine
	}
	tests := []struct {
		name     string
		attempts func() []sweep.Delivery // in the order of time
		again    int64                   // which is sent again, from 1
	}{
		{"an event that failed", func() []sweep.Delivery { return []sweep.Delivery{attempt("a", old, false)} }, 1},
		{"by its newest attempt", func() []sweep.Delivery {
			return []sweep.Delivery{attempt("a", time.Hour, false), attempt("a", 4*time.Minute, false)}
		}, 2},
		{"not one that arrived", func() []sweep.Delivery { return []sweep.Delivery{attempt("a", old, true)} }, 0},
		{"not one that arrived on another attempt", func() []sweep.Delivery {
			return []sweep.Delivery{attempt("a", 3*time.Hour, false), attempt("a", 2*time.Hour, true), attempt("a", time.Hour, false)}
		}, 0},
		{"not one that was just tried", func() []sweep.Delivery { return []sweep.Delivery{attempt("a", young, false)} }, 0},
		{"not one about something else", func() []sweep.Delivery {
			d := attempt("a", old, false)
			d.Event = "push"
			return []sweep.Delivery{d}
		}, 0},
		{"not four minutes after its second attempt", func() []sweep.Delivery {
			return []sweep.Delivery{attempt("a", time.Hour, false), attempt("a", 4*time.Minute-1, false)}
		}, 0},
		{"sixteen minutes after any later one", func() []sweep.Delivery { return append(often("a"), attempt("a", 16*time.Minute, false)) }, 10},
		{"and not before", func() []sweep.Delivery { return append(often("a"), attempt("a", 16*time.Minute-1, false)) }, 0},
		{"not when it is two days old", func() []sweep.Delivery { return []sweep.Delivery{attempt("a", 2*day, false)} }, 0},
		{"but until then", func() []sweep.Delivery {
			return []sweep.Delivery{attempt("a", 2*day-1, false), attempt("a", time.Hour, false)}
		}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.deliveries[0], s.cursors[0] = tt.attempts(), ago(2*24*time.Hour)
				for n := range s.deliveries[0] {
					s.deliveries[0][n].ID = int64(n + 1)
				}
				report, err := deliveries(s).RunOnce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var want []int64
				if tt.again != 0 {
					want = []int64{tt.again}
				}
				if len(want) != report.Found[sweep.Undelivered] || !slices.Equal(s.sent, want) {
					t.Errorf("sent %v, %v, want %v", s.sent, report, want)
				}
			})
		})
	}
}

func TestTheCursorStaysWithTheOldestThatIsNotSettled(t *testing.T) {
	const day = 24 * time.Hour
	failed := func(id int64, guid string, age time.Duration) sweep.Delivery {
		return sweep.Delivery{ID: id, GUID: guid, Event: "workflow_job", At: ago(age)}
	}
	with := func(failed ...sweep.Delivery) []sweep.Delivery {
		return append(failed, sweep.Delivery{ID: 999, GUID: "z", Event: "workflow_job", OK: true, At: ago(time.Minute)})
	}
	tests := []struct {
		name       string
		cursor     time.Duration // how long ago; 0 for none
		deliveries func() []sweep.Delivery
		want       time.Duration
		sent       int
	}{
		{"without any, too", day, func() []sweep.Delivery { return nil }, day, 0},
		{"with all arrived, it follows GitHub's time", day, func() []sweep.Delivery { return with() }, time.Minute + old, 0},
		{"with one, it waits", day, func() []sweep.Delivery {
			return with(failed(1, "a", time.Hour), failed(2, "b", time.Minute))
		}, time.Hour, 1},
		{"it never goes back", time.Hour, func() []sweep.Delivery {
			return []sweep.Delivery{failed(1, "a", 2*time.Hour), failed(2, "b", time.Hour)}
		}, time.Hour, 1},
		{"GitHub's memory ends after three days", 5 * day, func() []sweep.Delivery {
			return []sweep.Delivery{failed(1, "a", 3*day+1), failed(2, "b", 3*day), failed(3, "c", day)}
		}, day + old, 1},
		{"what is two days old is settled", 5 * day, func() []sweep.Delivery {
			return with(failed(1, "a", 2*day+2), failed(2, "a", 2*day+1), failed(3, "b", 2*day-1))
		}, 2*day - 1, 1},
		{"but for what is tied to what is not", 5 * day, func() []sweep.Delivery {
			return with(failed(1, "a", 2*day+1), failed(2, "b", 2*day-1), failed(3, "a", 2*day-2))
		}, 2*day + 1, 1},
		{"at first a day is looked at", 0, func() []sweep.Delivery {
			return with(failed(1, "a", day+1), failed(2, "b", day-1))
		}, day - 1, 1},
		{"sixty are sent at once", day, func() (all []sweep.Delivery) {
			for n := range int64(80) {
				all = append(all, failed(n+1, fmt.Sprint(n), time.Hour-time.Duration(n)*time.Second))
			}
			return with(all...)
		}, time.Hour, 60},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSender()
				s.deliveries[0] = tt.deliveries()
				if tt.cursor != 0 {
					s.cursors[0] = ago(tt.cursor)
				}
				report, err := deliveries(s).RunOnce(t.Context())
				if err != nil || report.Found[sweep.Undelivered] != tt.sent {
					t.Errorf("got %v, %v, want %d sent", report, err, tt.sent)
				}
				if got := time.Since(s.cursors[0]); got != tt.want {
					t.Errorf("the cursor is at %v ago, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestTheCursorStaysWhenAnythingFails(t *testing.T) {
	for _, broken := range []string{"cursor of 0", "deliveries of 0", "redeliver", "set cursor of 0"} {
		t.Run(broken, func(t *testing.T) {
			at := ago(time.Hour)
			s := newSender()
			s.fail[broken], s.cursors[0] = errAway, at
			s.deliveries[0] = []sweep.Delivery{
				{ID: 1, GUID: "a", Event: "workflow_job", At: ago(50 * time.Minute)}, {ID: 2, GUID: "b", Event: "workflow_job", At: ago(40 * time.Minute)},
			}
			report, err := deliveries(s).RunOnce(t.Context())
			if !errors.Is(err, errAway) || !s.cursors[0].Equal(at) && broken != "redeliver" {
				t.Errorf("got %v; the cursor is at %v", err, s.cursors[0])
			}
			if broken == "redeliver" && (report.Found != nil || s.cursors[0].After(ago(49*time.Minute))) {
				t.Errorf("what was not sent again is settled: %v, %v", report, s.cursors[0])
			}
		})
	}
}
