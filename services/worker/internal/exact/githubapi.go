package exact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// jitCanary is in each JIT configuration, and must be nowhere else.
const jitCanary = "jit-configuration-"

func (t *task) github(what string) call {
	return call{what: what, from: 50 * time.Millisecond, to: 500 * time.Millisecond, limit: 15 * time.Second, fails: GitHubError, up: func() error {
		if t.s.now < t.s.githubDown {
			return fmt.Errorf("github: %w", errAway)
		}
		return nil
	}}
}

// Scope is of launch.Forge: an organization's runners serve all of its repositories.
func (t *task) Scope(j run.Job) string { return scopeOf(j) }

func scopeOf(j run.Job) string {
	if j.OrgOwned {
		return j.Owner
	}
	return j.Owner + "/" + j.Repo
}

// Room is of launch.Forge.
func (t *task) Room(_ context.Context, j run.Job) error { return t.s.room(j.Installation, writePoints) }

// Register is of launch.Forge.
func (t *task) Register(ctx context.Context, r run.Runner) (id int64, jit config.Secret, err error) {
	c := t.github("register " + fmt.Sprint(r.Name))
	c.lost, c.late = JITAnswerLost, JITLate
	err = t.do(ctx, c, func() error {
		t.s.check.act(r, "registered")
		t.s.check.registers(r.Name.Job)
		if err := t.s.spend(r.Job.Installation, writePoints); err != nil {
			return err
		}
		if t.s.now < t.s.gh.refuses[r.Job.ID] {
			return &run.PermanentError{Err: errors.New("github: no such runner group"), Advice: "make it"}
		}
		if t.s.gh.runners[r.Name] != nil {
			return run.ErrExists
		}
		t.s.gh.serial++
		runner := &ghRunner{name: r.Name, id: t.s.gh.serial, jit: jitCanary + strconv.FormatInt(t.s.gh.serial, 10), scope: r.Scope, labels: r.Job.Labels}
		t.s.gh.runners[r.Name] = runner
		id, jit = runner.id, config.NewSecret(runner.jit)
		return nil
	})
	return id, jit, err
}

// Deregister is of launch.Forge.
func (t *task) Deregister(ctx context.Context, r run.Runner) error {
	c := t.github("deregister " + fmt.Sprint(r.Name))
	c.lost = DeregisterLost
	return t.do(ctx, c, func() error {
		if err := t.s.spend(r.Job.Installation, writePoints); err != nil {
			return err
		}
		if known := t.s.gh.runners[r.Name]; known != nil {
			return t.s.deregister(known)
		}
		return nil
	})
}

// deregister removes a registration. GitHub refuses that for a busy one, but knows of its being busy only after a while.
func (s *Sim) deregister(r *ghRunner) error {
	if r.job != nil && r.job.status == inProgress {
		if r.box == nil || s.now-r.job.startedAt > time.Minute { // Of one that died at work it has yet to find out.
			return errors.New("github: 422 the runner is busy")
		}
		s.check.killed(r.job, "its registration was deleted")
		s.complete(r.job, "failure")
	}
	delete(s.gh.runners, r.name)
	s.gh.idle = slices.DeleteFunc(s.gh.idle, func(i *ghRunner) bool { return i == r })
	if r.box != nil && r.box.alive() {
		box := r.box
		s.after(2*time.Second, func() { s.endBox(box, "its sandbox ended: failure, exit code 75") }) // The runner finds that it is none.
	}
	return nil
}

// Sight is of launch.Forge and sweep.Jobs.
func (t *task) Sight(ctx context.Context, j run.Job) (seen run.Sighting, err error) {
	err = t.do(ctx, t.github("look at the job"), func() error {
		if err := t.s.spend(j.Installation, 1); err != nil {
			return err
		}
		known := t.s.gh.jobs[j.ID]
		if known == nil {
			seen = run.Sighting{Gone: true}
			return nil
		}
		seen = run.Sighting{Status: known.status, Conclusion: known.conclusion, Runner: known.ranOn, GitHubID: known.ranOnID}
		if lags := t.s.hits(GitHubLag, known.dice); lags && known.was != "" && t.s.now-known.since < time.Minute {
			seen = run.Sighting{Status: known.was}
		}
		return nil
	})
	return seen, err
}

// Busy is of launch.Forge.
func (t *task) Busy(ctx context.Context, r run.Runner) (busy bool, err error) {
	err = t.do(ctx, t.github("look for the runner"), func() error {
		known := t.s.gh.runners[r.Name]
		busy = known != nil && known.job != nil && known.job.status == inProgress && t.s.now-known.job.startedAt > time.Minute
		return t.s.spend(r.Job.Installation, 1)
	})
	return busy, err
}

// Urgent is of launch.Forge. There is one kind of room here.
func (*task) Urgent(ctx context.Context) context.Context { return ctx }

// Inform is of launch.Forge: a look, and then a word if something else was said. A request that was due while the worker stood
// still is not sent.
func (t *task) Inform(ctx context.Context, j run.Job, reason string) error {
	var found *notice
	look := func() error {
		for n := range t.s.gh.notices[j.ID] {
			found = &t.s.gh.notices[j.ID][n]
		}
		return t.s.spend(j.Installation, 1)
	}
	if err := t.do(ctx, t.github("look for the check run"), look); err != nil || found == nil && reason == "" {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !t.time().Before(deadline) {
		return context.DeadlineExceeded
	}
	c := t.github("say: " + cmp.Or(reason, "it runs after all"))
	c.lost, c.late = NoticeLost, NoticeLate
	return t.do(ctx, c, func() error {
		if err := t.s.spend(j.Installation, writePoints); err != nil {
			return err
		}
		if found != nil {
			found.reason = reason
			return nil
		}
		t.s.gh.notices[j.ID] = append(t.s.gh.notices[j.ID], notice{reason})
		t.s.check.informed(j.ID, reason)
		return nil
	})
}

// Queued is of sweep.Jobs.
func (t *task) Queued(ctx context.Context, in sweep.Repo) (jobs []run.Job, err error) {
	err = t.do(ctx, t.github("list queued jobs"), func() error {
		if err := t.s.spend(in.Installation, 10); err != nil {
			return err
		}
		for _, j := range t.s.gh.queue {
			if j.Owner == in.Owner && j.Repo == in.Name {
				found := j.Job
				found.Pool = "" // The list does not know of pools.
				jobs = append(jobs, found)
			}
		}
		return nil
	})
	return jobs, err
}

// Registrations is of sweep.Registrar.
func (t *task) Registrations(ctx context.Context, j run.Job, scope string) (found []sweep.Registration, err error) {
	c := t.github("list registrations")
	c.fails = ListFails
	err = t.do(ctx, c, func() error {
		if err := t.s.spend(j.Installation, writePoints); err != nil {
			return err
		}
		for _, r := range t.s.gh.runners {
			if strings.EqualFold(r.scope, scope) {
				found = append(found, sweep.Registration{Name: r.name, ID: r.id})
			}
		}
		slices.SortFunc(found, func(a, b sweep.Registration) int { return int(a.ID - b.ID) })
		for n := range found {
			r := t.s.gh.runners[found[n].Name]
			if lags := t.s.hits(GitHubLag, t.dice); !lags || t.s.now-r.online > time.Minute {
				found[n].Online, found[n].Busy = r.box != nil, r.job != nil && r.job.status == inProgress
			}
		}
		return nil
	})
	return found, err
}

// DeregisterID is of sweep.Registrar.
func (t *task) DeregisterID(ctx context.Context, j run.Job, _ string, id int64) error {
	return t.do(ctx, t.github(fmt.Sprintf("deregister by id %d", id)), func() error {
		if err := t.s.spend(j.Installation, writePoints); err != nil {
			return err
		}
		for _, r := range t.s.gh.runners {
			if r.id == id {
				return t.s.deregister(r)
			}
		}
		return nil
	})
}

// Hooks is of sweep.Hooks. All events come by the App's own.
func (t *task) Hooks(context.Context, sweep.Repo) ([]sweep.Hook, error) { return nil, nil }

// Deliveries is of sweep.Hooks.
func (t *task) Deliveries(ctx context.Context, _ sweep.Hook, since time.Time) (listed []sweep.Delivery, err error) {
	c := t.github("list deliveries")
	c.fails = ListFails
	err = t.do(ctx, c, func() error {
		all := t.s.gh.attempts
		for n := len(all); n > 0 && !all[n-1].at.Before(since); n-- {
			a := all[n-1]
			listed = append(listed, sweep.Delivery{
				ID: int64(n), GUID: a.guid, Event: "workflow_job", Repo: t.s.gh.jobs[run.JobOf(a.ev).ID].RepoID, OK: a.ok, At: a.at,
			})
		}
		return nil
	})
	return listed, err
}

// Redeliver is of sweep.Hooks.
func (t *task) Redeliver(ctx context.Context, _ sweep.Hook, id int64) error {
	return t.do(ctx, t.github(fmt.Sprintf("redeliver %d", id)), func() error {
		if id >= 1 && id <= int64(len(t.s.gh.attempts)) {
			d := t.s.gh.attempts[id-1].delivery
			t.s.after(time.Second, func() { t.s.receive(d) })
			return nil
		}
		return errors.New("github: 404 no such delivery")
	})
}

// Cursor is of sweep.Cursors.
func (t *task) Cursor(ctx context.Context, _ int64) (at time.Time, err error) {
	err = t.do(ctx, t.nats("load cursor"), func() error { at = t.s.cursor; return nil })
	return at, err
}

// SetCursor is of sweep.Cursors.
func (t *task) SetCursor(ctx context.Context, _ int64, at time.Time) error {
	return t.do(ctx, t.write("save cursor"), func() error { t.s.cursor = at; return nil })
}
