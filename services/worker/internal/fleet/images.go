package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// lackShare and maxLackWait say how soon launches look again for an image: after a part of the time that it has been lacking,
	// so that none waits much longer for it than it took, and a long lack costs few tries.
	lackShare   = 10
	maxLackWait = 15 * time.Second
	// firstRetry and lastRetry bound the pause after a build that failed, lastBadRetry that after one that is at fault itself: each
	// costs minutes of a machine, and most often the next one is of another definition.
	firstRetry   = time.Second
	lastRetry    = time.Minute
	lastBadRetry = 15 * time.Minute
	// rollEvery is how often the newest runner, and what a name at Modal stands for, are looked up: GitHub refuses runners about a
	// month after a newer one.
	rollEvery = 24 * time.Hour
	// lookEvery is how often it is looked whether there are other images to keep.
	lookEvery = 2 * time.Second
)

// Releases finds the release of the runner that images are to hold.
type Releases func(context.Context) (run.RunnerRelease, error)

// image is one image, as this worker has it.
type image struct {
	run.Image

	// key tells it from others; candidate says that it has the release of the runner that is to be tried.
	key       string
	candidate bool

	built atomic.Pointer[built]
	lost  chan loss            // of built; holds one
	lack  atomic.Pointer[lack] // the present one, or the last that there was
}

// built is what sandboxes start from, and the App that they are in.
type built struct {
	app   *modal.App
	image *modal.Image
	// recipe is what it was made of, runner the version of the runner on it.
	recipe, runner string
}

// lack is a time without an image, and why there is none.
type lack struct {
	since time.Time
	cause string // for people
	bad   bool   // The definition is at fault.
}

// imageOf is the image of that definition. One that nobody keeps is lacking until somebody does.
func (f *Fleet) imageOf(i run.Image) *image { return f.image(i, Key(i), false) }

func (f *Fleet) image(i run.Image, key string, candidate bool) *image {
	f.imagesMu.Lock()
	defer f.imagesMu.Unlock()
	im := f.images[key]
	if im == nil {
		im = &image{Image: i, key: key, candidate: candidate, lost: make(chan loss, 1)}
		im.lack.Store(&lack{since: time.Now(), cause: im.what("it") + " is being built"})
		f.images[key] = im
	}
	return im
}

// what names the image for people; the default one is what was said.
func (i *image) what(unless string) string {
	if i.Name == "" {
		return unless
	}
	return "image " + i.Name
}

// KeepImages builds each image at once, and again whenever there is a newer runner or Modal has lost what sandboxes start from, until
// ctx ends. Sandboxes start from the last one that was built. None waits for another. Only one call may be at work.
func (f *Fleet) KeepImages(ctx context.Context, releases Releases) {
	var keeping sync.WaitGroup
	defer keeping.Wait()
	stops := map[string]func(){}
	for ctx.Err() == nil {
		wanted := map[string]bool{}
		for _, im := range f.wanted() {
			wanted[im.key] = true
			if stops[im.key] != nil {
				continue
			}
			kept, stop := context.WithCancel(ctx)
			stops[im.key] = stop
			from := releases
			if im.candidate {
				from = f.candidates
			}
			keeping.Go(func() { f.keep(kept, im, from) })
		}
		for _, key := range slices.Collect(maps.Keys(stops)) {
			if !wanted[key] {
				stops[key]()
				delete(stops, key)
				f.forget(key)
			}
		}
		f.showLack()
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	for _, stop := range stops {
		stop()
	}
}

// wanted are the images to keep: each twice, while there is a candidate.
func (f *Fleet) wanted() (wanted []*image) {
	trying := f.Trials != nil && f.Trials.Candidate().Version != ""
	for _, i := range f.Images() {
		wanted = append(wanted, f.imageOf(i))
		if trying {
			wanted = append(wanted, f.image(i, CandidateKey(i), true))
		}
	}
	return wanted
}

// Remembered asks for the release once for all who look for it within a minute.
func Remembered(releases Releases) Releases {
	turn := make(chan struct{}, 1)
	var release run.RunnerRelease
	var asked time.Time
	return func(ctx context.Context) (run.RunnerRelease, error) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return run.RunnerRelease{}, ctx.Err()
		}
		if !asked.IsZero() && time.Since(asked) < time.Minute {
			return release, nil
		}
		found, err := releases(ctx)
		if err == nil {
			release, asked = found, time.Now()
		}
		return found, err
	}
}

// forget drops an image that no pool has any more. A launch that asks for it nevertheless waits until its job is looked at again.
func (f *Fleet) forget(key string) {
	f.imagesMu.Lock()
	defer f.imagesMu.Unlock()
	delete(f.images, key)
}

// showLack has the metric say whether any image that is to be kept is lacking.
func (f *Fleet) showLack() {
	lacking := 0.0
	for _, i := range f.Images() {
		if f.imageOf(i).built.Load() == nil {
			lacking = 1
		}
	}
	f.Metrics.paused.Set(lacking)
}

// keep is KeepImages for one image.
func (f *Fleet) keep(ctx context.Context, im *image, releases Releases) {
	wait, reason := firstRetry, ""
	for {
		err := f.make(ctx, im, releases)
		if err == nil {
			made := time.Now()
			err = f.untilStale(ctx, im)
			// An image that is lost as soon as it is built counts as one that can't be built.
			if time.Since(made) > lastRetry {
				wait, reason = firstRetry, ""
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		failed := buildErrorOf(im, err)
		if text := failed.Error(); text != reason {
			f.Log.LogAttrs(ctx, slog.LevelError, "image not built", failedAttrs(failed, im)...)
			reason = text
		}
		if im.built.Load() == nil {
			im.lack.Store(&lack{since: im.lack.Load().since, cause: causeOf(failed, im), bad: failed.Bad})
		}
		f.record(ctx, im, failed)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait = min(2*wait, lastRetryOf(failed))
		}
	}
}

// untilStale returns nil when there is a newer runner, or one is to be looked for, and an error once the image is lost or ctx ends.
func (f *Fleet) untilStale(ctx context.Context, im *image) error {
	roll, look := time.After(rollEvery), time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-roll:
			return nil
		case <-look.C:
			if f.outdated(im) {
				return nil
			}
		case l := <-im.lost:
			if im.built.Load() != nil { // It is the loss of an image before the present one.
				continue
			}
			if f.Builds != nil && l.id != "" {
				if err := f.Builds.Drop(ctx, im.key, l.id); err != nil {
					return fmt.Errorf("%w; and it can't be forgotten: %w", l.err, err)
				}
			}
			return l.err
		}
	}
}

// Ready returns nil if there is an image that the sandboxes of the pool can start from, else what Create would. It asks nobody.
func (f *Fleet) Ready(p run.Pool) error {
	if im := f.imageOf(p.Image); im.built.Load() == nil {
		return im.noImage(p)
	}
	return nil
}

// noImage is what a launch gets while there is no image. The cause is text only: a launch must wait for the next try of
// KeepImages, whatever it was that failed there.
func (i *image) noImage(p run.Pool) error {
	now, lack := time.Now(), i.lack.Load()
	why := run.ErrNoImage
	if lack.bad && !p.ImageAsked {
		why = run.ErrBadImage
	}
	wait := min(now.Sub(lack.since)/lackShare, maxLackWait)
	return &run.LimitedError{Until: now.Add(wait), Err: fmt.Errorf("%w: %s", why, lack.cause)}
}
