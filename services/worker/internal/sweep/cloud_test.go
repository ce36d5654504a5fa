package sweep_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/ledger"
	"modal-github-runner/services/worker/internal/run"
	"modal-github-runner/services/worker/internal/sweep"
)

// cloud is GitHub and Modal as one: jobs that runners take, and sandboxes in which runners live. None of its webhooks comes
// through. It is safe for concurrent use.
type cloud struct {
	mu            sync.Mutex
	serial        int64
	registrations map[run.Name]int64
	sandboxes     map[string]*instance
	jobs          map[int64]*ghJob
	// crashes is how many of the next sandboxes end before they can take a job.
	crashes int
	// given is how many warm sandboxes were given to a runner.
	given int
	// told is what was put on the queue, to be handled by whoever is free.
	told chan run.Event
}

// instance is a sandbox.
type instance struct {
	sweep.Sandbox

	took  int64
	since time.Time
}

// ghJob is a job at GitHub.
type ghJob struct {
	status, conclusion string
	runner             run.Name
}

func newCloud() *cloud {
	return &cloud{
		registrations: map[run.Name]int64{}, sandboxes: map[string]*instance{}, jobs: map[int64]*ghJob{}, told: make(chan run.Event, 1000),
	}
}

// jobTime is how long a job takes.
const jobTime = 5 * time.Minute

// pass lets what has begun come to its end, and idle runners take jobs.
func (c *cloud) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.sandboxes {
		switch {
		case s.took != 0 && time.Since(s.since) >= jobTime:
			c.jobs[s.took].status, c.jobs[s.took].conclusion = "completed", "success"
			delete(c.registrations, s.Name)
			delete(c.sandboxes, id)
		case s.took == 0 && c.registrations[s.Name] != 0:
			for job, j := range c.jobs {
				if j.status == "queued" {
					s.took, s.since = job, time.Now()
					j.status, j.runner = "in_progress", s.Name
					break
				}
			}
		}
	}
}

func (*cloud) Room(context.Context, run.Job) error { return nil }

func (c *cloud) Scope(j run.Job) string { return j.Owner + "/" + j.Repo }

func (c *cloud) Register(_ context.Context, r run.Runner) (int64, config.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.registrations[r.Name] != 0 {
		return 0, config.Secret{}, run.ErrExists
	}
	c.serial++
	c.registrations[r.Name] = c.serial
	return c.serial, config.NewSecret("jit"), nil
}

func (*cloud) Inform(context.Context, run.Job, string) error { return nil }

func (c *cloud) Deregister(_ context.Context, r run.Runner) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.registrations, r.Name)
	return nil
}

func (c *cloud) Create(_ context.Context, r run.Runner, _ run.Pool, _ config.Secret) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.find(r.Name) != "" {
		return "", run.ErrExists
	}
	return c.start(r.Name, ours), nil
}

// start starts a sandbox, which ends at once if it is one of those that crash.
func (c *cloud) start(name run.Name, deployment string) string {
	c.serial++
	id := fmt.Sprintf("sb-%d", c.serial)
	if c.crashes > 0 {
		c.crashes--
		return id
	}
	c.sandboxes[id] = &instance{Sandbox: sweep.Sandbox{ID: id, Name: name, CreatedAt: time.Now(), Deployment: deployment}}
	return id
}

// bootTime is how long a warm sandbox takes until it waits for a runner.
const bootTime = 3 * time.Second

func (c *cloud) Warm(_ context.Context, name string, p run.Pool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.start(run.Name{}, ours)
	if s := c.sandboxes[id]; s != nil {
		s.Warm, s.Pool = name, p.Name
	}
	return id, nil
}

func (c *cloud) FindWarm(_ context.Context, name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.sandboxes {
		if s.Warm == name {
			return id, nil
		}
	}
	return "", nil
}

func (c *cloud) Give(_ context.Context, id string, r run.Runner, _ config.Secret) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sandboxes[id]
	if s == nil || s.Name != r.Name && s.Warm == "" {
		return run.ErrNotMade
	}
	if s.Warm != "" {
		c.given++
	}
	s.Name, s.Warm, s.CreatedAt = r.Name, "", time.Now()
	return nil
}

func (c *cloud) find(name run.Name) string {
	for id, s := range c.sandboxes {
		if s.Name == name {
			return id
		}
	}
	return ""
}

func (*cloud) Busy(context.Context, run.Runner) (bool, error) { return false, nil }

func (c *cloud) Find(_ context.Context, name run.Name) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(name), nil
}

func (c *cloud) LaunchedFor(_ context.Context, job int64) (ids []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.sandboxes {
		if s.Name.Job == job {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (c *cloud) Ask(_ context.Context, id string, release bool) (run.Evidence, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sandboxes[id]
	switch {
	case s == nil:
		return run.Over, nil
	case s.took != 0:
		return run.HasJob, nil
	case s.Warm != "" && time.Since(s.CreatedAt) < bootTime:
		return run.Starting, nil
	case s.Warm != "" && !release:
		return run.Warm, nil
	case release:
		delete(c.sandboxes, id)
		return run.ReleasedNow, nil
	}
	return run.Idle, nil
}

func (c *cloud) Terminate(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sandboxes[id]; s != nil && s.took != 0 {
		c.jobs[s.took].status, c.jobs[s.took].conclusion = "completed", "killed while working"
	}
	delete(c.sandboxes, id)
	return nil
}

func (c *cloud) List(context.Context) (listed []sweep.Sandbox, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sandboxes {
		listed = append(listed, s.Sandbox)
	}
	return listed, nil
}

func (c *cloud) Fate(_ context.Context, id string, _ bool) (run.Fate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return run.Fate{Running: c.sandboxes[id] != nil, How: "crashed"}, nil
}

func (c *cloud) Registrations(context.Context, run.Job, string) (found []sweep.Registration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, id := range c.registrations {
		s := c.sandboxes[c.find(name)]
		found = append(found, sweep.Registration{Name: name, ID: id, Online: s != nil, Busy: s != nil && s.took != 0})
	}
	return found, nil
}

func (c *cloud) DeregisterID(_ context.Context, _ run.Job, _ string, id int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, known := range c.registrations {
		if known == id {
			delete(c.registrations, name)
		}
	}
	return nil
}

func (*cloud) Urgent(ctx context.Context) context.Context { return ctx }

func (c *cloud) Sight(_ context.Context, j run.Job) (run.Sighting, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.jobs[j.ID]
	if known == nil {
		return run.Sighting{Gone: true}, nil
	}
	return run.Sighting{Status: known.status, Conclusion: known.conclusion, Runner: known.runner}, nil
}

func (c *cloud) Queued(context.Context, sweep.Repo) (jobs []run.Job, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, j := range c.jobs {
		if j.status == "queued" {
			jobs = append(jobs, listed(id))
		}
	}
	return jobs, nil
}

func (c *cloud) Report(_ context.Context, ev run.Event, _ uint64) error {
	c.told <- ev
	return nil
}

func (c *cloud) Call(_ context.Context, j run.Job, at time.Time, _ uint64) error {
	c.told <- run.Queued{Job: j, At: at}
	return nil
}

func (c *cloud) Requeue(ctx context.Context, j run.Job, at time.Time, revision uint64) error {
	return c.Call(ctx, j, at, revision)
}

func (*cloud) Bury(context.Context, run.Job, string) error { return nil }

func (*cloud) Launched(string, string)             {}
func (*cloud) QueueToLaunch(string, time.Duration) {}
func (*cloud) QueueToStart(string, time.Duration)  {}
func (*cloud) Step(string, time.Duration)          {}
func (*cloud) Buried()                             {}

// books is a ledger as the sweeps see it.
type books struct{ *ledger.Ledger }

func (b books) Runs(ctx context.Context) ([]sweep.Record[run.Run], error) {
	return recordsOf(b.Ledger.Runs(ctx))
}

func (b books) Runners(ctx context.Context) ([]sweep.Record[run.Runner], error) {
	return recordsOf(b.Ledger.Runners(ctx))
}

func recordsOf[T any](entries []ledger.Entry[T], err error) (records []sweep.Record[T], _ error) {
	for e := range slices.Values(entries) {
		records = append(records, sweep.Record[T]{Value: e.Record, Revision: e.Revision, ChangedAt: e.ChangedAt})
	}
	return records, err
}
