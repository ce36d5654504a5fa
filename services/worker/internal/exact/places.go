package exact

import (
	"context"
	"time"

	"modal-github-runner/services/worker/internal/places"
	"modal-github-runner/services/worker/internal/run"
)

// limits are the rules by which places are given: so many for all.
type limits struct{ most int }

func (limits) Sandbox(j run.Job) places.Sandbox        { return sandboxOf(j) }
func (l limits) All() places.Limit                     { return places.Limit{Max: l.most} }
func (limits) Pool(string) (places.Limit, float64)     { return places.Limit{}, 0 }
func (limits) Owner(string) places.Limit               { return places.Limit{} }
func (limits) Repo(string, string) (none places.Share) { return none }

func (s *Sim) rules() places.Rules { return limits{s.MaxSandboxes} }

// Read is of sweep.Book.
func (t *task) Read(ctx context.Context) (r places.Record, revision uint64, err error) {
	err = t.do(ctx, t.nats("read places"), func() error {
		r, revision = t.s.places, t.s.placesRevision
		return nil
	})
	return r, revision, err
}

// Change is of launch.Places and sweep.Book.
func (t *task) Change(ctx context.Context, change func(places.Record) places.Record) (next uint64, err error) {
	for {
		before, revision, err := t.Read(ctx)
		if err != nil {
			return 0, err
		}
		after := change(before)
		if after.Same(before) {
			return revision, nil
		}
		conflict := false
		err = t.do(ctx, t.write("change places"), func() error {
			if conflict = t.s.placesRevision != revision; conflict {
				return run.ErrConflict
			}
			t.s.revision++
			next = t.s.revision
			t.s.unplaced.taken(before, after, t.s.modal.alive)
			t.s.check.claims(after)
			t.s.places, t.s.placesRevision = after, next
			t.tellf("%d places held, %d promised%s", len(after.Held), len(after.Promised), warmInWords(after))
			return nil
		})
		if !conflict {
			return next, err
		}
	}
}

// inUse is which part of the places was in use while jobs waited for one.
func (c *checker) inUse() float64 {
	sum := 0
	for _, n := range c.short {
		sum += n
	}
	if sum == 0 {
		return 0
	}
	return float64(sum) / float64(len(c.short)*c.s.MaxSandboxes)
}

// nobodyWaits reports whether the line need not be looked at: but for every tenth time, when it is looked at anyway.
func (s *Sim) nobodyWaits() bool {
	return len(s.places.Short)+len(s.places.Promised) == 0 && s.now/time.Second%10 != 0
}
