package forge

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

func TestAnOriginIsKnownForAWhileAndOnlySoMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var known origins
		asked := 0
		get := func(key string) {
			if _, err := known.get(t.Context(), key, func() (run.Origin, error) { asked++; return run.Origin{}, nil }); err != nil {
				t.Error(err)
			}
		}
		want := func(what string, n int) {
			t.Helper()
			if asked != n {
				t.Errorf("%s, it was asked %d times, want %d", what, asked, n)
			}
			asked = 0
		}
		get("o/r/1")
		get("O/r/1")
		want("for one", 1)
		time.Sleep(knownFor - time.Nanosecond)
		get("o/r/1")
		want("just before it is old", 0)
		time.Sleep(time.Nanosecond)
		get("o/r/1")
		want("once it is old", 1)
		for n := range maxKnown - 1 {
			get(fmt.Sprint("o/r/more-", n))
		}
		want("for as many more as there is room for", maxKnown-1)
		get("o/r/1")
		want("when all are known", 0)
		get("o/r/another")
		want("for one too many", 1)
		if n := len(known.known); n != maxKnown {
			t.Errorf("%d are known, want %d", n, maxKnown)
		}
		time.Sleep(knownFor)
		get("o/r/later")
		if n := len(known.known); n != 1 {
			t.Errorf("%d are known though all but one are old", n)
		}
	})
}
