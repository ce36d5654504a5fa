package budget

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// aloneFor is how long a worker does without NATS before it asks again. Each time it asks costs callTimeout.
	aloneFor = 2 * time.Second
	// sameStop is how much two answers of GitHub may differ that mean the same stop.
	sameStop = 2 * time.Second
	// tellEvery is how long after it failed the others are told again.
	tellEvery = time.Second
)

var errAway = errors.New("NATS was away a moment ago")

// Stop has all workers leave GitHub alone until then, as far as the caller goes. It is at most maxStop from now.
func (b *Budget) Stop(ctx context.Context, caller string, until time.Time) {
	a := b.account(caller)
	ctx = context.WithoutCancel(ctx) // Others are to know even if nobody waits for this request any more.
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	now := b.store.now()
	until = until.Add(b.store.lead())
	clear(a.held)
	if all := a.known.with(a.own, now); all.stopped(Launch, now) && all.Stop.After(until.Add(-sameStop)) {
		return
	}
	b.Metrics.stop(until)
	b.Log.LogAttrs(ctx, slog.LevelWarn, "github is left alone", slog.String("caller", caller), slog.Time("until", until))
	a.own = a.own.halted(until, now)
	if b.tellStop(ctx, a) {
		b.hasNews()
	}
}

// Run tells the others of stops that they could not be told of at once, and how many requests are no longer under way, until ctx ends.
func (b *Budget) Run(ctx context.Context) {
	for {
		select {
		case <-b.news:
		case <-ctx.Done():
			return
		}
		for b.tell(ctx) {
			select {
			case <-time.After(tellEvery):
			case <-ctx.Done():
				return
			}
		}
	}
}

// hasNews has Run tell the others.
func (b *Budget) hasNews() {
	select {
	case b.news <- struct{}{}:
	default: // It is told already.
	}
}

// tell tells the others what they are to know, and reports whether something is left to tell.
func (b *Budget) tell(ctx context.Context) (more bool) {
	for _, a := range b.all() {
		a.turn <- struct{}{}
		stop, slots := b.tellStop(ctx, a), b.giveBack(ctx, a)
		more = more || stop || slots
		<-a.turn
	}
	return more
}

// tellStop writes down a stop of which the others do not know, and reports whether it is still to be written. NATS is asked even if it
// was away a moment ago: each second counts in which others go on.
func (b *Budget) tellStop(ctx context.Context, a *account) (more bool) {
	for range maxConflicts {
		now := b.store.now()
		if !a.own.stopped(Launch, now) {
			return false
		}
		if err := b.write(ctx, a, a.known.with(a.own, now)); err != nil && !errors.Is(err, run.ErrConflict) {
			return true
		}
	}
	return true
}

// giveBack writes down that this worker has fewer requests under way than it may, so that others have them, and reports whether it is
// to be called again. While requests are begun, that is done with each write of their points.
func (b *Budget) giveBack(ctx context.Context, a *account) (more bool) {
	for range maxConflicts {
		inFlight, _ := a.underWay()
		now := b.store.now()
		all := a.known.with(a.own, now)
		switch {
		case a.slots-inFlight <= shareInFlight(all.workers(now))/keptShare, time.Since(a.written) >= maxFlight: // It counts for no longer.
			return false
		case time.Since(a.written) < tellEvery:
			return true
		}
		if err := b.save(ctx, a, all.flying(b.Worker, inFlight, now)); !errors.Is(err, run.ErrConflict) {
			return err != nil
		}
	}
	return true
}

// readClock has the time be known by the server's clock, if it never was.
func (b *Budget) readClock(ctx context.Context) error {
	switch {
	case b.store.isOpen():
		return nil
	case b.isAlone():
		return errAway
	}
	within, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := b.store.open(within)
	b.report(ctx, err)
	return err
}

// save writes the record as write does, but does not ask NATS again as soon as it was away.
func (b *Budget) save(ctx context.Context, a *account, r record) error {
	if b.isAlone() {
		return errAway
	}
	return b.write(ctx, a, r)
}

// write writes the record, and on a conflict reads it: what it says then is known.
func (b *Budget) write(ctx context.Context, a *account, r record) (err error) {
	defer func() {
		if !errors.Is(err, run.ErrConflict) {
			b.report(ctx, err)
		}
	}()
	a.slots = min(a.slots, r.InFlight[b.Worker]) // It may be written though NATS does not say so.
	revision, err := b.store.save(ctx, a.caller, r, a.revision)
	if errors.Is(err, run.ErrConflict) {
		if loadErr := b.read(ctx, a); loadErr != nil {
			return loadErr
		}
		return err
	}
	if err != nil { // It may be written all the same. Then what is ours counts twice, for a minute.
		return err
	}
	a.own, a.known, a.revision = record{}, r, revision
	a.slots, a.written = r.InFlight[b.Worker], time.Now()
	return nil
}

// look reads the record, unless NATS was away a moment ago.
func (b *Budget) look(ctx context.Context, a *account) {
	if !b.isAlone() {
		b.report(ctx, b.read(ctx, a))
	}
}

// read has what the record says be known.
func (b *Budget) read(ctx context.Context, a *account) error {
	known, revision, err := b.store.load(ctx, a.caller)
	if err != nil {
		return err
	}
	a.known, a.revision, a.slots = known, revision, known.InFlight[b.Worker]
	if known.stopped(Launch, b.store.now()) {
		clear(a.held)
	}
	return nil
}

func (b *Budget) isAlone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.alone)
}

// report remembers whether NATS is there, and logs when that changes. That who asked it gave up says nothing of it.
func (b *Budget) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Metrics.isAlone(err != nil)
	switch {
	case err == nil && b.reason != "":
		b.alone = time.Time{}
		b.Log.LogAttrs(ctx, slog.LevelInfo, "github's budget is shared again")
		b.reason = ""
	case err != nil:
		b.alone = time.Now().Add(aloneFor)
		if b.reason == "" {
			b.Log.LogAttrs(ctx, slog.LevelWarn, "github's budget is not shared", slog.Any("err", err))
		}
		b.reason = err.Error()
	}
}
