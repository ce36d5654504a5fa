package budget

import "time"

const (
	maxInFlight = 100
	// inFlightMargin is left of maxInFlight for requests whose answer nobody waits for any more, and for workers that can't tell the
	// others of theirs, which have one at a time.
	inFlightMargin = 10
	// maxFlight bounds how long a request is under way after its points were taken. Whoever calls Take keeps to it; package forge
	// ends its calls after 15 s.
	maxFlight = 20 * time.Second
	// flight is for how many slices what a worker may have under way counts after it was written down: for as long as a request takes
	// that was begun while that was fresh. A worker that dies keeps the others from its part for so long.
	flight = int64((freshFor + maxFlight + slice + slack) / slice)
	// freshFor is how long a worker may begin requests by what it has written down.
	freshFor = 2 * time.Second
	// keptShare is which part of its share a worker keeps though it has nothing under way: it is to write down less often.
	keptShare = 8
)

// flying is the record after a worker wrote down how many requests it has under way at most, from now on.
func (r record) flying(worker string, requests int, now time.Time) record {
	return r.with(record{InFlight: map[string]int{worker: requests}, Seen: map[string]int64{worker: sliceOf(now)}}, now)
}

// underWay is how many requests a worker may have under way by the record.
func (r record) underWay(worker string, now time.Time) int {
	if seen, s := r.Seen[worker], sliceOf(now); seen <= s-flight || seen >= s+window {
		return 0
	}
	return min(max(0, r.InFlight[worker]), maxInFlight)
}

// slots is how many requests a worker may have under way beside those of the others: at most its share, and none if they have all.
// A worker that has more than its share begins none until enough have ended.
func (r record) slots(worker string, now time.Time) int {
	others := 0
	for other := range r.InFlight {
		if other != worker {
			others += r.underWay(other, now)
		}
	}
	workers := record{Seen: map[string]int64{worker: sliceOf(now)}}.with(r, now).workers(now)
	return max(0, min(shareInFlight(workers), maxInFlight-inFlightMargin-others))
}

// shareInFlight is how many requests one of so many workers may have under way. One more share is nobody's, so that a worker that has
// just started need not wait until the others make room.
func shareInFlight(workers int) int { return max(1, (maxInFlight-inFlightMargin)/(workers+1)) }
