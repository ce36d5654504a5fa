package app

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	orphansEvery = 15 * time.Second
	stuckEvery   = time.Minute
	missedEvery  = 2 * time.Minute
)

// sweeps are the loops that the leading worker runs.
type sweeps struct {
	election *leader.Election
	loops    []sweep.Loop
}

func (a *App) newSweeps(js jetstream.JetStream, records *ledger.Ledger, launcher *launch.Launcher, queue *intake.Publisher) sweeps {
	books, jobs := books{records}, jobs{a.surveyor}
	orphans := &sweep.Orphans{Fleet: sandboxes{a.fleet}, Reaper: a.fleet, Ledger: books, Handler: launcher, Now: time.Now, Deployment: a.control.Deployment}
	registrations := &sweep.Registrations{Registrar: registrar{a.surveyor}, Ledger: books, Reader: records, Now: time.Now}
	stuck := &sweep.Stuck{Jobs: jobs, Ledger: books, Queue: queue, Now: time.Now}
	unqueued := &sweep.Unqueued{
		Jobs: jobs, Ledger: books, Reader: records, Queue: queue, Now: time.Now, Named: namedRepos(a.cfg.AllowedRepos), Pool: poolOf, Admit: a.admit,
	}
	loops := []sweep.Loop{
		{Name: "orphans", Every: orphansEvery, RunOnce: orphans.RunOnce},
		{Name: "registrations", Every: missedEvery, RunOnce: registrations.RunOnce},
		{Name: "stuck", Every: stuckEvery, RunOnce: stuck.RunOnce},
		{Name: "unqueued", Every: missedEvery, RunOnce: unqueued.RunOnce},
	}
	if a.cfg.AppID != 0 { // A token can't read an App's deliveries; what they missed is found by the other sweeps.
		deliveries := &sweep.Deliveries{Hook: appHook{a.surveyor}, Cursor: a.control, Now: time.Now}
		loops = append(loops, sweep.Loop{Name: "deliveries", Every: missedEvery, RunOnce: deliveries.RunOnce})
	}
	return sweeps{election: leader.New(js, rand.Text(), a.log), loops: loops}
}

// lead runs the sweeps whenever this worker leads, until ctx ends.
func (a *App) lead(ctx context.Context) {
	a.sweeps.election.Run(ctx, func(ctx context.Context) {
		defer a.metrics.follow() // What another worker's sweeps find from now on, this one does not know.
		sweep.Run(ctx, a.sweeps.loops, a.metrics, a.log)
	})
}

// poolOf is the pool whose label a job asks for; empty if it asks for none.
func poolOf(labels []string) string {
	if slices.ContainsFunc(labels, func(l string) bool { return strings.EqualFold(l, wire.DefaultLabel) }) {
		return wire.DefaultPool
	}
	return ""
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

// What follows gives the adapters the ports of package sweep.

type books struct{ *ledger.Ledger }

func (b books) Runs(ctx context.Context) ([]sweep.Record[run.Run], error) {
	return recordsOf(b.Ledger.Runs(ctx))
}

func (b books) Runners(ctx context.Context) ([]sweep.Record[run.Runner], error) {
	return recordsOf(b.Ledger.Runners(ctx))
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
		found = append(found, sweep.Sandbox{ID: l.ID, Name: l.Name, CreatedAt: l.CreatedAt, Deployment: l.Deployment})
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

// appHook is the App's webhook.
type appHook struct{ forge *forge.Forge }

func (h appHook) Deliveries(ctx context.Context, since time.Time) ([]sweep.Delivery, error) {
	listed, err := h.forge.Deliveries(ctx, forge.Hook{}, since)
	found := make([]sweep.Delivery, 0, len(listed))
	for _, l := range listed {
		found = append(found, sweep.Delivery{ID: l.ID, GUID: l.GUID, Event: l.Event, OK: l.OK, At: l.At})
	}
	return found, err
}

func (h appHook) Redeliver(ctx context.Context, id int64) error {
	return h.forge.Redeliver(ctx, forge.Hook{}, id)
}
