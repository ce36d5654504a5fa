package sweep

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"modal-github-runner/services/worker/internal/run"
)

// Deliveries finds events that GitHub could not deliver and has it send them again. GitHub does not do so by itself.
//
// The events of an App come by its own webhook. Where there is no App, or its webhook has none to show, they come by those of
// repositories and organizations: each run looks at some of the places that are known, the next at those that follow.
type Deliveries struct {
	Hooks   Hooks
	Cursors Cursors
	Ledger  Ledger
	Now     func() time.Time
	Log     *slog.Logger
	// App says that GitHub knows us as an App.
	App bool
	// Orgs says that organizations have webhooks for us, too, not only repositories.
	Orgs bool
	// Named are places to look at although no job of theirs was ever seen: repositories, and organizations, without a Name.
	Named []Repo
	// Admit returns nil if the job's repository may use our runners.
	Admit func(run.Job) error

	turn turn
	// denied are the places whose webhooks we may not see, as it was told.
	denied map[string]bool
	// backlogs are those of the webhooks, by their ids. They spare us from reading again; nothing is lost with them.
	backlogs map[int64]*backlog
}

// RunOnce looks once.
func (d *Deliveries) RunOnce(ctx context.Context) (Report, error) {
	r := &round{Deliveries: d, began: d.Now()}
	if d.App {
		missed, err := r.look(ctx, Hook{})
		if err == nil {
			err = r.sendAgain(ctx, missed)
			r.silent = missed.silent()
		}
		if !isDenied(err) {
			r.note("", err)
			if err != nil || !r.silent {
				return r.result()
			}
		}
	}
	places, err := d.places(ctx, r.began)
	if err != nil {
		return Report{}, err
	}
	for _, name := range names(&d.turn, places, maxPlaces) {
		r.tell(ctx, name, r.visit(ctx, places[name]))
		if r.over {
			d.turn.last = name // What was not looked at is next.
			break
		}
	}
	return r.result()
}

// places are the repositories and organizations whose webhooks may bring events to us, by a name of their own. An owner may be
// an organization unless the ledger says that it is a user, who has no webhooks.
func (d *Deliveries) places(ctx context.Context, began time.Time) (map[string]Repo, error) {
	runs, err := d.Ledger.Runs(ctx)
	if err != nil {
		return nil, err
	}
	places := knownRepos(runs, began, d.Named, d.Admit)
	if d.Orgs {
		for _, r := range slices.Collect(maps.Values(places)) {
			places[orgKey(r.Owner)] = Repo{Owner: r.Owner}
		}
		for _, record := range runs {
			if j := record.Value.Job; !j.OrgOwned {
				delete(places, orgKey(j.Owner))
			}
		}
	}
	maps.DeleteFunc(d.denied, func(name string, _ bool) bool { _, known := places[name]; return !known })
	return places, nil
}

func orgKey(owner string) string { return strings.ToLower(owner) + "/" }

// round is one run of Deliveries.
type round struct {
	*Deliveries
	tally

	began time.Time
	sent  int
	// silent says that the App's webhook can be read, and that nothing came by it. It may be switched off, or nothing happened.
	silent bool
	// over says that the run is to end: more calls would fail as well, or ingress has enough to do.
	over bool
}

// visit looks at the webhooks of a place. The error says that some are not ours to see.
func (r *round) visit(ctx context.Context, place Repo) (denied error) {
	hooks, err := r.Hooks.Hooks(ctx, place)
	if err != nil {
		return r.unlessDenied(err)
	}
	for _, h := range hooks {
		if r.over {
			break
		}
		missed, err := r.look(ctx, h)
		if err == nil {
			err = r.sendAgain(ctx, missed)
		}
		denied = errors.Join(denied, r.unlessDenied(err))
	}
	return denied
}

// note counts what was found, or why not.
func (r *round) note(kind Kind, err error) { r.over = r.found(kind, err) || r.over }

// unlessDenied counts an error, unless it says that something is not ours to see: then it is returned.
func (r *round) unlessDenied(err error) (denied error) {
	if isDenied(err) {
		return err
	}
	r.note("", err)
	return nil
}

// tell says it once if the webhooks of a place are not ours to see, which a person may want to change, and only once, since
// they may be nobody's: the events of a repository may come by its organization's webhook. Nothing is said where they may as well
// come by the App's.
func (r *round) tell(ctx context.Context, place string, denied error) {
	if denied == nil {
		delete(r.denied, place)
		return
	}
	if r.silent || r.denied[place] {
		return
	}
	if r.denied == nil {
		r.denied = map[string]bool{}
	}
	r.denied[place] = true
	r.note(Unreadable, nil)
	r.Log.LogAttrs(ctx, slog.LevelWarn, "webhooks are not readable", slog.String("place", strings.TrimSuffix(place, "/")), slog.Any("err", denied))
}

func isDenied(err error) bool {
	_, permanent := errors.AsType[*run.PermanentError](err)
	return permanent
}
