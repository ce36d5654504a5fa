// Package limit bounds what the public may use up: connections, the memory of bodies on their way in, requests at work, and
// log lines about requests that nobody vouched for. Where room or places are short, it also knows whom to refuse first: a
// source that sends much without a signature, a tenant that sends more than its rate. Until then, rates refuse nobody.
//
// What may never happen here: waiting. What is over the limit is refused at once, so that a flood costs no memory.
package limit

import (
	"sync"
	"sync/atomic"
	"time"
)

// InFlight counts requests at work, up to a maximum. It is safe for concurrent use.
type InFlight struct {
	maximum int64
	now     atomic.Int64
}

// NewInFlight returns a limit of maximum requests, at least 1.
func NewInFlight(maximum int) *InFlight { return &InFlight{maximum: int64(maximum)} }

// Enter reports whether one more request may be at work; then leave must be called once, when its work is done.
func (l *InFlight) Enter() (leave func(), ok bool) { return l.enter(l.maximum) }

// EnterBeyondRate is Enter for those who are beyond their rate: half of the places, rounded down, are kept from them.
func (l *InFlight) EnterBeyondRate() (leave func(), ok bool) { return l.enter(l.maximum - l.maximum/2) }

func (l *InFlight) enter(maximum int64) (leave func(), ok bool) {
	for {
		now := l.now.Load()
		if now >= maximum {
			return nil, false
		}
		if l.now.CompareAndSwap(now, now+1) {
			return func() { l.now.Add(-1) }, true
		}
	}
}

// Now is how many requests are at work.
func (l *InFlight) Now() int64 { return l.now.Load() }

// Sampler lets one of many like things through per interval and counts the others. It is safe for concurrent use.
type Sampler struct {
	interval time.Duration

	mu      sync.Mutex
	next    time.Time
	skipped int64
}

// NewSampler returns a sampler that lets the first thing through.
func NewSampler(interval time.Duration) *Sampler { return &Sampler{interval: interval} }

// Allow reports whether the thing at hand goes through, and if so, how many did not since the last one.
func (s *Sampler) Allow() (skipped int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		s.skipped++
		return 0, false
	}
	skipped, s.skipped = s.skipped, 0
	s.next = now.Add(s.interval)
	return skipped, true
}
