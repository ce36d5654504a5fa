package exact

import (
	"container/heap"
	"time"
)

// epoch is when each story begins. It lies so far ahead that no timer that the code under simulation sets on the real
// clock, for a deadline of the virtual one, ever fires.
func epoch() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) }

// engine is virtual time: what is to happen, in order.
type engine struct {
	now    time.Duration // since epoch
	serial uint64
	due    agenda
	// Steps counts what has happened.
	steps int
}

// item is something that happens at a time. Of two at one time the earlier asked for comes first.
type item struct {
	at     time.Duration
	serial uint64
	do     func()
}

type agenda []item //nolint:recvcheck // as heap.Interface has it

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].serial < a[j].serial
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push is of heap.Interface.
func (a *agenda) Push(x any) { *a = append(*a, x.(item)) } //nolint:forcetypeassert // nothing else is pushed

// Pop is of heap.Interface.
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1] = item{}
	*a = (*a)[:len(*a)-1]
	return last
}

// after has do happen in d.
func (e *engine) after(d time.Duration, do func()) {
	e.serial++
	heap.Push(&e.due, item{at: e.now + max(0, d), serial: e.serial, do: do})
}

// run lets happen what is due until then.
func (e *engine) run(until time.Duration) {
	for len(e.due) > 0 && e.due[0].at <= until {
		next := heap.Pop(&e.due).(item) //nolint:forcetypeassert // nothing else is pushed
		e.now = next.at
		e.steps++
		next.do()
	}
	e.now = max(e.now, until)
}

// time is the virtual wall clock.
func (e *engine) time() time.Time { return epoch().Add(e.now) }

// dice is a stream of chance: splitmix64, whose streams are independent whatever their seeds.
type dice struct{ state uint64 }

// newDice is the stream of so many parts.
func newDice(parts ...uint64) *dice {
	d := &dice{}
	for _, p := range parts {
		d.state = d.next() ^ p
	}
	return d
}

func (d *dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Uint64 makes it a rand.Source.
func (d *dice) Uint64() uint64 { return d.next() }

// below is a number from 0 to n-1.
func (d *dice) below(n int) int { return int(d.next() % uint64(n)) } //nolint:gosec // n is above zero and small

// chance is true so often.
func (d *dice) chance(p float64) bool { return float64(d.next()>>11)/(1<<53) < p }

// between is a duration from a to b.
func (d *dice) between(a, b time.Duration) time.Duration {
	return a + time.Duration(d.next()%uint64(b-a+1)) //nolint:gosec // b is not below a
}
