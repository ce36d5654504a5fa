package limit

import (
	"container/list"
	"sync"

	"golang.org/x/time/rate"
)

// Rate is a token bucket's: so many a second for good, and Burst at once after a pause. Both are at least 1.
type Rate struct {
	PerSecond int
	Burst     int
}

// mostKeys bounds each table of buckets: at most 512 bytes a key, so 2 MiB in all. A key that was not used for longer than
// all others goes first, and comes back with a full bucket: forgetting never refuses anything.
const mostKeys = 4096

// buckets are the token buckets of the keys that were used last. It is safe for concurrent use.
type buckets[K comparable] struct {
	rate Rate

	mu     sync.Mutex
	places map[K]*list.Element
	used   list.List // of *bucket[K], the one used last in front
}

type bucket[K comparable] struct {
	key    K
	tokens *rate.Limiter
}

func newBuckets[K comparable](r Rate) *buckets[K] {
	return &buckets[K]{rate: r, places: map[K]*list.Element{}}
}

// take takes a token out of the bucket of key, and reports whether there was one.
func (b *buckets[K]) take(key K) bool { return b.use(key).Allow() }

// fill lets the bucket of key never be empty again.
func (b *buckets[K]) fill(key K) { b.use(key).SetLimit(rate.Inf) }

// empty reports whether take would find nothing. It does not count as a use.
func (b *buckets[K]) empty(key K) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	place, known := b.places[key]
	if !known {
		return false
	}
	tokens := place.Value.(*bucket[K]).tokens //nolint:forcetypeassert // the list holds nothing else
	return tokens.Limit() != rate.Inf && tokens.Tokens() < 1
}

func (b *buckets[K]) use(key K) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if place, known := b.places[key]; known {
		b.used.MoveToFront(place)
		return place.Value.(*bucket[K]).tokens //nolint:forcetypeassert // the list holds nothing else
	}
	if len(b.places) == mostKeys {
		oldest := b.used.Remove(b.used.Back()).(*bucket[K]) //nolint:forcetypeassert // the list holds nothing else
		delete(b.places, oldest.key)
	}
	fresh := &bucket[K]{key, rate.NewLimiter(rate.Limit(b.rate.PerSecond), b.rate.Burst)}
	b.places[key] = b.used.PushFront(fresh)
	return fresh.tokens
}
