package exact

import (
	"maps"
	"slices"
	"time"

	"modal-github-runner/services/worker/internal/places"
)

const (
	// backupEvery is how often what the broker has stored is copied.
	backupEvery = time.Minute
	// backupsKept is how many copies there are. Any of them may be brought back.
	backupsKept = 20
	// restoreTakes is how long the broker is away at least: what people do takes longer than that for which a job counts as fresh.
	restoreTakes = 2 * time.Minute
)

// backup is what the broker had stored at some time. Who had which message in hand is not stored.
type backup struct {
	runs, runners  int // how many changes the ledger had seen
	revision       uint64
	places         places.Record
	placesRevision uint64
	cursor         time.Time
	stream         []message // those not acknowledged
	later          map[string]message
	buried         []int64
}

// backUp copies what is stored, now and every minute.
func (s *Sim) backUp() {
	b := backup{
		runs: s.runs.changes(), runners: s.runners.changes(), revision: s.revision, places: s.places, placesRevision: s.placesRevision,
		cursor: s.cursor, stream: s.queue.unacknowledged(), later: map[string]message{}, buried: slices.Clone(s.buried),
	}
	for key, m := range s.queue.later {
		b.later[key] = *m
	}
	s.backups = append(s.backups, b)
	if len(s.backups) > backupsKept {
		s.backups = slices.Delete(s.backups, 0, 1)
		s.runs.keep(s.backups[0].runs)
		s.runners.keep(s.backups[0].runners)
	}
	s.after(backupEvery, s.backUp)
}

// restore brings the n-th newest copy back, or the oldest. What was stored since is forgotten, and revisions begin again where
// they were then. The ids of messages are forgotten too, since the server remembers them for two minutes only.
func (s *Sim) restore(n int) {
	s.backups = s.backups[:max(1, len(s.backups)-n)]
	b := s.backups[len(s.backups)-1]
	s.runs.restore(b.runs)
	s.runners.restore(b.runners)
	s.restored = s.now + restoreTakes
	s.unplaced.forgotten(s.places, b.places, s.modal.alive)
	s.revision, s.places, s.placesRevision, s.cursor = b.revision, b.places, b.placesRevision, b.cursor
	s.buried = slices.Clone(b.buried)
	s.purge()
	clear(s.queue.seen)
	for _, m := range b.stream {
		s.enqueue(&m)
	}
	for _, key := range slices.Sorted(maps.Keys(b.later)) {
		m := b.later[key]
		s.keep(key, &m)
	}
	s.forget()
}
