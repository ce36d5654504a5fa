package limit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/ingress/internal/limit"
)

func TestInFlightRefusesWhatIsOverTheMaximum(t *testing.T) {
	t.Parallel()
	l := limit.NewInFlight(2)
	leave, first := l.Enter()
	_, second := l.Enter()
	_, third := l.Enter()
	if !first || !second || third || l.Now() != 2 {
		t.Errorf("entered %t %t %t, now %d", first, second, third, l.Now())
	}
	leave()
	if _, again := l.Enter(); !again {
		t.Error("no room after one has left")
	}
}

func TestHalfOfThePlacesAreKeptFromThoseBeyondTheirRate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ maximum, want int }{
		"an even number":           {4, 2},
		"an odd number":            {5, 3},
		"a single one is not kept": {1, 1},
	} {
		l, got := limit.NewInFlight(test.maximum), 0
		for range test.maximum {
			if _, ok := l.EnterBeyondRate(); ok {
				got++
			}
		}
		if got != test.want {
			t.Errorf("%s: %d of %d entered, want %d", name, got, test.maximum, test.want)
		}
		for range test.maximum - test.want {
			if _, ok := l.Enter(); !ok {
				t.Errorf("%s: no place for others", name)
			}
		}
		if _, ok := l.Enter(); ok {
			t.Errorf("%s: more places than there are", name)
		}
	}
}

func TestSamplerLetsOneThroughPerIntervalAndCountsTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limit.NewSampler(time.Second)
		expect := func(skipped int64, ok bool) {
			t.Helper()
			if gotSkipped, gotOK := s.Allow(); gotSkipped != skipped || gotOK != ok {
				t.Errorf("Allow() = %d, %t", gotSkipped, gotOK)
			}
		}
		expect(0, true)
		expect(0, false)
		expect(0, false)
		time.Sleep(time.Second)
		expect(2, true)
		time.Sleep(time.Second)
		expect(0, true)
	})
}
