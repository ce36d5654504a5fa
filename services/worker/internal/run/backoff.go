package run

import "time"

const (
	// firstBackoff is a whole second because the server's schedules know no less.
	firstBackoff = time.Second
	// maxBackoff keeps an outage's calls rare and the end of the outage near.
	maxBackoff = 5 * time.Minute
)

// Backoff is how long to wait after so many failures in a row, from 1: exponential with full jitter, which spreads those
// that failed together. rnd is uniform in [0, 1).
func Backoff(failures int, rnd float64) time.Duration {
	ceiling := maxBackoff
	if shift := failures - 1; shift >= 0 && shift < 9 { // 2^9 s is above maxBackoff.
		ceiling = min(maxBackoff, firstBackoff<<shift)
	}
	return firstBackoff + time.Duration(rnd*float64(ceiling))
}
