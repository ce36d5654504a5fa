package limit_test

import (
	"sync"
	"testing"

	"modal-github-runner/services/ingress/internal/limit"
)

// crowd enters bodies and notes which were cut off.
type crowd struct {
	*limit.Bodies

	off map[string]int
}

func newCrowd(entries int64) *crowd {
	return &crowd{Bodies: limit.NewBodies(entries * limit.EntryCost), off: map[string]int{}}
}

func (c *crowd) enter(t *testing.T, name string) *limit.Body {
	t.Helper()
	body, ok := c.Enter(func() { c.off[name]++ })
	if !ok {
		t.Fatalf("no room for %s", name)
	}
	return body
}

func TestWhoComesTakesThePlaceOfWhoHasBeenThereLongest(t *testing.T) {
	t.Parallel()
	c := newCrowd(2)
	first, second := c.enter(t, "first"), c.enter(t, "second")
	if len(c.off) > 0 {
		t.Errorf("%v cut off while there is room", c.off)
	}
	third := c.enter(t, "third")
	if first.Grow(1) || first.Arrived() || c.off["first"] != 1 || len(c.off) != 1 {
		t.Errorf("%v cut off, want the first, once", c.off)
	}
	if !second.Arrived() || !third.Arrived() {
		t.Error("the others were cut off, too")
	}
	first.Leave()
	second.Leave()
	third.Leave()
	if held := c.Held(); held != 0 {
		t.Errorf("%d bytes counted after all have left", held)
	}
}

func TestABodyThatGrowsPushesOutWhoeverIsOldest(t *testing.T) {
	t.Parallel()
	c := newCrowd(3)
	c.enter(t, "old")
	growing := c.enter(t, "growing")
	if !growing.Grow(limit.EntryCost) || len(c.off) != 0 {
		t.Errorf("%v cut off while there is room", c.off)
	}
	if !growing.Grow(1) || c.off["old"] != 1 {
		t.Errorf("%v cut off, want the old one", c.off)
	}
	if growing.Grow(limit.EntryCost) || growing.Arrived() || c.off["growing"] != 1 {
		t.Errorf("%v cut off, want also the one that fills the room alone", c.off)
	}
}

func TestABodyThatHasArrivedIsNotCutOff(t *testing.T) {
	t.Parallel()
	c := newCrowd(1)
	arrived := c.enter(t, "arrived")
	if !arrived.Arrived() {
		t.Fatal("cut off although alone")
	}
	if late, ok := c.Enter(func() { c.off["late"]++ }); ok && late.Arrived() {
		t.Error("there is room although what has arrived fills it")
	}
	if c.off["arrived"] != 0 || !arrived.Arrived() {
		t.Errorf("%v cut off", c.off)
	}
}

func TestThoseThatDoNotLeaveNeverHoldMoreThanTwiceTheRoom(t *testing.T) {
	t.Parallel()
	c := newCrowd(4)
	refused := 0
	for range 100 {
		if _, ok := c.Enter(func() {}); !ok {
			refused++
		}
		if held := c.Held(); held > 8*limit.EntryCost {
			t.Fatalf("%d bytes in room for %d", held, 4*limit.EntryCost)
		}
	}
	if refused != 92 {
		t.Errorf("%d refused, want all but 8", refused)
	}
}

func TestBodiesOfManyGoroutinesAddUpToNothingInTheEnd(t *testing.T) {
	t.Parallel()
	bodies := limit.NewBodies(8 * limit.EntryCost)
	var crowd sync.WaitGroup
	for range 50 {
		crowd.Go(func() {
			for range 50 {
				body, ok := bodies.Enter(func() {})
				if !ok {
					continue
				}
				for body.Grow(1000) && body.Grow(limit.EntryCost) {
					continue
				}
				body.Arrived()
				body.Leave()
			}
		})
	}
	crowd.Wait()
	if held := bodies.Held(); held != 0 {
		t.Errorf("%d bytes counted after all have left", held)
	}
}
