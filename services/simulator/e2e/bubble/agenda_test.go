package bubble_test

import (
	"slices"
	"time"
)

// agenda is what is to happen when. Everything on it happens in one goroutine, and takes no time but where it says so.
type agenda struct {
	began time.Time
	items []item // by time; those of one time in the order in which they were added
}

type item struct {
	at time.Duration
	do func()
}

func newAgenda() *agenda { return &agenda{began: time.Now()} }

// at has do happen so long after the agenda's beginning, or at once if that is over.
func (a *agenda) at(d time.Duration, do func()) {
	n, _ := slices.BinarySearchFunc(a.items, d, func(i item, d time.Duration) int {
		if i.at <= d {
			return -1
		}
		return 1
	})
	a.items = slices.Insert(a.items, n, item{d, do})
}

// in has do happen in d from now.
func (a *agenda) in(d time.Duration, do func()) { a.at(a.now()+d, do) }

func (a *agenda) now() time.Duration { return time.Since(a.began) }

// run lets all happen that is to happen up to the time end, and returns at end.
func (a *agenda) run(end time.Duration) {
	for len(a.items) > 0 && a.items[0].at <= end {
		next := a.items[0]
		a.items = a.items[1:]
		time.Sleep(next.at - a.now())
		next.do()
	}
	time.Sleep(end - a.now())
}
