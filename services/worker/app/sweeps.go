package app

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/forge"
	"modal-github-runner/services/worker/internal/intake"
	"modal-github-runner/services/worker/internal/launch"
	"modal-github-runner/services/worker/internal/leader"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// How often the sweeps run. What costs money goes within seconds of its grace; what costs requests to GitHub is rarer.
const (
	lineEvery    = time.Second
	warmEvery    = time.Second
	orphansEvery = 15 * time.Second
	stuckEvery   = time.Minute
	missedEvery  = 2 * time.Minute
)

// sweeps are the loops that the leading worker runs.
type sweeps struct {
	election *leader.Election
	loops    []sweep.Loop
	// mirror is the ledger as the loops list it.
	mirror *ledger.Mirror
}

func (a *App) newSweeps(launcher *launch.Launcher, queue *intake.Publisher) sweeps {
	mirror := ledger.NewMirror(a.records)
	books, jobs := books{mirror}, jobs{a.surveyor}
	orphans := &sweep.Orphans{
		Fleet: sandboxes{a.fleet}, Ledger: books, Handler: launcher, Places: a.places, Rules: a.rules, Now: a.options.Now,
		Clock: a.records.Now, Scope: a.forge.Scope, Deployment: a.control.Deployment,
	}
	registrations := &sweep.Registrations{
		Registrar: registrar{a.surveyor}, Ledger: books, Reader: a.records, Now: a.options.Now, Scope: a.forge.Scope, Named: namedRepos(a.cfg.AllowedRepos),
	}
	stuck := &sweep.Stuck{Jobs: jobs, Ledger: books, Queue: queue, Now: a.options.Now}
	unqueued := &sweep.Unqueued{
		Jobs: jobs, Ledger: books, Reader: a.records, Queue: queue, Now: a.options.Now, Named: namedRepos(a.cfg.AllowedRepos),
		Pool: a.rules.poolOf, LooksLike: a.rules.looksLike, Admit: a.allowed, Log: a.log,
	}
	deliveries := &sweep.Deliveries{
		Hooks: hooks{a.surveyor}, Cursors: a.control, Ledger: books, Now: a.options.Now, Log: a.log,
		App: len(a.cfg.AppIDs) > 0, Orgs: a.cfg.sharesRunners(), Named: namedPlaces(a.cfg), Admit: a.allowed,
	}
	warm := &sweep.Warm{
		Fleet: a.fleet, Book: a.places, Ready: a.fleet.Ready, Rules: a.rules, Now: a.options.Now,
		Pools: func() []sweep.WarmPool { return a.rules.warmPools(a.options.Now()) },
	}
	line := &sweep.Line{Book: a.places, Ledger: books, Queue: queue, Rules: a.rules, Now: a.options.Now}
	loops := []sweep.Loop{
		{Name: "line", Every: lineEvery, RunOnce: line.RunOnce},
		{Name: "warm", Every: warmEvery, RunOnce: warm.RunOnce},
		{Name: "warming", Every: warmEvery, RunOnce: warm.Fill},
		{Name: "orphans", Every: orphansEvery, RunOnce: orphans.RunOnce},
		{Name: "registrations", Every: missedEvery, RunOnce: registrations.RunOnce},
		{Name: "stuck", Every: stuckEvery, RunOnce: stuck.RunOnce},
		{Name: "unqueued", Every: missedEvery, RunOnce: unqueued.RunOnce},
		{Name: "deliveries", Every: missedEvery, RunOnce: deliveries.RunOnce},
	}
	return sweeps{election: leader.New(a.js, rand.Text(), a.log), loops: loops, mirror: mirror}
}

// lead runs the sweeps whenever this worker leads, until ctx ends.
func (a *App) lead(ctx context.Context) {
	a.sweeps.election.Run(ctx, func(ctx context.Context) {
		defer a.sweeps.mirror.Forget()
		a.metrics.lead(a.sweeps.loops)
		defer a.metrics.follow() // What another worker's sweeps find from now on, this one does not know.
		sweep.Run(ctx, a.sweeps.loops, a.metrics, a.log)
	})
}

// allowed returns nil if the job's repository may use our runners, as far as the job tells, else why not.
func (a *App) allowed(j run.Job) error {
	return wire.AdmitRepo(a.cfg.AllowedRepos, j.Owner, j.Repo, j.Private)
}

// namedRepos are the patterns that name one repository.
func namedRepos(patterns []wire.RepoPattern) (repos []sweep.Repo) {
	for _, p := range patterns {
		if owner, name, _ := strings.Cut(p.String(), "/"); name != "*" {
			repos = append(repos, sweep.Repo{Owner: owner, Name: name})
		}
	}
	return repos
}

// namedPlaces are the repositories that are named, and the owners of whom all repositories are, if organizations have runners.
func namedPlaces(cfg Config) []sweep.Repo {
	places := namedRepos(cfg.AllowedRepos)
	for _, p := range cfg.AllowedRepos {
		if owner, name, _ := strings.Cut(p.String(), "/"); name == "*" && cfg.sharesRunners() {
			places = append(places, sweep.Repo{Owner: owner})
		}
	}
	return places
}

// What follows gives the adapters the ports of package sweep.

type books struct{ *ledger.Mirror }

func (b books) Runs(ctx context.Context) ([]sweep.Record[run.Run], error) {
	return recordsOf(b.Mirror.Runs(ctx))
}

func (b books) Runners(ctx context.Context) ([]sweep.Record[run.Runner], error) {
	return recordsOf(b.Mirror.Runners(ctx))
}

func recordsOf[T any](entries []ledger.Entry[T], err error) ([]sweep.Record[T], error) {
	records := make([]sweep.Record[T], 0, len(entries))
	for _, e := range entries {
		records = append(records, sweep.Record[T]{Value: e.Record, Revision: e.Revision, ChangedAt: e.ChangedAt})
	}
	return records, err
}

type sandboxes struct{ *fleet.Fleet }

func (s sandboxes) List(ctx context.Context) ([]sweep.Sandbox, error) {
	listed, err := s.Fleet.List(ctx)
	found := make([]sweep.Sandbox, 0, len(listed))
	for _, l := range listed {
		found = append(found, sweep.Sandbox{
			ID: l.ID, Name: l.Name, Warm: l.Warm, CreatedAt: l.CreatedAt, Deployment: l.Deployment, Repo: l.Repo, Pool: l.Pool,
		})
	}
	return found, err
}

type registrar struct{ *forge.Forge }

func (r registrar) Registrations(ctx context.Context, j run.Job, scope string) ([]sweep.Registration, error) {
	listed, err := r.Runners(ctx, j, scope)
	found := make([]sweep.Registration, 0, len(listed))
	for _, l := range listed {
		found = append(found, sweep.Registration(l))
	}
	return found, err
}

type jobs struct{ *forge.Forge }

func (j jobs) Queued(ctx context.Context, in sweep.Repo) ([]run.Job, error) {
	queued, _, err := j.Forge.Queued(ctx, in.Owner, in.Name, in.Installation)
	return queued, err
}

type hooks struct{ *forge.Forge }

func (h hooks) Hooks(ctx context.Context, in sweep.Repo) ([]sweep.Hook, error) {
	listed, err := h.Forge.Hooks(ctx, in.Owner, in.Name)
	found := make([]sweep.Hook, 0, len(listed))
	for _, l := range listed {
		found = append(found, sweep.Hook(l))
	}
	return found, err
}

func (h hooks) Deliveries(ctx context.Context, hook sweep.Hook, since time.Time) ([]sweep.Delivery, error) {
	listed, err := h.Forge.Deliveries(ctx, forge.Hook(hook), since)
	found := make([]sweep.Delivery, 0, len(listed))
	for _, l := range listed {
		found = append(found, sweep.Delivery{ID: l.ID, GUID: l.GUID, Event: l.Event, Repo: l.Repo, OK: l.OK, Unreadable: l.Unreadable, At: l.At})
	}
	return found, err
}

func (h hooks) Redeliver(ctx context.Context, hook sweep.Hook, id int64) error {
	return h.Forge.Redeliver(ctx, forge.Hook(hook), id)
}
