package budget

import (
	"maps"
	"slices"
	"time"
)

// Lane says what a request is for. Lanes take from one budget; the less urgent ones leave a part of it to the others.
type Lane string

// The lanes, the most urgent first.
const (
	// Launch is for what a waiting job needs.
	Launch Lane = "launch"
	// Delete is for removing registrations. GitHub does that itself, a day later.
	Delete Lane = "delete"
	// Sweep is for looking: whatever was not seen now is seen later.
	Sweep Lane = "sweep"
)

// Request is what one request to GitHub needs.
type Request struct {
	Lane   Lane
	Points int
	// Of is whose it is, such as the repository's whose job it is for: while there is no room, each has turns of its own.
	Of string
}

// pointsPerMinute is what GitHub grants a caller (docs.github.com, "Rate limits for the REST API").
const pointsPerMinute = 900

const (
	// slice is how finely the minute is told. Points that were taken in a slice are free again a minute after its end.
	slice = 250 * time.Millisecond
	// slack is what may lie between the taking of points and GitHub's counting of them: the write of the record (at most
	// callTimeout), the request's way to GitHub, and a clock that was not read right.
	slack = time.Second
	// window is for how many slices points count. It costs 1.25 s in 60, or 2 % of the budget.
	window = int64((time.Minute + slice + slack) / slice)
	// maxStop bounds what GitHub's word can stop: its longest limit is an hour's.
	maxStop = 65 * time.Minute
	// headStart is how long after a stop launches wait on. If one of those that come then is refused, all stop again for a minute:
	// without it, one stop after the other would keep the other lanes out for as long as GitHub refuses launches. It costs launches
	// 5 % of the time in which they are stopped by the minute. A whole second and the two that a put-off message takes fit into it.
	headStart = 3 * time.Second
)

const (
	// eagerness is how many times as many are told to come back as there will be points for. Some never come, since their
	// job was served by another's runner, and whose turn comes while there is room is a matter of chance; points that wait for
	// somebody are lost. Who comes in vain costs a few writes of the ledger.
	eagerness = 6
	// early is how long before there is room the first are told to come back, and for how long launches wait for it, with their points
	// written down as taken: who comes is scheduled for a whole second, and points that nobody takes when they are free are lost.
	early = 2 * time.Second
	// maxQueue bounds how long after that somebody is told to come back: those before may come no more.
	maxQueue = 5 * time.Minute
)

// leaves is what the lane leaves of a minute's points, and which share of the hour's requests, to more urgent ones.
//
// Of 900 points, deletes leave 300, which are 60 launches a minute at 5 points each; 600 are 100 deletes a minute, each with
// the look for its id. Sweeps leave 600, which are 120 launches; 300 are as many pages of up to 100 entries. An installation
// has at least 5,000 requests an hour, which launches alone can use up in half of it, at 180 a minute.
func (l Lane) leaves() (points int, ofHour float64) {
	switch l {
	case Launch:
		return 0, 0
	case Delete:
		return 300, 0.2
	case Sweep:
	}
	return 600, 0.5
}

// patience is for how long a request of the lane waits for points.
func (l Lane) patience() time.Duration {
	if l == Launch {
		return early
	}
	return 0
}

// record is what workers share about one caller. All its times are the NATS server's. It is never changed in place.
type record struct {
	// Spent are points by the slice for which they were taken, counted from 1970.
	Spent map[int64]int `json:"spent,omitempty"`
	// Seen is, by worker, in which slice it wrote here last.
	Seen map[string]int64 `json:"seen,omitempty"`
	// InFlight is, by worker, how many requests it has under way at most.
	InFlight map[string]int `json:"in_flight,omitempty"`
	// Stop is until when GitHub wants to be left alone.
	Stop time.Time `json:"stop,omitzero"`
}

func sliceOf(t time.Time) int64 { return t.UnixMilli() / slice.Milliseconds() }

func startOf(s int64) time.Time { return time.UnixMilli(s * slice.Milliseconds()) }

// counts reports whether what was written down in slice s still counts in slice now. What is further ahead than any clock
// can be comes of a clock that was wrong.
func counts(s, now int64) bool { return s > now-window && s < now+window }

// used is how many points count.
func (r record) used(now time.Time) (points int) {
	for s := range r.Spent {
		if counts(s, sliceOf(now)) {
			points += r.in(s)
		}
	}
	return points
}

// in is how many points were taken in a slice. What can't be true does not make it less or more than can be.
func (r record) in(s int64) int { return min(max(0, r.Spent[s]), pointsPerMinute) }

// workers is how many workers share the budget, at least one.
func (r record) workers(now time.Time) (n int) {
	for _, s := range r.Seen {
		if counts(s, sliceOf(now)) {
			n++
		}
	}
	return max(1, n)
}

// stopOver is when the lane may go on after a stop.
func (r record) stopOver(lane Lane) time.Time {
	if lane == Launch {
		return r.Stop.Add(headStart)
	}
	return r.Stop
}

// stopped reports whether GitHub wants to be left alone, or other lanes go first.
func (r record) stopped(lane Lane, now time.Time) bool {
	over := r.stopOver(lane)
	return over.After(now) && over.Before(now.Add(2*maxStop))
}

// room is how many points the lane may take.
func (r record) room(lane Lane, now time.Time) int {
	if r.stopped(lane, now) {
		return 0
	}
	left, _ := lane.leaves()
	return max(0, pointsPerMinute-left-r.used(now))
}

// fair is how many points the lane of one worker may take that can't tell the others, who may do the same with the same
// record for as long as that lasts. Together they take no more than what the record leaves. alone are the points that the
// worker has taken so.
func (r record) fair(alone record, lane Lane, now time.Time) int {
	return r.room(lane, now)/max(1, len(r.Seen)) - alone.used(now)
}

// freeAt is the time at which the lane may take so many points if nobody takes any before.
func (r record) freeAt(lane Lane, points int, now time.Time) time.Time {
	at := now
	if r.stopped(lane, now) {
		at = r.stopOver(lane)
	}
	left, _ := lane.leaves()
	lacking := points - (pointsPerMinute - left - r.used(at))
	for _, s := range slices.Sorted(maps.Keys(r.Spent)) {
		if lacking > 0 && counts(s, sliceOf(at)) {
			lacking -= r.in(s)
			at = startOf(s + window)
		}
	}
	return at
}

// granted is the record after a worker took so many points, to be used from then on.
func (r record) granted(worker string, points int, from, now time.Time) record {
	return r.with(record{Spent: map[int64]int{sliceOf(from): points}, Seen: map[string]int64{worker: sliceOf(now)}}, now)
}

// halted is the record after GitHub said to stop.
func (r record) halted(until, now time.Time) record {
	if latest := now.Add(maxStop); until.After(latest) {
		until = latest
	}
	return r.with(record{Stop: until}, now)
}

// with is the record and what another adds to it, without what counts no more.
func (r record) with(other record, now time.Time) record {
	sum := record{Spent: map[int64]int{}, Seen: map[string]int64{}, InFlight: map[string]int{}}
	for _, part := range []record{r, other} {
		for s := range part.Spent {
			if counts(s, sliceOf(now)) {
				sum.Spent[s] += part.in(s)
			}
		}
		for worker, s := range part.Seen {
			if counts(s, sliceOf(now)) {
				sum.Seen[worker] = max(sum.Seen[worker], s)
			}
		}
		for worker := range part.InFlight {
			sum.InFlight[worker] = part.underWay(worker, now)
		}
		if part.stopped(Launch, now) && part.Stop.After(sum.Stop) { // Launches are stopped the longest.
			sum.Stop = part.Stop
		}
	}
	maps.DeleteFunc(sum.InFlight, func(_ string, requests int) bool { return requests == 0 })
	return sum
}

// queue spreads those who found no room, so that they come back one after the other and not all at once. It is as many queues as there
// are whose requests wait, which come back side by side: a single one is not behind another's thousand.
type queue struct{ last map[string]time.Time }

// next is when the next one, who asked for r, is to come back. There is room from free on; each of the workers has a queue of its own.
// rnd is uniform in [0, 1).
func (q *queue) next(now, free time.Time, r Request, workers int, rnd float64) time.Time {
	first := free.Add(-early)
	if first.Before(now) {
		first = now
	}
	maps.DeleteFunc(q.last, func(_ string, last time.Time) bool { return !last.After(first) })
	last, waits := q.last[r.Of]
	if !waits {
		last = first
		q.last[r.Of] = first
	}
	pace := time.Minute * time.Duration(r.Points*workers*len(q.last)) / (pointsPerMinute * eagerness)
	if last.Add(pace).Sub(first) > maxQueue {
		return first.Add(maxQueue/2 + time.Duration(rnd*float64(maxQueue/2)))
	}
	q.last[r.Of] = last.Add(pace)
	return last.Add(time.Duration(rnd * float64(pace)))
}

// hour is what GitHub last said of the requests that it grants a caller until they are counted anew.
type hour struct {
	limit, remaining int
	resets           time.Time
}

// keeps reports whether what remains is not for the lane.
func (h hour) keeps(lane Lane, now time.Time) bool {
	_, share := lane.leaves()
	return now.Before(h.resets) && float64(h.remaining) <= share*float64(h.limit)
}
