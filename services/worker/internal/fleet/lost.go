package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	modal "github.com/modal-labs/modal-client/go"

	"modal-github-runner/services/worker/internal/run"
)

// loss is that Modal has something no more.
type loss struct {
	id  string // the image's, if it is that
	err error
}

// lost is what a launch makes of an error that may be for lack of what the image is, or of the App: Modal is asked whether it has them.
// If not, the image is forgotten, KeepImages makes it anew, and launches wait for it as they do for the first one. Else err is about
// something else, and returned as it is.
func (f *Fleet) lost(ctx context.Context, im *image, from *built, err error) error {
	if im.built.Load() == from {
		gone, lookErr := f.gone(ctx, from)
		switch {
		case lookErr != nil:
			return fmt.Errorf("%s; and whether its image is there can't be found out: %w", err.Error(), lookErr)
		case gone == nothing:
			return err
		}
		f.forgetLost(im, from, gone, fmt.Errorf("image %s of app %s is lost: %w", from.image.ImageID, from.app.AppID, err))
	}
	err = fmt.Errorf("%w: image %s of app %s is lost: %w", run.ErrNoImage, from.image.ImageID, from.app.AppID, err)
	return &run.LimitedError{Until: time.Now(), Err: err}
}

// thing is of what sandboxes start from.
type thing int

const (
	nothing thing = iota
	theApp
	theImage
)

// gone is what Modal does not have any more.
func (f *Fleet) gone(ctx context.Context, from *built) (thing, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client, err := f.client()
	if err != nil {
		return nothing, err
	}
	if _, err = client.Images.FromID(ctx, from.image.ImageID, nil); err != nil {
		if _, missing := errors.AsType[modal.NotFoundError](err); missing {
			return theImage, nil
		}
		return nothing, fmt.Errorf("image %s: %w", from.image.ImageID, err)
	}
	app, err := client.Apps.FromName(ctx, f.App, &modal.AppFromNameParams{CreateIfMissing: true})
	if err != nil {
		return nothing, fmt.Errorf("app %s: %w", f.App, err)
	}
	if app.AppID != from.app.AppID {
		return theApp, nil
	}
	return nothing, nil
}

// forgetLost has KeepImages make the image anew, for why.
func (f *Fleet) forgetLost(im *image, from *built, gone thing, why error) {
	if !im.built.CompareAndSwap(from, nil) {
		return
	}
	im.lack.Store(&lack{since: time.Now(), cause: im.what("another one") + " is to be built"})
	f.showLack()
	l := loss{err: why}
	if gone == theImage {
		l.id = from.image.ImageID
	}
	select {
	case im.lost <- l:
	default: // KeepImages has a loss to look at already.
	}
}
