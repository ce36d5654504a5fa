package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// buildTimeout bounds a build; one from nothing takes minutes.
	buildTimeout = 20 * time.Minute
	// reasonLines bounds what of a build's log is told as the reason of what waits for the image, and maxReason that as well as what
	// the SDK says, in bytes: it is kept in records.
	reasonLines = 10
	maxReason   = 1000
)

// buildErrorOf is the failure that err is, or comes to.
func buildErrorOf(im *image, err error) *run.BuildError {
	if failed, ok := errors.AsType[*run.BuildError](err); ok {
		known := *failed
		known.Bad = failed.Bad && !im.IsDefault()
		return &known
	}
	return &run.BuildError{Text: tidy(err.Error(), maxTailLines)}
}

// causeOf is what a launch is told that waits for the image.
func causeOf(f *run.BuildError, im *image) string {
	of := "its build"
	if im.Name != "" {
		of = "the build of image " + im.Name
	}
	if f.Bad {
		return of + " fails, as it is defined in the pools file; it is tried again within 15 minutes, or once that is changed: " + f.Error()
	}
	return of + " is tried again within a minute: " + f.Error()
}

func lastRetryOf(f *run.BuildError) time.Duration {
	if f.Bad {
		return lastBadRetry
	}
	return lastRetry
}

func failedAttrs(f *run.BuildError, im *image) []slog.Attr {
	attrs := []slog.Attr{slog.String("image", cmp.Or(im.Name, "default")), slog.String("err", f.Error())}
	if f.Log != "" {
		attrs = append(attrs, slog.String("build_log", f.Log))
	}
	return attrs
}

// Builds has each image built once for all workers.
type Builds interface {
	// Once returns the id of the image: the one on record if it is of the same recipe, else what build returns, which it is put on
	// record for. If another worker builds it, that is waited for. The error is then a *run.BuildError, as is the one that build returned.
	Once(ctx context.Context, b run.Build, build func(context.Context) (id string, err error)) (id string, err error)
	// Failed puts on record why there is no image of that key and name, of which no build need have begun.
	Failed(ctx context.Context, key, name string, why *run.BuildError)
	// Drop takes the image off the record, if it is the one there.
	Drop(ctx context.Context, key, id string) error
}

// make sees to it that there is the image, of the newest runner.
func (f *Fleet) make(ctx context.Context, im *image, releases Releases) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	release, err := releases(ctx)
	if err != nil {
		return err
	}
	if !im.candidate {
		f.Metrics.runner(release)
	}
	log := &buildLog{}
	client, err := f.observed(log.hear)
	if err != nil {
		return err
	}
	defer client.Close()
	from, err := f.base(ctx, client, im.Image)
	if err != nil {
		return err
	}
	layers := recipe(im.Image, release)
	b := run.Build{Key: im.key, Recipe: hash([]any{from.ImageID, layers}), Name: im.Name, Runner: release.Version}
	if last := im.built.Load(); last != nil && last.recipe == b.Recipe {
		return nil
	}
	app, err := client.Apps.FromName(ctx, f.App, &modal.AppFromNameParams{CreateIfMissing: true})
	if err != nil {
		return fmt.Errorf("modal app %s: %w", f.App, err)
	}
	for _, layer := range layers {
		from = from.DockerfileCommands(layer, nil)
	}
	made, err := f.once(ctx, client, b, func(ctx context.Context) (*modal.Image, error) {
		f.Log.LogAttrs(ctx, slog.LevelInfo, "image is being built", attrsOf(b)...)
		built, err := from.Build(ctx, app, nil)
		if err != nil {
			return nil, log.failure(release.Version, err)
		}
		return built, nil
	})
	if err != nil {
		return err
	}
	im.built.Store(&built{app: app, image: made, recipe: b.Recipe, runner: release.Version})
	f.showLack()
	return nil
}

func attrsOf(b run.Build) []slog.Attr {
	return []slog.Attr{slog.String("image", cmp.Or(b.Name, "default")), slog.String("runner_version", b.Runner)}
}

// Build has the image built, unless it is on record already, and returns its id. A *run.BuildError has the build's log.
func (f *Fleet) Build(ctx context.Context, i run.Image, releases Releases) (id string, err error) {
	im := f.imageOf(i)
	if err := f.make(ctx, im, releases); err != nil {
		failed := buildErrorOf(im, err)
		f.record(ctx, im, failed)
		return "", failed
	}
	return im.built.Load().image.ImageID, nil
}

// record has everybody see why there is no image: what it is made of may be lacking, so that no build of it ever began.
func (f *Fleet) record(ctx context.Context, im *image, failed *run.BuildError) {
	if f.Builds != nil && ctx.Err() == nil && im.built.Load() == nil {
		f.Builds.Failed(ctx, im.key, im.Name, failed)
	}
}

type builder func(context.Context) (*modal.Image, error)

// once builds the image, unless another worker has.
func (f *Fleet) once(ctx context.Context, client *modal.Client, b run.Build, build builder) (*modal.Image, error) {
	var made *modal.Image
	timed := func(ctx context.Context) (id string, err error) {
		began := time.Now()
		if made, err = build(ctx); err != nil {
			return "", err
		}
		f.Log.LogAttrs(ctx, slog.LevelInfo, "image built", append(attrsOf(b),
			slog.String("image_id", made.ImageID), slog.Duration("dur", time.Since(began)))...)
		return made.ImageID, nil
	}
	if f.Builds == nil {
		_, err := timed(ctx)
		return made, err
	}
	id, err := f.Builds.Once(ctx, b, timed)
	if err != nil || made != nil {
		return made, err
	}
	found, err := client.Images.FromID(ctx, id, nil)
	if _, gone := errors.AsType[modal.NotFoundError](err); gone {
		err = errors.Join(err, f.Builds.Drop(ctx, b.Key, id))
	}
	if err != nil {
		return nil, fmt.Errorf("image %s of another worker: %w", id, err)
	}
	f.Log.LogAttrs(ctx, slog.LevelInfo, "image found", append(attrsOf(b), slog.String("image_id", id))...)
	return found, nil
}

// base is what the layers of an image are put on. Its ImageID is empty if it is in a registry.
func (f *Fleet) base(ctx context.Context, client *modal.Client, i run.Image) (base *modal.Image, err error) {
	var login *modal.Secret
	if i.RegistrySecret != "" {
		if login, err = client.Secrets.FromName(ctx, i.RegistrySecret, nil); err != nil {
			return nil, refused(fmt.Errorf("registry_secret %s: %w", i.RegistrySecret, err))
		}
	}
	switch {
	case strings.HasPrefix(i.Modal, "im-"):
		base, err = client.Images.FromID(ctx, i.Modal, nil)
	case i.Modal != "":
		base, err = client.Images.FromName(ctx, i.Modal, nil)
	case i.Registry == "":
		base = client.Images.FromRegistry(baseImage, nil)
	case login != nil && i.Login == "aws":
		base = client.Images.FromAwsEcr(i.Registry, login, nil)
	case login != nil && i.Login == "gcp":
		base = client.Images.FromGcpArtifactRegistry(i.Registry, login, nil)
	default:
		base = client.Images.FromRegistry(i.Registry, &modal.ImageFromRegistryParams{Secret: login})
	}
	if err != nil {
		return nil, refused(err)
	}
	return base, nil
}

// refused is the failure of an image that names what Modal does not have, or any other error as it is.
func refused(err error) error {
	if isBad(err) {
		return &run.BuildError{Text: tidy(err.Error(), maxTailLines), Bad: true}
	}
	return err
}

// isBad reports whether the SDK or Modal says that what was asked for does not exist or is no use.
func isBad(err error) bool {
	_, missing := errors.AsType[modal.NotFoundError](err)
	_, invalid := errors.AsType[modal.InvalidError](err)
	code := status.Code(err)
	return missing || invalid || code == codes.NotFound || code == codes.InvalidArgument
}

// buildLog is what a build said.
type buildLog struct {
	text  strings.Builder
	ended pb.GenericResult_GenericStatus
}

// hear is shown every answer of Modal's while it builds.
func (l *buildLog) hear(reply any) {
	switch said := reply.(type) {
	case *pb.ImageGetOrCreateResponse:
		l.ended = said.GetResult().GetStatus()
		l.text.Reset() // Another layer begins.
	case *pb.ImageJoinStreamingResponse:
		for _, entry := range said.GetTaskLogs() {
			l.add(entry.GetData())
		}
		if result := said.GetResult(); result != nil {
			l.ended = result.GetStatus()
		}
	}
}

func (l *buildLog) add(text string) {
	if l.text.Len()+len(text) > 2*maxRawTail {
		kept := last(l.text.String(), maxRawTail)
		l.text.Reset()
		l.text.WriteString(kept)
	}
	l.text.WriteString(last(text, maxRawTail))
}

// ofLayer is what differs from one build of the same to the next: of what is told again and again, one line is enough.
var ofLayer = regexp.MustCompile(`(?:for |of )?im-[A-Za-z0-9]+ `)

// failure is why the build ended with err.
func (l *buildLog) failure(runner string, err error) *run.BuildError {
	text := ofLayer.ReplaceAllString(fmt.Sprintf("build image with runner %s: %v", runner, err), "")
	failed := &run.BuildError{
		Text: strings.ToValidUTF8(last(tidy(text, maxTailLines), maxReason), ""),
		Bad:  l.ended == pb.GenericResult_GENERIC_STATUS_FAILURE || isBad(err),
		Log:  tidy(l.text.String(), maxTailLines),
	}
	failed.Tail = strings.ToValidUTF8(last(tidy(failed.Log, reasonLines), maxReason), "")
	return failed
}
